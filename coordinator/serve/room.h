/* How much a rank's memory carries: how many sequences at once, and how many tokens of K/V for all of them together.
 *
 * A slot costs its rings of K/V and taps, and a step's buffers for its rows; what slots leave is the arena that requests share. A slot whose
 * requests wait for K/V is worth nothing, and so is K/V without a slot. Which of the two a file of requests wants more of depends on their
 * lengths; slots that take half of what the weights leave are, whatever the lengths, within a factor of two of the best.
 */
#ifndef SLIP_COORDINATOR_SERVE_ROOM_H
#define SLIP_COORDINATOR_SERVE_ROOM_H

#include "coordinator/decoder.h"
#include "ranks/plan.h"

/* What is loaded, and where. */
typedef struct {
    const slip_source *source;
    const slip_executor_kind *kind;
    int32_t ranks, slices;
    int32_t draft_ranks; /* that the draft is cut over; 0: there is none */
    double memory;       /* bytes that a rank has for everything, see slip_room_share() */
} slip_room;

/* How much of a rank's memory we plan with: on a GPU the driver, NCCL and what pads weights want the rest, on a host its other users. */
double slip_room_share(const slip_executor_kind *kind);

/* Bytes that the fullest rank takes. */
double slip_room_bytes(const slip_room *room, const slip_limits *limits);

/* The most tokens of K/V beside options->sequences slots, whose kv_tokens are ignored: whole pages, and at most enough for each sequence to be
 * `context` long. 0: not even the slots fit. */
int64_t slip_room_tokens(const slip_room *room, const slip_decoder_options *options, int64_t context);

/* How many rows of prompts a step has: options->chunk or a half, a quarter of it, no less than SLIP_CHUNK_LEAST, so that what they take beyond
 * the buffers and rings of so few is at most an eighth of what weights leave. options->sequences 0: those of one. */
int32_t slip_room_chunk(const slip_room *room, const slip_decoder_options *options, int64_t context);

/* The most slots, at least 1 and at most what a step has rows for. Where options->kv_tokens is 0, they leave half of the memory for K/V, and
 * no less than one sequence of `context` takes, should there be as much. options->sequences is ignored. */
int32_t slip_room_sequences(const slip_room *room, const slip_decoder_options *options, int64_t context);

#endif
