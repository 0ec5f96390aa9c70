/* How much to draft: a draft block commits several tokens, but costs a draft forward and rows to verify. Where memory binds, as on GPUs, rows
 * are almost free; where arithmetic binds, as on CPUs, each has its price. The pace chooses, for each step and sequence, how many rows
 * are verified: the anchor alone (1), or the first 2, 4, 8, 12, 16, ... of the block up to all of it.
 *
 *   times         of steps that only verified, by rows, and of draft forwards, by sequences (times.h); what a token costs to become context
 *   expectation   tokens of a sequence by the drafts that are verified (chances.h)
 *   decision      the rows that give most expected tokens a millisecond. Beginning with one row each, that block is made longer which promises
 *                 most tokens for the time it adds, in the room there is; of all the steps on this way the best is taken. Where that is one
 *                 row each, no draft runs.
 *   exploration   now and then all sequences take a length that was not measured for the longest time. A try that does not change whether is
 *                 drafted makes the wait for the next longer; one that does makes it short again.
 *
 * The draft's own forward is not cut with the block: a drafter looks at its block in both directions, as it was trained to, so a shorter
 * one drafts other tokens, not the first of the same ones. Only when a token comes depends on any of this, never which one.
 */
#ifndef SLIP_COORDINATOR_PACE_H
#define SLIP_COORDINATOR_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "coordinator/pace/chances.h"
#include "coordinator/pace/times.h"

/* Plain data; zero it to start. */
typedef struct {
    slip_step_times steps, drafts;
    double context_ms; /* running mean of what a token costs to become context of the draft */
    slip_chances all;
    int64_t steps_chosen;
    int32_t since_try, pause; /* steps since the last try, and until the next */
    bool tried, drafting;     /* the last step was a try; the last choice that was none drafts */
} slip_pace;

/* Rows [count] to verify of sequences with these chances; `block`: rows of a whole one; together at most `room` >= count. */
void slip_pace_choose(slip_pace *pace, int32_t block, int32_t room, int32_t count, const slip_chances *const *chances, int32_t *rows);

/* A step that only verified so many rows took `ms`, without its draft. */
void slip_pace_record(slip_pace *pace, int32_t rows, double ms);

/* A draft for so many sequences took `ms`, behind tokens that became context in `context_ms`. */
void slip_pace_record_draft(slip_pace *pace, int32_t sequences, double ms, int32_t tokens, double context_ms);

/* Count a verified block of a sequence: it had `drafts` drafts, perhaps none, of which `accepted` were accepted. */
void slip_pace_count(slip_pace *pace, slip_chances *sequence, int32_t drafts, int32_t accepted);

/* Milliseconds that such a step takes, the draft for `drafted` sequences included; 0 = not measured. */
double slip_pace_ms(const slip_pace *pace, int32_t rows, int32_t drafted);

#endif
