/* The sampling rule: Philox by known answers, the maximum by brute force, the distribution by a chi-square. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ranks/model/sampling/sample.h"
#include "tiny_random.h"

enum { VOCABULARY = 600 };

static void test_philox_known_answers(void **state)
{
    (void)state;
    FILE *file = fopen("tests/golden/sampling/philox4x32-10.txt", "r");
    assert_non_null(file);
    char line[256];
    int lines = 0;
    while (fgets(line, sizeof line, file)) {
        uint32_t c[4], k[2], want[4], have[4];
        if (line[0] == '#')
            continue;
        assert_int_equal(
            sscanf(line, "%x %x %x %x %x %x %x %x %x %x", &c[0], &c[1], &c[2], &c[3], &k[0], &k[1], &want[0], &want[1], &want[2], &want[3]),
            10);
        const slip_bits bits = slip_philox((slip_bits){c[0], c[1], c[2], c[3]}, k[0], k[1]);
        memcpy(have, &bits, sizeof have);
        assert_memory_equal(have, want, sizeof want);
        lines++;
        if (c[3] != 0 || c[0] >= 1u << 29)
            continue;
        for (uint32_t j = 0; j < 4; j++) /* the layout of the counter: (token / 4, position), key = seed */
            assert_int_equal(slip_sample_bits(k[0] | (uint64_t)k[1] << 32, (int64_t)(c[1] | (uint64_t)c[2] << 32), (int32_t)(4 * c[0] + j)),
                             want[j]);
    }
    fclose(file);
    assert_int_equal(lines, 64);
}

/* A logit that is not finite wins, wherever it stands, by every rule: its score says so. */
static void test_not_finite(void **state)
{
    (void)state;
    static const float bad[] = {(float)NAN, INFINITY, -INFINITY};
    float logits[64];
    int32_t order[64];
    for (int kind = 0; kind < 3; kind++)
        for (int at = 0; at < 64; at++)
            for (int rule = 0; rule < 4; rule++) {
                const slip_sampling sampling = {
                    .seed = 3, .temperature = rule ? 0.7 : 0, .top_p = rule > 1 ? 0.9 : 1, .top_k = rule > 2 ? 5 : 0};
                tiny_fill((uint64_t)at, 4.0f, 64, logits);
                assert_true(isfinite(slip_sample_filtered(logits, 64, &sampling, 9, order).score));
                logits[at] = bad[kind];
                assert_false(isfinite(slip_sample_filtered(logits, 64, &sampling, 9, order).score));
                slip_candidate low = slip_sample_best(logits, 0, 32, &sampling, 9),
                               high = slip_sample_best(logits + 32, 32, 32, &sampling, 9);
                assert_false(isfinite(slip_candidate_better(low, high).score));
                assert_false(isfinite(slip_candidate_better(high, low).score));
            }
    slip_candidate a = {(float)NAN, 3}, b = {INFINITY, 2}, none = {(float)NAN, -1}, c = {1, 0};
    assert_int_equal(slip_candidate_better(a, b).token, 2); /* one order for all, so that all ranks and SMs agree */
    assert_int_equal(slip_candidate_better(b, a).token, 2);
    assert_int_equal(slip_candidate_better(none, c).token, 0);
}

static void test_gumbel(void **state)
{
    (void)state;
    assert_true(fabs(slip_gumbel(0x7fffffff) + log(log(2))) < 1e-8); /* u = 1/2 */
    assert_true(slip_gumbel(0) > -4 && slip_gumbel(0) < -3);         /* u = 2^-33: finite at both ends */
    assert_true(fabs(slip_gumbel(0xffffffff) - 33 * log(2)) < 1e-6);
}

/* One pick, no filter. */
static slip_candidate best_of(const float *logits, int64_t first, int64_t count, double temperature, uint64_t seed, int64_t position)
{
    return slip_sample_best(logits, first, count, &(slip_sampling){.seed = seed, .temperature = temperature, .top_p = 1}, position);
}

/* One pick from the nucleus. */
static slip_candidate nucleus_of(const float *logits, int64_t count, double temperature, double top_p, uint64_t seed, int64_t position,
                                 int32_t *order)
{
    const slip_sampling sampling = {.seed = seed, .temperature = temperature, .top_p = top_p};
    return slip_sample_filtered(logits, count, &sampling, position, order);
}

static float score_of(float logit, double temperature, uint64_t seed, int64_t position, int64_t token)
{
    return (float)fma(temperature, slip_gumbel(slip_sample_bits(seed, position, (int32_t)token)), logit);
}

static slip_candidate brute_force(const float *logits, int64_t first, int64_t count, double temperature, uint64_t seed, int64_t position)
{
    slip_candidate best = {0, -1};
    for (int64_t i = 0; i < count; i++) {
        float score = score_of(logits[i], temperature, seed, position, first + i);
        if (best.token < 0 || score > best.score)
            best = (slip_candidate){score, (int32_t)(first + i)};
    }
    return best;
}

static void assert_same(slip_candidate a, slip_candidate b)
{
    assert_int_equal(a.token, b.token);
    assert_true(a.score == b.score);
}

static void test_best_is_the_arg_max(void **state)
{
    (void)state;
    static const double temperatures[] = {0.1, 0.7, 1.0, 1.3, 5.0};
    float logits[VOCABULARY];
    for (uint64_t seed = 0; seed < 400; seed++) {
        double temperature = temperatures[seed % 5];
        int64_t first = (int64_t)(seed % 7), count = VOCABULARY - (int64_t)(seed % 11), position = (int64_t)(seed << (seed % 33));
        tiny_fill(seed, seed % 3 ? 12.0f : 0.5f, count, logits);
        assert_same(best_of(logits, first, count, temperature, seed * 77, position),
                    brute_force(logits, first, count, temperature, seed * 77, position));
    }
    assert_int_equal(best_of(logits, 0, 0, 1.0, 1, 1).token, -1);
}

/* The second of two neighbours wins by a hair: a bound that is too low by anything would rule it out. */
static void test_bound_is_a_bound(void **state)
{
    (void)state;
    for (int32_t token = 0; token < 300000; token++) {
        double mine = slip_gumbel(slip_sample_bits(5, 9, token)), next = slip_gumbel(slip_sample_bits(5, 9, token + 1));
        float logits[2] = {0, (float)(mine - next + 2e-5)};
        if (score_of(logits[1], 1, 5, 9, token + 1) > score_of(logits[0], 1, 5, 9, token))
            assert_int_equal(best_of(logits, token, 2, 1.0, 5, 9).token, token + 1);
    }
}

static void test_pieces_merge(void **state)
{
    (void)state;
    float logits[VOCABULARY];
    for (uint64_t seed = 0; seed < 200; seed++) {
        double temperature = seed % 4 ? 0.9 : 0.0;
        tiny_fill(seed, 3.0f, VOCABULARY, logits);
        if (seed % 8 == 0) /* equal tops in several pieces */
            logits[10] = logits[150] = logits[590] = 4.0f;
        slip_candidate whole = best_of(logits, 0, VOCABULARY, temperature, seed, 3);
        for (int64_t pieces = 2; pieces <= 9; pieces++) {
            slip_candidate best = {0, -1};
            for (int64_t i = pieces - 1; i >= 0; i--) { /* the order of merging must not matter */
                int64_t first = VOCABULARY * i / pieces, end = VOCABULARY * (i + 1) / pieces;
                best = slip_candidate_better(best, best_of(logits + first, first, end - first, temperature, seed, 3));
            }
            assert_same(best, whole);
        }
    }
}

static void test_ties_go_to_the_lowest(void **state)
{
    (void)state;
    float logits[40] = {0};
    logits[7] = logits[8] = logits[30] = 2.5f;
    assert_int_equal(best_of(logits, 100, 40, 0, 1, 1).token, 107);
    slip_candidate low = {1.5f, 3}, high = {1.5f, 9}, none = {99.0f, -1};
    assert_int_equal(slip_candidate_better(low, high).token, 3);
    assert_int_equal(slip_candidate_better(high, low).token, 3);
    assert_int_equal(slip_candidate_better(none, high).token, 9);
    assert_int_equal(slip_candidate_better(high, none).token, 9);
    assert_int_equal(slip_candidate_better((slip_candidate){-7, 1}, (slip_candidate){-8, 0}).token, 1);
}

/* Pearson's statistic of `draws` samples against p; 0.999 quantile of chi-square with 11 degrees of freedom is 31.3. */
static double chi_square(const int *seen, const double *p, int count, int draws)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += (seen[i] - draws * p[i]) * (seen[i] - draws * p[i]) / (draws * p[i]);
    return sum;
}

static void test_frequencies_are_the_softmax(void **state)
{
    (void)state;
    enum { TOKENS = 12, DRAWS = 60000 };
    for (int by_seed = 0; by_seed < 2; by_seed++) { /* independent over positions, and over seeds */
        float logits[TOKENS];
        double p[TOKENS], total = 0, temperature = by_seed ? 1.0 : 0.7;
        int seen[TOKENS] = {0};
        tiny_fill(3, 1.5f, TOKENS, logits);
        for (int i = 0; i < TOKENS; i++)
            total += p[i] = exp(logits[i] / temperature);
        for (int i = 0; i < TOKENS; i++)
            p[i] /= total;
        for (int draw = 0; draw < DRAWS; draw++)
            seen[best_of(logits, 0, TOKENS, temperature, by_seed ? (uint64_t)draw : 42, by_seed ? 17 : draw).token]++;
        assert_true(chi_square(seen, p, TOKENS, DRAWS) < 31.3);
    }
}

/* The lower the temperature, the nearer to the arg max, down to the lowest that there is: logits a rounding apart, equal ones, and far
 * ones. */
static void test_low_temperatures(void **state)
{
    (void)state;
    static const double temperatures[] = {1e-9, 1e-20, 1e-37, 1e-38, 1e-45, 1e-300, DBL_MIN, 5e-324};
    static const float bases[] = {0, 1e-30f, 1, 20, -20, 3e38f};
    enum { COUNT = 64 };
    float logits[COUNT];
    for (size_t b = 0; b < sizeof bases / sizeof *bases; b++)
        for (size_t t = 0; t < sizeof temperatures / sizeof *temperatures; t++)
            for (uint64_t seed = 0; seed < 20; seed++) {
                for (int i = 0; i < COUNT; i++)
                    logits[i] = bases[b];
                logits[seed * 3] = nextafterf(bases[b], INFINITY);
                logits[seed * 3 + 2] = nextafterf(bases[b], INFINITY);
                if (fabsf(bases[b]) < 1 && temperatures[t] > 1e-46)
                    continue; /* a rounding apart is then less than the noise */
                assert_int_equal(best_of(logits, 0, COUNT, temperatures[t], seed, 11).token, best_of(logits, 0, COUNT, 0, seed, 11).token);
                int32_t order[COUNT];
                assert_int_equal(nucleus_of(logits, COUNT, temperatures[t], 0.9, seed, 11, order).token, seed * 3);
            }
}

/* The nucleus by its definition: tokens in order of logit, then id, until the mass before them reaches top_p. */
static slip_candidate nucleus(const float *logits, int64_t count, double temperature, double top_p, uint64_t seed, int64_t position)
{
    double total = 0;
    slip_candidate best = {0, -1};
    for (int64_t i = 0; i < count; i++)
        total += exp(logits[i] / temperature);
    for (int64_t i = 0; i < count; i++) {
        double before = 0;
        for (int64_t j = 0; j < count; j++)
            if (logits[j] > logits[i] || (logits[j] == logits[i] && j < i))
                before += exp(logits[j] / temperature);
        float score = score_of(logits[i], temperature, seed, position, i);
        if (before < top_p * total && (best.token < 0 || score > best.score))
            best = (slip_candidate){score, (int32_t)i};
    }
    return best;
}

static void test_nucleus_is_the_smallest_set(void **state)
{
    (void)state;
    float logits[VOCABULARY];
    int32_t order[VOCABULARY];
    for (uint64_t seed = 0; seed < 60; seed++) {
        double temperature = 0.5 + 0.1 * (double)(seed % 10), top_p = 0.05 + 0.1 * (double)(seed % 9);
        tiny_fill(seed, 4.0f, 100, logits);
        logits[3] = logits[90] = logits[50];
        assert_same(nucleus_of(logits, 100, temperature, top_p, seed, 8, order), nucleus(logits, 100, temperature, top_p, seed, 8));
    }
    const float thirds[] = {logf(0.3f), logf(0.5f), logf(0.2f)};
    int seen[3] = {0};
    for (int64_t position = 0; position < 2000; position++) {
        assert_int_equal(nucleus_of(thirds, 3, 1.0, 0.45, 1, position, order).token, 1);
        seen[nucleus_of(thirds, 3, 1.0, 0.75, 1, position, order).token]++;
        assert_same(nucleus_of(thirds, 3, 1.0, 1.0, 1, position, order), best_of(thirds, 0, 3, 1.0, 1, position));
    }
    assert_true(seen[2] == 0 && abs(seen[1] - 1250) < 90);
    assert_int_equal(nucleus_of(thirds, 3, 0.0, 0.1, 1, 0, order).token, 1);
}

/* The filters by their definition, a set each: a token is in if enough tokens are not likelier. */
static slip_candidate filtered(const float *logits, int64_t count, const slip_sampling *s, int64_t position)
{
    bool first[VOCABULARY], second[VOCABULARY];
    double p[VOCABULARY], total = 0, highest = 0;
    slip_candidate best = {0, -1};
    for (int64_t i = 0; i < count; i++) {
        int64_t likelier = 0;
        p[i] = exp(logits[i] / s->temperature);
        highest = p[i] > highest ? p[i] : highest;
        for (int64_t j = 0; j < count; j++)
            likelier += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
        first[i] = s->top_k <= 0 || likelier < s->top_k;
        total += first[i] ? p[i] : 0;
    }
    for (int64_t i = 0; i < count; i++) {
        double before = 0;
        for (int64_t j = 0; j < count; j++)
            if (first[j] && (logits[j] > logits[i] || (logits[j] == logits[i] && j < i)))
                before += p[j];
        second[i] = first[i] && (s->top_p >= 1 || before < s->top_p * total);
    }
    for (int64_t i = 0; i < count; i++) {
        float score = score_of(logits[i], s->temperature, s->seed, position, i);
        if (second[i] && p[i] >= s->min_p * highest && (best.token < 0 || score > best.score))
            best = (slip_candidate){score, (int32_t)i};
    }
    return best;
}

static void test_filters_in_their_order(void **state)
{
    (void)state;
    static const int64_t top_k[] = {-1, 0, 1, 3, 17, 99, 100, 5000};
    static const double top_p[] = {1, 0.3, 0.8, 0.95, 1}, min_p[] = {0, 0.013, 0, 0.3, 0.971, 0.0007, 0};
    float logits[VOCABULARY];
    int32_t order[VOCABULARY];
    for (uint64_t seed = 0; seed < 8 * 5 * 7; seed++) {
        const slip_sampling s = {.seed = seed,
                                 .temperature = 0.5 + 0.1 * (double)(seed % 13),
                                 .top_k = top_k[seed % 8],
                                 .top_p = top_p[seed % 5],
                                 .min_p = min_p[seed % 7]};
        tiny_fill(seed, 4.0f, 100, logits);
        logits[3] = logits[90] = logits[50];
        for (int64_t position = 0; position < 4; position++)
            assert_same(slip_sample_filtered(logits, 100, &s, position, order), filtered(logits, 100, &s, position));
    }
}

/* Where the mass is exactly top_p, the set is complete: of four equal tokens, top_p 0.5 leaves the two lowest. */
static void test_nucleus_ends_at_its_edge(void **state)
{
    (void)state;
    const float logits[] = {2, 2, 2, 2};
    int32_t order[4];
    for (int kept = 1; kept <= 4; kept++) {
        bool out[4] = {false};
        const slip_sampling sampling = {.temperature = 1, .top_p = kept / 4.0};
        for (int64_t position = 0; position < 200; position++)
            out[slip_sample_filtered(logits, 4, &sampling, position, order).token] = true;
        for (int token = 0; token < 4; token++)
            assert_int_equal(out[token], token < kept);
    }
}

/* Which tokens can come out at all: p = 0.4, 0.3, 0.2, 0.1. top_p counts the mass of what top_k left, min_p comes last. */
static void test_filters_by_hand(void **state)
{
    (void)state;
    static const struct {
        int64_t top_k;
        double top_p, min_p;
        bool out[4];
    } cases[] = {
        {0, 1, 0, {1, 1, 1, 1}},    {-1, 1, 0, {1, 1, 1, 1}},     {3, 1, 0, {1, 1, 1, 0}},    {1, 1, 0, {1, 0, 0, 0}},
        {9, 1, 0, {1, 1, 1, 1}},    {0, 1, 0.6, {1, 1, 0, 0}},    {0, 1, 0.2, {1, 1, 1, 1}},  {0, 1, 1, {1, 0, 0, 0}},
        {0, 0.65, 0, {1, 1, 0, 0}}, {0, 0.75, 0, {1, 1, 1, 0}},   {3, 0.75, 0, {1, 1, 0, 0}}, {0, 0.95, 0.4, {1, 1, 1, 0}},
        {2, 1, 0.8, {1, 0, 0, 0}},  {0, 0.75, 0.6, {1, 1, 0, 0}},
    };
    const float logits[] = {logf(0.4f), logf(0.3f), logf(0.2f), logf(0.1f)};
    int32_t order[4];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const slip_sampling sampling = {.temperature = 1, .top_k = cases[i].top_k, .top_p = cases[i].top_p, .min_p = cases[i].min_p};
        bool out[4] = {false};
        for (int64_t position = 0; position < 400; position++)
            out[slip_sample_filtered(logits, 4, &sampling, position, order).token] = true;
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
    const slip_sampling greedy = {.top_k = 2, .top_p = 0.5, .min_p = 0.5};
    assert_int_equal(slip_sample_filtered(logits, 4, &greedy, 0, order).token, 0);
    assert_false(slip_sampling_filters(&greedy)); /* nothing to leave out: the step needs no rows of logits */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low_temperatures),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_gumbel),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_best_is_the_arg_max),
        cmocka_unit_test(test_bound_is_a_bound),
        cmocka_unit_test(test_pieces_merge),
        cmocka_unit_test(test_ties_go_to_the_lowest),
        cmocka_unit_test(test_frequencies_are_the_softmax),
        cmocka_unit_test(test_nucleus_is_the_smallest_set),
        cmocka_unit_test(test_nucleus_ends_at_its_edge),
        cmocka_unit_test(test_filters_in_their_order),
        cmocka_unit_test(test_filters_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
