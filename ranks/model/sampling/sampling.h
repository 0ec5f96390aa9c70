/* How a request's tokens are picked: one struct from the parsers to the step, and one table of its fields that the parsers read. A new
 * field is a member here, a row here, and its use in ranks/model/sampling/sample.c.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_SAMPLING_H
#define SLIP_RANKS_MODEL_SAMPLING_SAMPLING_H

#include <float.h>
#include <stdbool.h>
#include <stdint.h>

/* Plain data without padding: it is hashed and sent as bytes. The filters apply in the order in which they stand. */
typedef struct {
    uint64_t seed;      /* the generator is keyed by (seed, position, token) */
    double temperature; /* logits are divided by it; 0 = arg max */
    int64_t top_k;      /* keep the k likeliest tokens; -1 or 0 = all */
    double top_p;       /* then the fewest likeliest that hold this share of what is kept; 1 = all */
    double min_p;       /* then those at least this many times as likely as the likeliest; 0 = all */
    /* Before all that, logits of tokens that were there already change (coordinator/logits/logits.h). */
    double presence_penalty;   /* 0 = none */
    double frequency_penalty;  /* 0 = none */
    double repetition_penalty; /* 1, or 0 for "not said" = none */
} slip_sampling;

/* Added to a token's logit (logit_bias). */
typedef struct {
    int32_t token;
    float value;
} slip_bias;

/* The natural logarithm of a token's probability. */
typedef struct {
    int32_t token;
    float value;
} slip_logprob;

enum { SLIP_MAX_BIASES = 1024, SLIP_MAX_TOP_LOGPROBS = 20 };

/* X(field, option, INT or REAL, argument, lowest, highest, generate's default, batch's default, help). Not the seed, which
 * requests may leave to be made from their custom_id. */
#define SLIP_SAMPLING_FIELDS(X) \
    X(temperature, "temperature", REAL, "T", 0, 2, "0", "1", "0 is greedy; up to 2") \
    X(top_k, "top-k", INT, "K", -1, INT32_MAX, "0", "0", "sample from the K likeliest tokens; 0 or -1: from all") \
    X(top_p, "top-p", REAL, "P", DBL_MIN, 1, "1", "1", "sample from the likeliest tokens that hold P together") \
    X(min_p, "min-p", REAL, "P", 0, 1, "0", "0", "sample from tokens at least P times as likely as the likeliest") \
    X(presence_penalty, "presence-penalty", REAL, "P", -2, 2, "0", "0", "subtract P from the logits of tokens generated before") \
    X(frequency_penalty, "frequency-penalty", REAL, "P", -2, 2, "0", "0", "subtract P for each time a token was generated before") \
    X(repetition_penalty, "repetition-penalty", REAL, "R", 0.01, 100, "1", "1", \
      "divide positive logits of tokens in prompt or answer by R,\nmultiply negative ones")

enum {
#define SLIP_SAMPLING_INDEX(field, option, kind, argument, low, high, alone, many, help) SLIP_SAMPLING_INDEX_##field,
    SLIP_SAMPLING_FIELDS(SLIP_SAMPLING_INDEX)
#undef SLIP_SAMPLING_INDEX
};

/* Values for those who do not say: the fields whose bits, 1 << SLIP_SAMPLING_INDEX_field, are set in `given`. */
typedef struct {
    slip_sampling values;
    uint32_t given;
} slip_sampling_defaults;

/* Does the pick need whole rows of logits, since it leaves tokens out? */
static inline bool slip_sampling_filters(const slip_sampling *sampling)
{
    return sampling->temperature > 0 && (sampling->top_k > 0 || sampling->top_p < 1 || sampling->min_p > 0);
}

/* Do tokens that were there already count? */
static inline bool slip_sampling_penalizes(const slip_sampling *sampling)
{
    return sampling->presence_penalty != 0 || sampling->frequency_penalty != 0 ||
           (sampling->repetition_penalty != 0 && sampling->repetition_penalty != 1);
}

#endif
