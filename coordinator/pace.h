/* When to draft: a draft block commits several tokens, but costs a draft forward and a verify step of a whole block instead of
 * one row. Where memory binds, as on GPUs, that is almost free; where arithmetic binds, as on CPUs, it pays only while the text
 * is predictable. The pace compares what was measured: drafting pays while
 *
 *     expected acceptance length * time of a plain step > time of a drafting step
 *
 * The losing side is tried again now and then, ever more rarely while it goes on losing. Only when a token comes
 * depends on any of this, never which one.
 */
#ifndef SLIP_COORDINATOR_PACE_H
#define SLIP_COORDINATOR_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Plain data; zero it to start. Times are running means in milliseconds a sequence, 0 = not measured: both kinds of step grow
 * with the number of sequences, and what counts is their ratio. */
typedef struct {
    double plain_ms, draft_ms;
    int32_t since_other; /* steps since the side not taken was last tried */
    int32_t pause;       /* plain steps until drafting is tried again */
} slip_pace;

/* Should the next step draft? `expected` is the mean of the sequences' expected acceptance lengths. */
bool slip_pace_drafts(slip_pace *pace, double expected);

/* A step of `sequences` sequences that only verified took `ms`; `drafted` says of which kind it was. */
void slip_pace_record(slip_pace *pace, int32_t sequences, bool drafted, double ms);

/* A sequence's expectation after a block that committed `tokens`: half the old one, half the new; old 0 = none yet. */
double slip_pace_expect(double old, int32_t tokens);

#endif
