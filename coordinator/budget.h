/* How many rows of prompts a step takes in beside sequences that decode, so that it ends within a bounded time: what a row costs is measured.
 * Only when a token comes depends on any of this, never which one.
 */
#ifndef SLIP_COORDINATOR_BUDGET_H
#define SLIP_COORDINATOR_BUDGET_H

#include <stdint.h>

enum { SLIP_BUDGET_LEAST = 8 }; /* rows a step, however small the budget: a prompt is read in the end, and devices take 8 rows as one */

/* Plain data; zero it to start. */
typedef struct {
    double row_ms; /* running mean of what a prompt's row adds to a step; 0 = not measured */
} slip_budget;

/* Rows of prompts that fit into a step of `budget_ms` beside decoding that takes `decode_ms` of it. Not measured: the least. */
int32_t slip_budget_rows(const slip_budget *budget, double budget_ms, double decode_ms);

/* A step with so many rows of prompts took `ms`, and its decoding alone would have taken `decode_ms` (0: nobody decoded). */
void slip_budget_record(slip_budget *budget, int32_t rows, double decode_ms, double ms);

#endif
