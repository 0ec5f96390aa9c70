/* How many rows of a draft block to verify. The drafter always fills its whole block, but a verify step may take the anchor and the
 * first drafts alone: where arithmetic binds, as on CPUs, rows that will be rejected cost time; where memory binds, as on GPUs, they are almost free.
 * For every width (4, 8, 12, ... rows and the whole block) the time of such steps is kept, and a sequence takes the width with most tokens a
 * second, by how often its drafts agreed lately. Losing widths are tried again now and then, ever more rarely.
 * Only when a token comes depends on any of this, never which one.
 */
#ifndef SLIP_COORDINATOR_WIDTH_H
#define SLIP_COORDINATOR_WIDTH_H

#include <stdint.h>

#include "ranks/model/model.h"

enum { SLIP_WIDTH_STEP = 4, SLIP_WIDTHS = SLIP_MAX_BLOCK / SLIP_WIDTH_STEP };

/* Plain data; zero it to start. */
typedef struct {
    double ms[SLIP_WIDTHS]; /* running mean of a step, a sequence, by width; 0 = not measured */
    int32_t trial;          /* 1 + the width that this step tries; 0: each sequence takes its best */
    int32_t next;           /* the width that is tried next */
    int32_t since, pause;   /* steps since a trial, and between two */
} slip_width;

/* A sequence's drafts of late: of `tries` that were looked at, `hits` agreed. Zero it to start. */
typedef struct {
    double hits, tries;
} slip_agreement;

/* A step that drafts begins: choose whether it is a trial, and of which width. */
void slip_width_begin(slip_width *width, int32_t block);

/* Rows that a sequence verifies in this step, 2 to `block`. */
int32_t slip_width_rows(const slip_width *width, const slip_agreement *agreement, int32_t block);

/* Tokens a millisecond that the best width promises; infinite as long as a width was not measured. */
double slip_width_rate(const slip_width *width, const slip_agreement *agreement, int32_t block);

/* A step in which `sequences` verified `rows` rows together, and nothing else, took `ms`. */
void slip_width_record(slip_width *width, int32_t sequences, int32_t rows, double ms);

/* Of `drafted` drafts the first `accepted` agreed; what came behind the next one says nothing. */
void slip_agreement_count(slip_agreement *agreement, int32_t drafted, int32_t accepted);

#endif
