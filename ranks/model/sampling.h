/* How a request's tokens are picked: one struct from the parsers to the step, and one table of its fields that the parsers read. A new
 * field is a member here, a row here, and its use in ranks/model/sample.c.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_H
#define SLIP_RANKS_MODEL_SAMPLING_H

#include <float.h>
#include <stdbool.h>
#include <stdint.h>

/* Plain data without padding: it is hashed and sent as bytes. */
typedef struct {
    uint64_t seed;      /* the generator is keyed by (seed, position, token) */
    double temperature; /* logits are divided by it; 0 = arg max */
    double top_p;       /* keep the fewest likeliest tokens that hold this share of the probability; 1 = all */
} slip_sampling;

/* X(field, option, INT or REAL, argument, lowest, highest, generate's default, batch's default, help). Not the seed, which
 * requests may leave to be made from their custom_id. */
#define SLIP_SAMPLING_FIELDS(X) \
    X(temperature, "temperature", REAL, "T", 0, 2, "0", "1", "0 is greedy; up to 2") \
    X(top_p, "top-p", REAL, "P", DBL_MIN, 1, "1", "1", "sample from the likeliest tokens that hold P together")

/* Does the pick need whole rows of logits, since it leaves tokens out? */
static inline bool slip_sampling_filters(const slip_sampling *sampling)
{
    return sampling->temperature > 0 && sampling->top_p < 1;
}

#endif
