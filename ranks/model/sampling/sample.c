#include "ranks/model/sampling/sample.h"

#include <math.h>
#include <string.h>

_Static_assert(sizeof(slip_sampling) == 8 * sizeof(double), "it is hashed and sent as bytes: no padding");

static void bits_of_four(uint64_t seed, int64_t position, int64_t token, uint32_t out[4])
{
    const slip_bits four = slip_sample_quad((uint32_t)(token / 4), position, seed);
    memcpy(out, &four, sizeof four);
}

uint32_t slip_sample_bits(uint64_t seed, int64_t position, int32_t token)
{
    uint32_t four[4];
    bits_of_four(seed, position, token, four);
    return four[token % 4];
}

static slip_candidate arg_max(const float *logits, int64_t first_token, int64_t count)
{
    slip_candidate best = {0, -1};
    for (int64_t i = 0; i < count; i++) {
        slip_candidate mine = {logits[i], (int32_t)(first_token + i)};
        if (!isfinite(logits[i]))
            return mine;
        if (best.token < 0 || logits[i] > best.score)
            best = mine;
    }
    return best;
}

/* An upper bound of slip_gumbel(bits) that needs no logarithm. With w = 1 - u >= 2^-33, -log u >= w, so G <= -log w; and
 * w > 2^-(z+1) where z counts the leading zeros of w's 32 bits. Most tokens are ruled out by it. */
static double gumbel_bound(uint32_t bits)
{
    uint32_t w = ~bits;
    int zeros = w == 0 ? 32 : __builtin_clz(w);
    return 0.69314718056 * (zeros + 1);
}

/* logit / temperature + G, times the temperature: the same order, and no temperature is too low for it. fma() is what the GPU computes. */
static float perturbed(float logit, double temperature, uint32_t bits)
{
    return (float)fma(temperature, slip_gumbel(bits), logit);
}

/* Could a token of this logit and these bits still beat `best`? One that is not finite could. The score is rounded to f32: the slack keeps the bound a bound. */
static bool may_win(float logit, double temperature, uint32_t bits, slip_candidate best)
{
    double bound = logit + temperature * gumbel_bound(bits);
    return best.token < 0 || !(bound + 1e-5 * fabs(bound) + 1e-5 < best.score);
}

/* The order of likelihood of two tokens. */
static bool is_ahead(const float *logits, int64_t a, int64_t b)
{
    return slip_candidate_is_ahead((slip_candidate){logits[a], (int32_t)a}, (slip_candidate){logits[b], (int32_t)b});
}

/* The best of the tokens in bins >= `open` that are ahead of the one at `limit`; of all of them where it is -1. */
static slip_candidate draw(const float *logits, int64_t first_token, int64_t count, const slip_sampling *sampling, int64_t position,
                           int32_t open, int64_t limit)
{
    const double temperature = sampling->temperature, scale = slip_bin_scale(temperature);
    slip_candidate best = {0, -1};
    uint32_t four[4];
    for (int64_t i = 0, made = -1; i < count; i++) {
        const int64_t token = first_token + i;
        if ((open > SLIP_ALL_BINS && !slip_is_above(logits[i], scale, open)) || (limit >= 0 && !is_ahead(logits, i, limit)))
            continue;
        if (token / 4 != made)
            bits_of_four(sampling->seed, position, token, four);
        made = token / 4;
        const uint32_t bits = four[token % 4];
        if (may_win(logits[i], temperature, bits, best))
            best = slip_candidate_better(best, (slip_candidate){perturbed(logits[i], temperature, bits), (int32_t)token});
    }
    return best;
}

slip_candidate slip_sample_above(const float *logits, int64_t first_token, int64_t count, const slip_sampling *sampling, int64_t position,
                                 int32_t open)
{
    return draw(logits, first_token, count, sampling, position, open, -1);
}

slip_candidate slip_sample_best(const float *logits, int64_t first_token, int64_t count, const slip_sampling *sampling, int64_t position)
{
    return sampling->temperature == 0 ? arg_max(logits, first_token, count)
                                      : slip_sample_above(logits, first_token, count, sampling, position, SLIP_ALL_BINS);
}

int32_t slip_candidate_bin(slip_candidate candidate, const slip_sampling *sampling, int64_t position)
{
    const double noise = sampling->temperature * slip_gumbel(slip_sample_bits(sampling->seed, position, candidate.token));
    const double roundings = (fabs((double)candidate.score) + fabs(noise)) * 0x1p-23; /* of the score, and of the logit here */
    const float lowest = (float)((double)candidate.score - noise - roundings);
    return slip_bin_of(slip_bin_place(lowest, slip_bin_scale(sampling->temperature)));
}

/* ---- filters by the rule itself ----
 *
 * The filters keep the first tokens of the row in the order of likelihood, and whether a token is among them is a sum over those ahead of
 * it. So nothing is sorted: the best of all tokens is drawn and looked at; was it left out, so was everything behind it, and the next draw
 * is from those ahead.
 */

typedef struct {
    const float *logits;
    const slip_sampling *sampling;
    const int32_t *tokens; /* [count], the top_k likeliest in any order */
    int64_t count;
    float highest;
    double mass; /* of `tokens`; summed in their order, as every part of it, so that more tokens never weigh less */
} row_of_logits;

static void swap(int32_t *a, int32_t *b)
{
    int32_t token = *a;
    *a = *b;
    *b = token;
}

/* Hoare's selection: the `count` likeliest of tokens[0 .. size) come to its beginning, in no order. */
static void select_likeliest(const float *logits, int32_t *tokens, int64_t size, int64_t count)
{
    for (int64_t low = 0, high = size - 1; low < high;) {
        int32_t pivot = tokens[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (is_ahead(logits, tokens[i], pivot))
                i++;
            while (is_ahead(logits, pivot, tokens[j]))
                j--;
            if (i <= j)
                swap(&tokens[i++], &tokens[j--]);
        }
        if (count - 1 <= j)
            high = j;
        else if (count - 1 >= i)
            low = i;
        else
            return;
    }
}

/* exp((logit - the highest logit) / temperature): 1 for the likeliest token. */
static double likelihood(const row_of_logits *row, int32_t token)
{
    return exp((row->logits[token] - (double)row->highest) / row->sampling->temperature);
}

/* The mass of the tokens ahead of `limit`; of all where it is -1. */
static double mass_ahead(const row_of_logits *row, int32_t limit)
{
    double mass = 0;
    for (int64_t i = 0; i < row->count; i++)
        if (limit < 0 || is_ahead(row->logits, row->tokens[i], limit))
            mass += likelihood(row, row->tokens[i]);
    return mass;
}

/* Nothing is ahead of the likeliest token, which is always kept. */
static bool is_kept(const row_of_logits *row, int32_t token)
{
    const slip_sampling *sampling = row->sampling;
    return likelihood(row, token) >= sampling->min_p && (sampling->top_p >= 1 || mass_ahead(row, token) < sampling->top_p * row->mass);
}

/* The best of the tokens ahead of `limit`; of all where it is -1. */
static slip_candidate best_ahead(const row_of_logits *row, int64_t position, int32_t limit)
{
    const slip_sampling *sampling = row->sampling;
    slip_candidate best = {0, -1};
    for (int64_t i = 0; i < row->count; i++) {
        int32_t token = row->tokens[i];
        if (limit >= 0 && !is_ahead(row->logits, token, limit))
            continue;
        uint32_t bits = slip_sample_bits(sampling->seed, position, token);
        if (may_win(row->logits[token], sampling->temperature, bits, best))
            best = slip_candidate_better(best, (slip_candidate){perturbed(row->logits[token], sampling->temperature, bits), token});
    }
    return best;
}

/* `highest`: of the logits, which are finite. */
static slip_candidate draw_and_look(const float *logits, int64_t vocabulary, float highest, const slip_sampling *sampling, int64_t position,
                                    int32_t *scratch)
{
    bool cut = sampling->top_k > 0 && sampling->top_k < vocabulary;
    row_of_logits row = {logits, sampling, scratch, cut ? sampling->top_k : vocabulary, highest, 0};
    for (int64_t i = 0; i < vocabulary; i++)
        scratch[i] = (int32_t)i;
    if (cut)
        select_likeliest(logits, scratch, vocabulary, row.count);
    row.mass = sampling->top_p < 1 ? mass_ahead(&row, -1) : 0;
    slip_candidate best = best_ahead(&row, position, -1);
    while (!is_kept(&row, best.token))
        best = best_ahead(&row, position, best.token);
    return best;
}

/* ---- filters by a histogram ----
 *
 * Noise is drawn only for tokens that the histogram does not leave out. A draw from its open piece is looked at more closely: who is ahead of
 * it in its own bin is exact, and the bins above have bounds. Only where these do not tell, too, does the rule itself decide.
 *
 * The tokens of the open piece, which has whole bins, are listed first: few of a row are there.
 */

/* The tokens in bins [open, kept); returns how many. First those between bounds in f32 that are a little too wide, without a branch, since
 * which tokens these are is nothing that a processor foresees. */
static int64_t list_open(const float *logits, int64_t vocabulary, double scale, slip_edge edge, int32_t *tokens)
{
    const float low = nextafterf((float)(edge.open / scale), -INFINITY), high = nextafterf((float)(edge.kept / scale), INFINITY);
    int64_t near = 0, count = 0;
    for (int64_t i = 0; i < vocabulary; i++) {
        tokens[near] = (int32_t)i;
        near += (logits[i] >= low) & (logits[i] <= high);
    }
    for (int64_t i = 0; i < near; i++) {
        const float logit = logits[tokens[i]];
        if (slip_is_above(logit, scale, edge.open) && !slip_is_above(logit, scale, edge.kept))
            tokens[count++] = tokens[i];
    }
    return count;
}

/* False: some logit is not finite. */
static bool find_highest(const float *logits, int64_t count, float *highest)
{
    enum { LANES = 16 }; /* side by side */
    float most[LANES], zero[LANES] = {0};
    for (int j = 0; j < LANES; j++)
        most[j] = logits[0];
    for (int64_t i = 0; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) {
            most[j] = logits[i + j] > most[j] ? logits[i + j] : most[j];
            zero[j] += logits[i + j] * 0.0f;
        }
    for (int64_t i = count / LANES * LANES; i < count; i++) {
        most[0] = logits[i] > most[0] ? logits[i] : most[0];
        zero[0] += logits[i] * 0.0f;
    }
    *highest = most[0];
    for (int j = 1; j < LANES; j++) {
        *highest = most[j] > *highest ? most[j] : *highest;
        zero[0] += zero[j];
    }
    return zero[0] == 0;
}

/* Is a token of the open piece kept? A look at its bin mostly tells. */
static slip_verdict look_into_bin(const row_of_logits *piece, const slip_histogram *histogram, int32_t token)
{
    const float *logits = piece->logits;
    const double scale = slip_bin_scale(piece->sampling->temperature);
    const int32_t bin = slip_bin_of(slip_bin_place(logits[token], scale));
    double mass = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < piece->count; i++) {
        const int32_t other = piece->tokens[i];
        if (is_ahead(logits, other, token) && !slip_is_above(logits[other], scale, bin + 1)) {
            mass += exp((logits[other] * scale - histogram->top) / SLIP_BINS_OF_A_NAT);
            count++;
        }
    }
    return slip_histogram_verdict(histogram, piece->sampling, bin, count, mass);
}

/* From `best`, the best token in bins >= edge.open, to the best one that is kept. `surely`: the best token in bins >= edge.kept, with which
 * noise is drawn for the open piece alone; NULL: not known. `scratch` [vocabulary]. False: the histogram does not tell. */
static bool find_kept(const float *logits, int64_t vocabulary, float highest, const slip_histogram *histogram, slip_edge edge,
                      const slip_sampling *sampling, int64_t position, const slip_candidate *surely, int32_t *scratch, slip_candidate *best)
{
    const double scale = slip_bin_scale(sampling->temperature);
    row_of_logits piece = {logits, sampling, scratch, 0, highest, 0};
    if (!slip_is_above(logits[best->token], scale, edge.kept))
        piece.count = list_open(logits, vocabulary, scale, edge, scratch);
    while (!slip_is_above(logits[best->token], scale, edge.kept)) {
        slip_verdict verdict = SLIP_LEFT_OUT;
        if (likelihood(&piece, best->token) >= sampling->min_p) /* as the rule has it */
            verdict = look_into_bin(&piece, histogram, best->token);
        if (verdict != SLIP_LEFT_OUT)
            return verdict == SLIP_KEPT;
        *best = surely ? slip_candidate_better(best_ahead(&piece, position, best->token), *surely)
                       : draw(logits, 0, vocabulary, sampling, position, edge.open, best->token);
        if (best->token < 0) /* these are not the histogram's logits, as with ranks that are absent */
            return false;
    }
    return true;
}

slip_candidate slip_sample_filtered(const float *logits, int64_t vocabulary, const slip_sampling *sampling, int64_t position,
                                    int32_t *scratch)
{
    float highest;
    slip_histogram histogram;
    slip_edge edge;
    if (!slip_sampling_filters(sampling) || !find_highest(logits, vocabulary, &highest))
        return slip_sample_best(logits, 0, vocabulary, sampling, position);
    if (slip_is_binned(sampling->temperature)) {
        slip_histogram_fill(logits, vocabulary, highest, sampling->temperature, &histogram);
        if (slip_histogram_edge(&histogram, sampling, &edge)) {
            slip_candidate best = slip_sample_above(logits, 0, vocabulary, sampling, position, edge.open);
            if (find_kept(logits, vocabulary, highest, &histogram, edge, sampling, position, NULL, scratch, &best))
                return best;
        }
    }
    return draw_and_look(logits, vocabulary, highest, sampling, position, scratch);
}

slip_candidate slip_sample_drawn(const float *logits, int64_t vocabulary, const slip_histogram *histogram, slip_candidate drawn,
                                 const slip_candidate *surely, const slip_sampling *sampling, int64_t position, int32_t *scratch)
{
    float highest;
    slip_edge edge;
    if (find_highest(logits, vocabulary, &highest) && slip_histogram_edge(histogram, sampling, &edge) &&
        find_kept(logits, vocabulary, highest, histogram, edge, sampling, position, surely, scratch, &drawn))
        return drawn;
    return slip_sample_filtered(logits, vocabulary, sampling, position, scratch);
}
