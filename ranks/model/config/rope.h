/* RoPE's settings, which dialects of config.json keep in different places, and some in two: all that are given must agree.
 */
#ifndef SLIP_RANKS_MODEL_CONFIG_ROPE_H
#define SLIP_RANKS_MODEL_CONFIG_ROPE_H

#include "ranks/model/config/field.h"

/* A member that may say it. */
typedef struct {
    slip_fields fields;
    const char *name;
} slip_rope_place;

/* The number, low..high, that every one of the places says that has it; two that differ are refused with both values. Returns the
 * first place that has it; NULL where none has, and *value is left as it is. */
const slip_rope_place *slip_rope_number(const slip_rope_place *places, int count, double low, double high, double *value);

/* A base, from where it is given first; the first of the places is the one to name where it must be given: the fallback is 0. */
double slip_rope_base(const slip_rope_place *places, int count, double fallback);

/* rope_scaling, rope_parameters, or the part of one for a kind of layers: anything but plain RoPE (yarn, a factor, ...) is refused.
 * `parts`: it may hold such parts, full_attention and sliding_attention, which are checked as well. */
void slip_rope_check(const slip_fields *rope, bool parts);

#endif
