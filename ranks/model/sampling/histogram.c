#include "ranks/model/sampling/histogram.h"

#include <math.h>
#include <string.h>

static const double MARGIN = 1e-6;                        /* of a mass */
static const double NEGLIGIBLE = 1e-6;                    /* of a mass: what bins far behind widen its bounds by, at most */
static const double BIN_STEP = 1.0 / SLIP_BINS_OF_A_NAT;  /* nats a bin */
static const double WEIGHT_STEP = 0.96923323447634412986; /* exp(-1/32) */
static const double UPPER_END = 1.0317434074991027604;    /* exp(1/32): the upper end of a bin whose lower end weighs 1 */
static const double MIDDLE = 1.0157477085866857269;       /* exp(1/64) */

void slip_histogram_fill(const float *logits, int64_t count, float highest, double temperature, slip_histogram *histogram)
{
    const double scale = slip_bin_scale(temperature);
    memset(histogram, 0, sizeof *histogram);
    histogram->top = slip_bin_of(slip_bin_place(highest, scale));
    histogram->tokens = (int32_t)count;
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
    const int64_t below = down < SLIP_BINS - 1 ? SLIP_BINS - 1 - down : 0; /* the first that goes to the last bin */
    histogram->tokens += more->tokens;
    for (int64_t i = 0; i < below; i++)
        histogram->count[i + down] += more->count[i];
    for (int64_t i = 0; i < below; i++)
        histogram->sum[i + down] += more->sum[i];
    for (int64_t i = below; i < SLIP_BINS; i++)
        histogram->count[SLIP_BINS - 1] += more->count[i];
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

/* All bins ahead of bin `bin`. Bounds of masses are linear in counts and sums, so that both are weighed first. */
typedef struct {
    int32_t bin;
    double weight;       /* of its lower end */
    int64_t tokens;      /* ahead */
    double counts, sums; /* of the bins ahead, weighed by their lower ends */
} prefix;

static const prefix NONE = {.weight = 1};

/* A double of a signed word is one instruction, of an unsigned one many. Counts are below 2^31. */
static double of_count(uint32_t count)
{
    return (int32_t)count;
}

static double of_sum(uint32_t sum)
{
    return (int32_t)(sum ^ 0x80000000) + 0x1p31;
}

/* On to `bin`, the last one at most, in lanes that do not wait for each other: with many rows a step this is what their filters cost. */
static void extend(const slip_histogram *h, int32_t bin, prefix *p)
{
    enum { LANES = 4 };
    const double two = WEIGHT_STEP * WEIGHT_STEP;
    double weight[LANES] = {p->weight, p->weight * WEIGHT_STEP, p->weight * two, p->weight * two * WEIGHT_STEP};
    double counts[LANES] = {0}, sums[LANES] = {0};
    uint32_t tokens[LANES] = {0};
    int32_t i = p->bin;
    for (; i + LANES <= bin; i += LANES)
        for (int32_t j = 0; j < LANES; j++) {
            tokens[j] += h->count[i + j];
            counts[j] += weight[j] * of_count(h->count[i + j]);
            sums[j] += weight[j] * of_sum(h->sum[i + j]);
            weight[j] *= two * two;
        }
    for (; i < bin; i++) {
        tokens[0] += h->count[i];
        counts[0] += weight[0] * of_count(h->count[i]);
        sums[0] += weight[0] * of_sum(h->sum[i]);
        weight[0] *= WEIGHT_STEP;
    }
    p->bin = i;
    p->weight = weight[0];
    p->tokens += (int64_t)tokens[0] + tokens[1] + tokens[2] + tokens[3];
    p->counts += counts[0] + counts[1] + counts[2] + counts[3];
    p->sums += sums[0] + sums[1] + sums[2] + sums[3];
}

static bounds mass_ahead(const prefix *p)
{
    const double unit = BIN_STEP / SLIP_PLACES, sums = p->sums * unit;
    return (bounds){MIDDLE * (p->counts * (1 - BIN_STEP / 2) + sums), p->counts + (sums + p->counts * unit) * ((UPPER_END - 1) / BIN_STEP)};
}

/* At most so much do the tokens weigh that are not ahead. */
static double mass_behind(const slip_histogram *h, const prefix *p)
{
    return (double)(h->tokens - p->tokens) * p->weight * UPPER_END;
}

/* Some bins on. False: there are none, or they weigh next to nothing. */
static bool extend_some(const slip_histogram *h, prefix *p)
{
    enum { BINS = 32 };
    if (p->bin == SLIP_BINS - 1 || mass_behind(h, p) <= NEGLIGIBLE * p->counts)
        return false;
    extend(h, p->bin + BINS < SLIP_BINS - 1 ? p->bin + BINS : SLIP_BINS - 1, p);
    return true;
}

static bounds mass_of_all(const slip_histogram *h)
{
    prefix all = NONE;
    while (extend_some(h, &all))
        continue;
    const bounds mass = mass_ahead(&all);
    return (bounds){mass.low, mass.high + mass_behind(h, &all)};
}

/* The mass of the `most` likeliest tokens. */
static bounds mass_of_likeliest(const slip_histogram *h, int64_t most)
{
    bounds all = {0, 0};
    if (most >= h->tokens)
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
    return all;
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
    bounds mass;            /* that top_p refers to */
    double surely, perhaps; /* a bin's lower end of at least this weight has min_p; a bin's upper end of less than that has not */
} filters;

/* But for the mass that top_p refers to. */
static filters filters_of(const slip_histogram *h, const slip_sampling *sampling)
{
    filters f = {.sampling = sampling, .most = sampling->top_k > 0 ? sampling->top_k : INT64_MAX};
    if (sampling->min_p > 0) {
        const bounds likeliest = place_of_likeliest(h);
        f.surely = sampling->min_p * exp(likeliest.high);
        f.perhaps = sampling->min_p * exp(likeliest.low);
    }
    return f;
}

static void find_mass(const slip_histogram *h, filters *f)
{
    if (f->sampling->top_p < 1)
        f->mass = mass_of_likeliest(h, f->most);
}

/* top_p keeps a token where what is ahead of it is below top_p of that and what is behind, itself included. So the uncertainty of what is ahead
 * counts 1 - top_p. These are for the most that may be ahead and the least behind, and the other way about. */
static bool keeps_top_p(const filters *f, double ahead, double behind)
{
    const double top_p = f->sampling->top_p, less = top_p * (1 - MARGIN);
    return top_p >= 1 || ahead * (1 + MARGIN - less) < less * behind;
}

static bool leaves_top_p(const filters *f, double ahead, double behind)
{
    const double top_p = f->sampling->top_p, more = top_p * (1 + MARGIN);
    return top_p < 1 && ahead * (1 - MARGIN - more) >= more * behind;
}

/* Are all tokens of bin i kept, that weigh `mine`, with `count` tokens ahead of them that weigh `ahead`? The likeliest is, whatever the filters. */
static bool is_kept(const filters *f, const slip_histogram *h, int32_t i, double weight, bounds mine, int64_t count, bounds ahead)
{
    const int64_t tokens = h->count[i];
    if (count == 0 && tokens == 1)
        return true;
    const double lower_end = i < SLIP_BINS - 1 ? weight : 0;
    const bounds last = tokens == 1 ? mine : (bounds){lower_end, lower_end}; /* it weighs as much, and more at the cost of others */
    return count + tokens <= f->most && lower_end >= f->surely &&
           keeps_top_p(f, ahead.high + mine.high - last.high, f->mass.low - ahead.low - mine.low + last.low);
}

/* Is no token of bin i kept? */
static bool is_out(const filters *f, double weight, int64_t count, bounds ahead)
{
    return count >= f->most || weight * UPPER_END < f->perhaps || leaves_top_p(f, ahead.low, f->mass.high - ahead.high);
}

slip_verdict slip_histogram_verdict(const slip_histogram *h, const slip_sampling *sampling, int32_t bin, int64_t count, double mass)
{
    filters f = filters_of(h, sampling);
    prefix above = NONE;
    if (h->top - bin >= SLIP_BINS - 1)
        return SLIP_UNSURE;
    extend(h, h->top - bin, &above);
    if (above.tokens + count >= f.most)
        return SLIP_LEFT_OUT;
    find_mass(h, &f);
    const bounds ahead = mass_ahead(&above);
    if (keeps_top_p(&f, ahead.high + mass, f.mass.low - ahead.low - mass))
        return SLIP_KEPT;
    return leaves_top_p(&f, ahead.low + mass, f.mass.high - ahead.high - mass) ? SLIP_LEFT_OUT : SLIP_UNSURE;
}

/* Its bins are where logits have places of their own. */
static bool is_within_limits(const slip_histogram *h)
{
    return h->top > -SLIP_BIN_LIMIT + SLIP_BINS && h->top < SLIP_BIN_LIMIT - 1;
}

/* Of a bin's tokens the filters but top_p, and then what is ahead of it and a few bins behind: they mostly weigh enough for top_p of the whole
 * mass to be more than what is ahead. With top_k the whole mass ends early. */
bool slip_histogram_keeps(const slip_histogram *h, const slip_sampling *sampling, int32_t bin)
{
    if (!is_within_limits(h) || bin > h->top || h->top - bin >= SLIP_BINS - 1)
        return false;
    int32_t at = h->top - bin; /* the last bin that has tokens */
    while (at > 0 && h->count[at] == 0)
        at--;
    prefix all = NONE;
    extend(h, at, &all);
    const prefix ahead = all;
    const bounds higher = mass_ahead(&ahead), mine = mass_of(h, at, ahead.weight);
    filters f = filters_of(h, sampling);
    f.mass.low = INFINITY; /* the other filters first */
    if (!is_kept(&f, h, at, ahead.weight, mine, ahead.tokens, higher))
        return false;
    if (f.most < h->tokens) {
        find_mass(h, &f);
        return is_kept(&f, h, at, ahead.weight, mine, ahead.tokens, higher);
    }
    f.mass.low = higher.low + mine.low;
    while (!is_kept(&f, h, at, ahead.weight, mine, ahead.tokens, higher)) {
        if (!extend_some(h, &all))
            return false;
        f.mass.low = mass_ahead(&all).low;
    }
    return true;
}

bool slip_histogram_edge(const slip_histogram *h, const slip_sampling *sampling, slip_edge *edge)
{
    if (!is_within_limits(h))
        return false;
    filters f = filters_of(h, sampling);
    find_mass(h, &f);
    bounds ahead = {0, 0};
    double weight = 1;
    int64_t count = 0;
    bool kept = true;
    *edge = (slip_edge){-SLIP_BIN_LIMIT, -SLIP_BIN_LIMIT};
    for (int32_t i = 0; i < SLIP_BINS; i++, weight *= WEIGHT_STEP) {
        if (h->count[i] == 0)
            continue;
        const bounds mine = mass_of(h, i, weight);
        if (kept && !is_kept(&f, h, i, weight, mine, count, ahead)) {
            kept = false;
            edge->kept = h->top - i + 1;
        }
        if (!kept && is_out(&f, weight, count, ahead)) {
            edge->open = h->top - i + 1;
            return true;
        }
        ahead = (bounds){ahead.low + mine.low, ahead.high + mine.high};
        count += h->count[i];
    }
    return true;
}
