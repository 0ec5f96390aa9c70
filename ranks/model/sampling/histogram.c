#include "ranks/model/sampling/histogram.h"

#include <math.h>
#include <string.h>

static const double MARGIN = 1e-6;                        /* of a mass */
static const double BIN_STEP = 1.0 / SLIP_BINS_OF_A_NAT;  /* nats a bin */
static const double WEIGHT_STEP = 0.96923323447634412986; /* exp(-1/32) */
static const double UPPER_END = 1.0317434074991027604;    /* exp(1/32): the upper end of a bin whose lower end weighs 1 */
static const double MIDDLE = 1.0157477085866857269;       /* exp(1/64) */

void slip_histogram_fill(const float *logits, int64_t count, float highest, double temperature, slip_histogram *histogram)
{
    const double scale = slip_bin_scale(temperature);
    memset(histogram, 0, sizeof *histogram);
    histogram->top = slip_bin_of(slip_bin_place(highest, scale));
    for (int64_t i = 0; i < count; i++) {
        const int64_t place = slip_bin_place(logits[i], scale);
        const int32_t at = histogram->top - slip_bin_of(place);
        if (at < SLIP_BINS - 1) {
            histogram->count[at]++;
            histogram->sum[at] += slip_place_in_bin(place);
        } else {
            histogram->count[SLIP_BINS - 1]++;
        }
    }
}

/* Add `more` to bins that lie `down` lower. */
static void add_below(slip_histogram *histogram, const slip_histogram *more, int64_t down)
{
    for (int64_t i = 0; i < SLIP_BINS; i++) {
        if (i < SLIP_BINS - 1 - down) {
            histogram->count[i + down] += more->count[i];
            histogram->sum[i + down] += more->sum[i];
        } else {
            histogram->count[SLIP_BINS - 1] += more->count[i];
        }
    }
}

void slip_histogram_add(slip_histogram *histogram, const slip_histogram *more)
{
    if (more->top > histogram->top) {
        const slip_histogram lower = *histogram;
        *histogram = *more;
        add_below(histogram, &lower, (int64_t)histogram->top - lower.top);
    } else {
        add_below(histogram, more, (int64_t)histogram->top - more->top);
    }
}

/* ---- the cut ---- */

typedef struct {
    double low, high; /* bounds of a mass; the highest logit's bin weighs 1 at its lower end */
} bounds;

/* The mass of all tokens of bin i, whose lower end weighs `weight`: under the chord of exp(), above its tangent in the middle. */
static bounds mass_of(const slip_histogram *h, int32_t i, double weight)
{
    const double count = h->count[i], sum = h->sum[i] * (BIN_STEP / SLIP_PLACES), cut = count * (BIN_STEP / SLIP_PLACES);
    if (i == SLIP_BINS - 1)
        return (bounds){0, weight * UPPER_END * count};
    return (bounds){weight * MIDDLE * (count * (1 - BIN_STEP / 2) + sum), weight * (count + (sum + cut) * ((UPPER_END - 1) / BIN_STEP))};
}

/* The mass of all tokens. The bounds are linear in counts and sums, so that both are weighed first, in lanes that do not wait for each other:
 * with many rows a step this is what their filters cost. */
static bounds mass_of_all(const slip_histogram *h)
{
    enum { LANES = 4 };
    _Static_assert(SLIP_BINS % LANES == 0, "lanes have equally many bins");
    const double two = WEIGHT_STEP * WEIGHT_STEP, unit = BIN_STEP / SLIP_PLACES;
    double weight[LANES] = {1, WEIGHT_STEP, two, two * WEIGHT_STEP}, counts[LANES] = {0}, sums[LANES] = {0};
    for (int32_t i = 0; i < SLIP_BINS - LANES; i += LANES)
        for (int32_t j = 0; j < LANES; j++) {
            counts[j] += weight[j] * h->count[i + j];
            sums[j] += weight[j] * h->sum[i + j];
            weight[j] *= two * two;
        }
    for (int32_t j = 0; j < LANES - 1; j++) {
        counts[j] += weight[j] * h->count[SLIP_BINS - LANES + j];
        sums[j] += weight[j] * h->sum[SLIP_BINS - LANES + j];
    }
    const double count = counts[0] + counts[1] + counts[2] + counts[3], sum = (sums[0] + sums[1] + sums[2] + sums[3]) * unit;
    const double low = MIDDLE * (count * (1 - BIN_STEP / 2) + sum);
    const double high = count + (sum + count * unit) * ((UPPER_END - 1) / BIN_STEP);
    const bounds last = mass_of(h, SLIP_BINS - 1, weight[LANES - 1]);
    return (bounds){(low + last.low) * (1 - MARGIN), (high + last.high) * (1 + MARGIN)};
}

/* The mass of the `most` likeliest tokens. */
static bounds mass_of_likeliest(const slip_histogram *h, int64_t most)
{
    bounds all = {0, 0};
    if (most == INT64_MAX)
        return mass_of_all(h);
    double weight = 1;
    for (int32_t i = 0; i < SLIP_BINS && most > 0; i++, weight *= WEIGHT_STEP) {
        const int64_t count = h->count[i];
        if (count == 0)
            continue;
        bounds mine = mass_of(h, i, weight);
        if (count > most) { /* they are the likelier ones of the bin */
            mine.low *= (double)most / (double)count;
            mine.high = fmin(mine.high, weight * UPPER_END * (double)most);
        }
        all = (bounds){all.low + mine.low, all.high + mine.high};
        most -= count;
    }
    return (bounds){all.low * (1 - MARGIN), all.high * (1 + MARGIN)};
}

/* Bounds of the likeliest token's place in its bin, in nats. */
static bounds place_of_likeliest(const slip_histogram *h)
{
    const double unit = BIN_STEP / SLIP_PLACES, count = h->count[0], sum = h->sum[0];
    return (bounds){sum / count * unit - MARGIN, fmin(BIN_STEP, (sum + count) * unit) + MARGIN};
}

typedef struct {
    const slip_sampling *sampling;
    int64_t most;           /* top_k */
    double low, high;       /* top_p of the mass that it refers to */
    double surely, perhaps; /* a bin's lower end of at least this weight has min_p; a bin's upper end of less than that has not */
} filters;

static filters filters_of(const slip_histogram *h, const slip_sampling *sampling)
{
    filters f = {.sampling = sampling, .most = sampling->top_k > 0 ? sampling->top_k : INT64_MAX};
    if (sampling->top_p < 1) {
        const bounds mass = mass_of_likeliest(h, f.most);
        f.low = sampling->top_p * mass.low;
        f.high = sampling->top_p * mass.high;
    }
    const bounds likeliest = place_of_likeliest(h);
    f.surely = sampling->min_p * exp(likeliest.high);
    f.perhaps = sampling->min_p * exp(likeliest.low);
    return f;
}

/* Are all tokens of bin i kept, that weigh up to `high`, with `count` tokens ahead of them that weigh `ahead`? The likeliest is, whatever the
 * filters. */
static bool is_kept(const filters *f, const slip_histogram *h, int32_t i, double weight, double high, int64_t count, double ahead)
{
    const int64_t mine = h->count[i];
    if (count == 0 && mine == 1)
        return true;
    const double lower_end = i < SLIP_BINS - 1 ? weight : 0;
    const double others = mine == 1 ? 0 : high - lower_end;
    return count + mine <= f->most && lower_end >= f->surely && (f->sampling->top_p >= 1 || (ahead + others) * (1 + MARGIN) < f->low);
}

/* Is no token of bin i kept? */
static bool is_out(const filters *f, double weight, int64_t count, double ahead)
{
    return count >= f->most || weight * UPPER_END < f->perhaps || (f->sampling->top_p < 1 && ahead * (1 - MARGIN) >= f->high);
}

slip_verdict slip_histogram_verdict(const slip_histogram *h, const slip_sampling *sampling, int32_t bin, int64_t count, double mass)
{
    const filters f = filters_of(h, sampling);
    bounds ahead = {mass, mass};
    double weight = 1;
    if (h->top - bin >= SLIP_BINS - 1)
        return SLIP_UNSURE;
    for (int32_t i = 0; i < h->top - bin; i++, weight *= WEIGHT_STEP) {
        const bounds mine = mass_of(h, i, weight);
        ahead = (bounds){ahead.low + mine.low, ahead.high + mine.high};
        count += h->count[i];
    }
    if (count >= f.most)
        return SLIP_LEFT_OUT;
    if (sampling->top_p >= 1 || ahead.high * (1 + MARGIN) < f.low)
        return SLIP_KEPT;
    return ahead.low * (1 - MARGIN) >= f.high ? SLIP_LEFT_OUT : SLIP_UNSURE;
}

bool slip_histogram_edge(const slip_histogram *h, const slip_sampling *sampling, slip_edge *edge)
{
    if (h->top <= -SLIP_BIN_LIMIT + SLIP_BINS || h->top >= SLIP_BIN_LIMIT - 1)
        return false;
    const filters f = filters_of(h, sampling);
    bounds ahead = {0, 0};
    double weight = 1;
    int64_t count = 0;
    bool kept = true;
    *edge = (slip_edge){-SLIP_BIN_LIMIT, -SLIP_BIN_LIMIT};
    for (int32_t i = 0; i < SLIP_BINS; i++, weight *= WEIGHT_STEP) {
        if (h->count[i] == 0)
            continue;
        const bounds mine = mass_of(h, i, weight);
        if (kept && !is_kept(&f, h, i, weight, mine.high, count, ahead.high)) {
            kept = false;
            edge->kept = h->top - i + 1;
        }
        if (!kept && is_out(&f, weight, count, ahead.low)) {
            edge->open = h->top - i + 1;
            return true;
        }
        ahead = (bounds){ahead.low + mine.low, ahead.high + mine.high};
        count += h->count[i];
    }
    return true;
}
