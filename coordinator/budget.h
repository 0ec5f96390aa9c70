/* How many rows of prompts a step takes in beside sequences that decode, so that it ends within a bounded time. What rows cost is measured by
 * their number: a device reads its weights for few rows as for many, so a row of a small step costs more than one of a large step. Only when
 * a token comes depends on any of this, never which one.
 */
#ifndef SLIP_COORDINATOR_BUDGET_H
#define SLIP_COORDINATOR_BUDGET_H

#include "coordinator/pace/times.h"

enum { SLIP_BUDGET_LEAST = 8 }; /* rows a step, however small the budget: a prompt is read in the end, and devices take 8 rows as one */

/* Plain data; zero it to start. */
typedef struct {
    slip_step_times added; /* what so many rows of prompts add to a step */
    int32_t largest;       /* that was measured; 0 = none */
    int64_t steps;
} slip_budget;

/* Rows of prompts that fit into a step of `budget_ms` beside decoding that takes `decode_ms` of it, at most SLIP_MAX_ROWS. The least while
 * these were not measured: their time is what all others are judged from. */
int32_t slip_budget_rows(const slip_budget *budget, double budget_ms, double decode_ms);

/* A step with so many rows of prompts took `ms`, and its decoding alone would have taken `decode_ms` (0: nobody decoded). */
void slip_budget_record(slip_budget *budget, int32_t rows, double decode_ms, double ms);

#endif
