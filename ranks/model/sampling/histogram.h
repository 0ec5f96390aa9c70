/* A row of logits as a histogram: what the sampling filters (ranks/model/sampling/sample.h) need to know of a whole row, in 8 KiB.
 *
 * Tokens lie on an axis of logit / temperature, cut into bins of 1/32 of a nat at multiples of 1/32: the same bins for every device, rank
 * and step. A bin knows how many tokens it has and where in it they lie, summed as integers. So histograms of parts of a row add up to the
 * row's exactly, in any order; those of ranks, whose first bins differ, are brought to the same first bin.
 *
 * The filters keep a prefix of the row in the order of likelihood. The histogram leaves a short piece of that axis open:
 *
 *     likeliest ... | kept: every token here is kept | open | left out: no token here is kept
 *
 * and it is right about both sides, whoever computes the rule, in whatever order and with whatever rounding:
 *   - exp() is convex. The mass of a bin lies between the tangent and the chord of exp() over it, and both are linear in the place of a
 *     token: number and sum of places are enough. They differ by 1.2e-4 of the bin's mass.
 *   - top_p keeps a token where what is ahead of it weighs less than top_p of that and what is behind, itself included: ahead (1 - top_p) <
 *     top_p behind. So at 0.95 a twentieth of what bounds ahead of it differ by is uncertain: all in all 1e-5 of the mass.
 *   - How many tokens lie ahead of a bin is exact.
 *   - Places are cut to 1/1024 of a bin, always downwards, and the bounds allow for it.
 *   - Bins are read from the first on. Those that are not read hold `tokens` less what was read, and each of these weighs between nothing and
 *     the upper end of the first of them. Reading ends where that is 1e-6 of what was read.
 *   - What was read is a lower bound of any mass that has all of it. That is enough for a token to be kept, and so a draw near the beginning
 *     of the row, as most are, takes no more than the bins ahead of it and a few behind (slip_histogram_keeps()).
 *   - Roundings of double (places, sums of masses here and in the rule, in whatever order) are below 1e-8 of a mass: MARGIN is 1e-6.
 * So a token that a draw finds on either side needs no look at the row. In the open piece, which is one bin where no filter comes near to
 * another, nothing is said: whoever has the row decides there by the rule itself. Both ways end at the same token.
 */
#ifndef SLIP_RANKS_MODEL_SAMPLING_HISTOGRAM_H
#define SLIP_RANKS_MODEL_SAMPLING_HISTOGRAM_H

#include "io/base/both.h"
#include "ranks/model/program.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SLIP_BINS = 1024,        /* 32 nats; all that is less likely lies in the last one */
    SLIP_BINS_OF_A_NAT = 32, /* stays in step with WEIGHT_STEP in histogram.c */
    SLIP_PLACE_BITS = 10,
    SLIP_PLACES = 1 << SLIP_PLACE_BITS, /* of a bin: the unit of sums */
    SLIP_BIN_LIMIT = 1 << 29,           /* bins are numbered in (-limit, limit) */
    SLIP_ALL_BINS = -SLIP_BIN_LIMIT,    /* the lowest number */
    SLIP_NO_BINS = SLIP_BIN_LIMIT + 1
};

typedef struct {
    int32_t top;    /* number of the first bin, which has the likeliest token; bin i is number top - i */
    int32_t tokens; /* in all bins together */
    int32_t unused[2];
    uint32_t count[SLIP_BINS]; /* tokens */
    uint32_t sum[SLIP_BINS];   /* of the places of the bin's tokens, from its lower end; not of the last bin */
} slip_histogram;

/* Bins of one logit; a product with this is its place on the axis. */
SLIP_BOTH static inline double slip_bin_scale(double temperature)
{
    return SLIP_BINS_OF_A_NAT / temperature;
}

/* In units of 1 / SLIP_PLACES of a bin, rounded down; rising with the logit. Beyond the limit bins say nothing, and slip_histogram_edge()
 * knows. A logit that is not a number lies there. */
SLIP_BOTH static inline int64_t slip_bin_place(float logit, double scale)
{
    const double bin = logit * scale;
    const double place = SLIP_PLACES * (bin < SLIP_ALL_BINS ? SLIP_ALL_BINS : bin < SLIP_BIN_LIMIT ? bin : SLIP_BIN_LIMIT);
    const int64_t cut = (int64_t)place;
    return cut - (cut > place);
}

/* Bins are numbered by the whole part of their places, rounded down. */
SLIP_BOTH static inline int32_t slip_bin_of(int64_t place)
{
    return (int32_t)(place >> SLIP_PLACE_BITS);
}

SLIP_BOTH static inline uint32_t slip_place_in_bin(int64_t place)
{
    return (uint32_t)place % SLIP_PLACES;
}

/* Does it lie in a bin >= `bin`? */
SLIP_BOTH static inline bool slip_is_above(float logit, double scale, int32_t bin)
{
    return logit * scale >= bin;
}

/* Colder rows are not binned: an arg max, nearly. */
SLIP_BOTH static inline bool slip_is_binned(double temperature)
{
    return temperature >= 1e-4;
}

/* The histogram of `count` finite logits, the highest of them `highest`, at a temperature that is binned. count <= 2^22. */
void slip_histogram_fill(const float *logits, int64_t count, float highest, double temperature, slip_histogram *histogram);

/* Add the histogram of another part of the row. */
void slip_histogram_add(slip_histogram *histogram, const slip_histogram *more);

/* Where on the axis the filters cut: tokens in bins >= `kept` are kept, those in bins < `open` are not. kept >= open. */
typedef struct {
    int32_t kept, open;
} slip_edge;

/* Is every token in bins >= `bin` kept? That of a small part of the row: false where it does not tell, and slip_histogram_edge() may. */
bool slip_histogram_keeps(const slip_histogram *histogram, const slip_sampling *sampling, int32_t bin);

/* Begin to fetch what that reads of a row, as of one that it is asked of soon: a device wrote it behind the caches' back. */
static inline void slip_histogram_prefetch(const slip_histogram *histogram)
{
    enum { FIRST = 160, OF_A_LINE = 16 }; /* bins: 5 nats */
    for (int i = 0; i < FIRST; i += OF_A_LINE) {
        __builtin_prefetch(histogram->count + i);
        __builtin_prefetch(histogram->sum + i);
    }
}

/* False: the histogram does not say, since the row is beyond its limits. */
bool slip_histogram_edge(const slip_histogram *histogram, const slip_sampling *sampling, slip_edge *edge);

/* The same for one token, min_p left aside, from bin `bin`, in which `count` tokens that weigh `mass` are ahead of it; the lower end of the
 * first bin weighs 1. For a row that the histogram says something of. */
typedef enum { SLIP_LEFT_OUT, SLIP_KEPT, SLIP_UNSURE } slip_verdict;
slip_verdict slip_histogram_verdict(const slip_histogram *histogram, const slip_sampling *sampling, int32_t bin, int64_t count,
                                    double mass);

#ifdef __cplusplus
}
#endif

#endif
