/* How ranks on GPUs of one NVLink domain add up their partial sums: the layout of the arena that each rank has and all others can
 * write to, as plain data for host and device. The device's side, with the reasoning on memory order, is comm/exchange.cuh; who
 * allocates arenas is comm/window.h.
 *
 * A vector [rows, hidden] f32 is cut into blocks of one row x 128 columns, the share of a warp; block = row * row_blocks + column
 * block. A block travels as one message of 43 lines of 16 bytes, three floats and the epoch of the exchange each, so that whoever
 * sees the epoch has the data: line l < 32 has columns 4 l .. 4 l + 2, line 32 + i columns 12 i + 3, 12 i + 7 and 12 i + 11. Messages are
 * padded from 688 to 768 bytes to start on a cache line. An arena:
 *
 *     head     [4096 bytes]  the abort word
 *     mail     [mail_bytes]  for its user (the engine: kernels/cuda/layout/mail.h); nothing here touches it
 *     set 0    messages of exchanges with even epochs
 *     set 1    and of those with odd ones
 *
 * A set holds either
 *     one-shot   [blocks][ranks]           what each rank sent to all
 *     two-shot   [blocks / ranks][ranks]   what each rank sent to the block's owner, rank block % ranks, and then
 *                [blocks]                  the owner's sum, sent to all
 * and the memory is shared: an exchange is one or the other, by its number of rows.
 *
 * Sums of many rows travel without epochs in their data, in memory of their own behind the sets: quads of four rows times a block, [row][128] f32 or what
 * their user makes of a sum, and a flag for each, the epoch, behind a release. Each row group of 8 has an owner, rank group % ranks: it adds up what
 * the others send, and sends all of them the result (kernels/cuda/wide/shares.cuh has the device's side). Two sets again, each:
 *
 *     partials  [quads that a rank owns at most][row_blocks][ranks]   SLIP_SHARE_QUAD bytes each
 *     results   [quads][row_blocks]                                   the same
 *     sent      [quads that a rank owns at most][row_blocks][ranks]   flags: that rank's partial is there
 *     done      [quads][row_blocks]                                   flags: the owner's result is there
 *
 * A product may have sent all of a rank's partials before its user begins to add up: then the flags of a rank's first quad and block say so of all.
 *
 * What an owner's rows picked of a router goes to all in lines again, [rows][SLIP_SHARE_PICKS]: expert, weight, and the epoch of the sum before. One set
 * is enough: who writes the next picks has the sum before them, to which each rank sent its part behind its reading of these.
 *
 * The result is (((p0 + p1) + p2) + ...) in f32, p_r being rank r's partial: the same bits on all ranks, by any way.
 *
 * Epochs count the exchanges since the arena was made, alike on all ranks, also when kernels leave and are launched again. 0 and 1 do not
 * occur, since memory starts as zeros; consecutive epochs differ in their lowest bit, also where the count wraps.
 */
#ifndef SLIP_COMM_EXCHANGE_H
#define SLIP_COMM_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/both.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SLIP_EXCHANGE_RANKS = 16,    /* most ranks of an exchange */
    SLIP_EXCHANGE_COLUMNS = 128, /* of a block */
    SLIP_EXCHANGE_LINE = 16,     /* bytes */
    SLIP_EXCHANGE_LINES = 43,    /* of a block's message */
    SLIP_EXCHANGE_MESSAGE = 768, /* bytes from one message to the next */
    SLIP_EXCHANGE_HEAD = 4096,
    SLIP_EXCHANGE_FIRST_EPOCH = 2,
    SLIP_SHARE_ROWS = 4,   /* of a quad */
    SLIP_SHARE_GROUP = 8,  /* rows that have one owner */
    SLIP_SHARE_PICKS = 32, /* of a row at most */
    SLIP_SHARE_QUAD = SLIP_SHARE_ROWS * SLIP_EXCHANGE_COLUMNS * 4,
};

typedef struct {
    uint32_t abort;         /* 0, or 1 + the rank that failed and aborts this one; written by that rank */
    float sent_last;        /* where absent ranks are emulated: the part of a product's sums that is sent at its end */
    uint64_t sending_since; /* and ns of the GPU's clock when it began to send */
} slip_exchange_head;

/* Offsets in bytes, from the arena's start unless said otherwise. */
typedef struct {
    int32_t ranks;
    int32_t row_blocks;    /* blocks of a row: ceil(hidden / 128) */
    int32_t one_shot_rows; /* exchanges of up to so many rows are one-shot */
    size_t mail;
    size_t set[2];
    size_t sums; /* from the set's start: the owners' sums of a two-shot exchange */
    size_t share_set[2];
    size_t share_results, share_sent, share_done; /* from such a set's start; its partials are there */
    size_t share_picks;
    size_t bytes; /* of the arena */
} slip_exchange_layout;

/* What a rank needs to take part. */
typedef struct {
    slip_exchange_layout at;
    int32_t rank;
    unsigned char *peer[SLIP_EXCHANGE_RANKS]; /* every rank's arena as this GPU sees it, its own among them */
} slip_exchange;

/* Most bytes (rows * hidden * 4) for which one-shot is the faster of the two; exchange.c has the table and where it comes from. */
size_t slip_exchange_one_shot_bytes(int ranks);

/* The layout for 1 <= ranks <= 16 and exchanges of up to `rows` rows of `hidden` columns (a multiple of 4). Messages of up to
 * `one_shot_bytes` go one-shot: slip_exchange_one_shot_bytes(), or, in tests, 0 for never and SIZE_MAX for always. `shared_rows`: most rows of sums
 * that owners of row groups add up; 0: there are none. */
slip_exchange_layout slip_exchange_plan(int ranks, int rows, int hidden, size_t mail_bytes, size_t one_shot_bytes, int shared_rows);

/* Who owns quad number `quad` of the rows. */
SLIP_BOTH static inline int32_t slip_share_owner(int32_t ranks, int32_t quad)
{
    return quad / (SLIP_SHARE_GROUP / SLIP_SHARE_ROWS) % ranks;
}

/* Group number `index` of those that `owner` owns; and of those that it does not, ranks > 1. */
SLIP_BOTH static inline int32_t slip_share_own(int32_t ranks, int32_t owner, int32_t index)
{
    return index * ranks + owner;
}

SLIP_BOTH static inline int32_t slip_share_other(int32_t ranks, int32_t owner, int32_t index)
{
    const int32_t place = index % (ranks - 1);
    return index / (ranks - 1) * ranks + (place < owner ? place : place + 1);
}

/* Groups that `owner` owns of `groups`. */
SLIP_BOTH static inline int32_t slip_share_groups(int32_t ranks, int32_t owner, int32_t groups)
{
    return groups > owner ? (groups - owner + ranks - 1) / ranks : 0;
}

/* Which of its owner's quads it is, counted from 0. */
SLIP_BOTH static inline int32_t slip_share_place(int32_t ranks, int32_t quad)
{
    const int32_t each = SLIP_SHARE_GROUP / SLIP_SHARE_ROWS;
    return quad / each / ranks * each + quad % each;
}

/* The epoch `count` exchanges after `epoch`, count < 2^31. */
SLIP_BOTH static inline uint32_t slip_exchange_epoch_after(uint32_t epoch, uint32_t count)
{
    uint32_t next = epoch + count;
    return next < epoch ? next + SLIP_EXCHANGE_FIRST_EPOCH : next;
}

#ifdef __cplusplus
}
#endif

#endif
