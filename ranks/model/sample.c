#include "ranks/model/sample.h"

#include <math.h>
#include <stdlib.h>

_Static_assert(sizeof(slip_sampling) == 5 * sizeof(double), "it is hashed and sent as bytes: no padding");

void slip_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* One Philox call serves the four tokens 4i .. 4i+3. */
static void bits_of_four(uint64_t seed, int64_t position, int64_t token, uint32_t out[4])
{
    uint32_t counter[4] = {(uint32_t)(token / 4), (uint32_t)position, (uint32_t)((uint64_t)position >> 32), 0};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    slip_philox(counter, key, out);
}

uint32_t slip_sample_bits(uint64_t seed, int64_t position, int32_t token)
{
    uint32_t four[4];
    bits_of_four(seed, position, token, four);
    return four[token % 4];
}

double slip_gumbel(uint32_t bits)
{
    return -log(-log(((double)bits + 0.5) * 0x1p-32));
}

slip_candidate slip_candidate_better(slip_candidate a, slip_candidate b)
{
    if (a.token < 0 || b.token < 0)
        return a.token < 0 ? b : a;
    if (isfinite(a.score) != isfinite(b.score))
        return isfinite(a.score) ? b : a;
    if (isfinite(a.score) && a.score != b.score)
        return a.score > b.score ? a : b;
    return a.token < b.token ? a : b;
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

slip_candidate slip_sample_best(const float *logits, int64_t first_token, int64_t count, const slip_sampling *sampling, int64_t position)
{
    const double temperature = sampling->temperature;
    if (temperature == 0)
        return arg_max(logits, first_token, count);
    slip_candidate best = {0, -1};
    uint32_t four[4];
    for (int64_t i = 0; i < count; i++) {
        int64_t token = first_token + i;
        if (i == 0 || token % 4 == 0)
            bits_of_four(sampling->seed, position, token, four);
        uint32_t bits = four[token % 4];
        /* The score is rounded to f32: the slack keeps the bound a bound. */
        double bound = logits[i] + temperature * gumbel_bound(bits);
        if (best.token >= 0 && bound + 1e-5 * fabs(bound) + 1e-5 < best.score)
            continue;
        slip_candidate mine = {perturbed(logits[i], temperature, bits), (int32_t)token};
        best = slip_candidate_better(best, mine);
    }
    return best;
}

static int by_logit(const void *a, const void *b, void *logits_of)
{
    const float *logits = logits_of;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (logits[x] != logits[y])
        return logits[x] > logits[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* exp((logit - the highest logit) / temperature): 1 for the likeliest token. */
static double likelihood(const float *logits, const int32_t *order, int64_t i, double temperature)
{
    return exp((logits[order[i]] - (double)logits[order[0]]) / temperature);
}

/* How many of `order`, the likeliest first, the filters leave: at least one. */
static int64_t count_kept(const float *logits, int64_t vocabulary, const slip_sampling *sampling, const int32_t *order)
{
    const double temperature = sampling->temperature;
    int64_t count = sampling->top_k > 0 && sampling->top_k < vocabulary ? sampling->top_k : vocabulary, kept = 0;
    double total = 0, mass = 0;
    for (int64_t i = 0; i < count; i++)
        total += likelihood(logits, order, i, temperature);
    for (; kept < count && (sampling->top_p >= 1 || mass < sampling->top_p * total); kept++) {
        double mine = likelihood(logits, order, kept, temperature);
        if (mine < sampling->min_p)
            break;
        mass += mine;
    }
    return kept;
}

slip_candidate slip_sample_filtered(const float *logits, int64_t vocabulary, const slip_sampling *sampling, int64_t position,
                                    int32_t *order)
{
    if (!slip_sampling_filters(sampling))
        return slip_sample_best(logits, 0, vocabulary, sampling, position);
    for (int64_t i = 0; i < vocabulary; i++) {
        if (!isfinite(logits[i]))
            return (slip_candidate){logits[i], (int32_t)i};
        order[i] = (int32_t)i;
    }
    qsort_r(order, (size_t)vocabulary, sizeof *order, by_logit, (void *)logits);
    slip_candidate best = {0, -1};
    for (int64_t i = 0, kept = count_kept(logits, vocabulary, sampling, order); i < kept; i++) {
        uint32_t bits = slip_sample_bits(sampling->seed, position, order[i]);
        best = slip_candidate_better(best, (slip_candidate){perturbed(logits[order[i]], sampling->temperature, bits), order[i]});
    }
    return best;
}
