/* The histogram of a row and the sampling filters by it, against a plain sort of the row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/sampling/sample.h"
#include "tiny_random.h"

enum { TOKENS = 3000 };

static float logits[TOKENS];

/* ---- rows ---- */

enum { FLAT, WIDE, PEAKED, STEPS, EQUAL, FAR, ROWS };

/* Rows of many kinds: nearly flat, far apart, a few likely tokens over a wide floor, many ties, all equal, tails beyond the last bin. */
static void make_row(int kind, uint64_t seed)
{
    static const float ranges[ROWS] = {[FLAT] = 0.5f, [WIDE] = 12, [PEAKED] = 4, [STEPS] = 3, [EQUAL] = 0, [FAR] = 90};
    tiny_fill(seed, ranges[kind], TOKENS, logits);
    for (int i = 0; i < TOKENS && kind == STEPS; i++)
        logits[i] = roundf(4 * logits[i]) / 4;
    for (uint64_t i = 0; i < 12 && kind == PEAKED; i++)
        logits[tiny_below(seed, i, TOKENS)] = 9 + 0.3f * (float)i;
    for (int i = 0; i < TOKENS; i++) /* away from zero: bins are absolute */
        logits[i] += (float)(seed % 5) * 3.7f - 7;
}

static slip_sampling make_sampling(uint64_t seed)
{
    static const int64_t top_k[] = {0, 0, 1, 2, 20, 0, 100, 2999, 5000};
    static const double top_p[] = {0.95, 1, 0.3, 0.8, 0.999, 0.95, 1e-9, 0.5}, min_p[] = {0, 0.05, 0, 0.0003, 1, 0, 0.5};
    static const double temperatures[] = {1, 0.7, 0.31, 2, 0.01};
    return (slip_sampling){.seed = seed * 31 + 7,
                           .temperature = temperatures[seed % 5],
                           .top_k = top_k[seed % 9],
                           .top_p = top_p[seed % 8],
                           .min_p = min_p[seed % 7]};
}

/* ---- the rule by a sort ---- */

static int by_likelihood(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (logits[x] != logits[y])
        return logits[x] > logits[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

/* Sorts the tokens into `order`; returns how many of them the filters keep. */
static int sort_and_cut(const slip_sampling *s, int32_t *order)
{
    double total = 0, before = 0;
    for (int32_t i = 0; i < TOKENS; i++)
        order[i] = i;
    qsort(order, TOKENS, sizeof *order, by_likelihood);
    const int most = s->top_k > 0 && s->top_k < TOKENS ? (int)s->top_k : TOKENS;
    const float highest = logits[order[0]];
    for (int i = 0; i < most; i++)
        total += exp((logits[order[i]] - (double)highest) / s->temperature);
    for (int i = 0; i < most; i++) {
        const double mine = exp((logits[order[i]] - (double)highest) / s->temperature);
        if ((s->top_p < 1 && before >= s->top_p * total) || mine < s->min_p)
            return i;
        before += mine;
    }
    return most;
}

static slip_candidate best_of(const slip_sampling *s, const int32_t *order, int count, int64_t position)
{
    slip_candidate best = {0, -1};
    for (int i = 0; i < count; i++) {
        const double noise = slip_gumbel(slip_sample_bits(s->seed, position, order[i]));
        best = slip_candidate_better(best, (slip_candidate){(float)fma(s->temperature, noise, logits[order[i]]), order[i]});
    }
    return best;
}

/* What is said to be kept at first sight is among the first `count` tokens in the order of likelihood; and more is said above than below. */
static void assert_keeps_soundly(const slip_histogram *histogram, const slip_sampling *s, const int32_t *order, int count)
{
    const double scale = slip_bin_scale(s->temperature);
    int32_t last = histogram->top + 1;
    assert_false(slip_histogram_keeps(histogram, s, last));
    bool kept = true;
    for (int i = 0; i < TOKENS; i++) {
        const int32_t bin = slip_bin_of(slip_bin_place(logits[order[i]], scale));
        if (bin != last)
            kept = slip_histogram_keeps(histogram, s, last = bin);
        assert_true(!kept || i < count);
    }
}

/* Picks, and both sides of the edge. Rows like those of models must be settled without a look at the row, or the histogram is good for
 * nothing. */
static void test_filters_against_a_sort(void **state)
{
    (void)state;
    int32_t order[TOKENS], scratch[TOKENS];
    int settled = 0, peaked = 0, left_out = 0, beaten = 0, inside = 0, early = 0;
    for (uint64_t seed = 0; seed < 900; seed++) {
        const slip_sampling s = make_sampling(seed);
        if (!slip_sampling_filters(&s))
            continue;
        const int kind = (int)(seed / 3 % ROWS);
        make_row(kind, seed);
        const int count = sort_and_cut(&s, order);
        const double scale = slip_bin_scale(s.temperature);
        slip_histogram histogram;
        slip_edge edge;
        slip_histogram_fill(logits, TOKENS, logits[order[0]], s.temperature, &histogram);
        assert_true(slip_histogram_edge(&histogram, &s, &edge));
        assert_true(edge.kept >= edge.open);
        for (int i = 0; i < TOKENS; i++) {
            const int32_t bin = slip_bin_of(slip_bin_place(logits[order[i]], scale));
            assert_true(slip_is_above(logits[order[i]], scale, bin) && !slip_is_above(logits[order[i]], scale, bin + 1));
            assert_true(i < count ? bin >= edge.open : bin < edge.kept);
        }
        assert_keeps_soundly(&histogram, &s, order, count);
        for (int64_t position = 0; position < 3; position++) {
            const slip_candidate want = best_of(&s, order, count, position),
                                 have = slip_sample_filtered(logits, TOKENS, &s, position, scratch);
            assert_int_equal(have.token, want.token);
            assert_true(have.score == want.score);
            const slip_candidate drawn = slip_sample_above(logits, 0, TOKENS, &s, position, edge.open),
                                 surely = slip_sample_above(logits, 0, TOKENS, &s, position, edge.kept);
            const slip_candidate alone = slip_sample_drawn(logits, TOKENS, &histogram, drawn, NULL, &s, position, scratch),
                                 rivalled = slip_sample_drawn(logits, TOKENS, &histogram, drawn, &surely, &s, position, scratch);
            assert_true(alone.token == want.token && alone.score == want.score);
            assert_true(rivalled.token == want.token && rivalled.score == want.score);
            left_out += drawn.token != want.token;
            beaten += drawn.token != want.token && surely.token != want.token;
            peaked += kind == PEAKED;
            settled += kind == PEAKED && slip_is_above(logits[drawn.token], scale, edge.kept);
            if (slip_is_above(logits[drawn.token], scale, edge.kept)) {
                inside++;
                early += slip_histogram_keeps(&histogram, &s, slip_candidate_bin(drawn, &s, position));
            }
        }
    }
    assert_true(inside > 1000 && early == inside);
    assert_true(left_out > beaten && beaten > 0); /* by the best that is surely kept, and by one of the open piece */
    assert_true(peaked > 350 && settled > 0.98 * peaked);
}

/* A smooth row of a large vocabulary, filtered by top_p alone: what stays open is about the mass of a bin. */
static void test_little_stays_open(void **state)
{
    (void)state;
    int32_t scratch[TOKENS];
    int settled = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        const slip_sampling s = {.seed = seed, .temperature = 1, .top_p = 0.95};
        slip_histogram histogram;
        slip_edge edge;
        float highest = -INFINITY;
        make_row(PEAKED, seed);
        for (int i = 0; i < TOKENS; i++)
            highest = fmaxf(highest, logits[i]);
        slip_histogram_fill(logits, TOKENS, highest, 1, &histogram);
        assert_true(slip_histogram_edge(&histogram, &s, &edge));
        const slip_candidate drawn = slip_sample_above(logits, 0, TOKENS, &s, 5, edge.open);
        assert_int_equal(drawn.token >= 0 ? slip_sample_filtered(logits, TOKENS, &s, 5, scratch).token >= 0 : 0, 1);
        settled += slip_is_above(logits[drawn.token], slip_bin_scale(1), edge.kept);
    }
    assert_true(settled >= 297);
}

/* Filters that cut exactly at a token, a rounding ahead of it or behind it, or by a ten millionth of the mass: token number `at` is the first
 * that is left out, or the last that is kept, and what the histogram says of its bin and those around holds for all of that. */
static void test_cuts_at_a_token(void **state)
{
    (void)state;
    static const double shifts[] = {0, 1e-16, -1e-16, 1e-7, -1e-7, 1e-4, -1e-4};
    int32_t order[TOKENS];
    for (uint64_t seed = 0; seed < 600; seed++) {
        slip_sampling s = {.seed = seed, .temperature = seed % 2 ? 1 : 0.7, .top_p = 1};
        double total = 0, before = 0, likelihood = 1;
        int32_t cut = TOKENS;
        make_row((int)(seed / 2 % ROWS), seed);
        sort_and_cut(&s, order);
        if (seed % 3 == 0)
            s.top_k = cut = 1 + (int32_t)tiny_below(seed, 1, 200);
        const int at = (int)tiny_below(seed, 2, seed % 5 ? 300 : TOKENS) % cut;
        for (int i = 0; i < cut; i++) {
            likelihood = i <= at ? exp((logits[order[i]] - (double)logits[order[0]]) / s.temperature) : likelihood;
            before = i == at ? total : before;
            total += exp((logits[order[i]] - (double)logits[order[0]]) / s.temperature);
        }
        for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
            slip_histogram histogram;
            slip_edge edge;
            if (seed % 4 == 3)
                s.min_p = fmin(likelihood * (1 + shifts[i]), 1);
            else
                s.top_p = fmax(before / total * (1 + shifts[i]), 1e-12);
            const int count = sort_and_cut(&s, order);
            slip_histogram_fill(logits, TOKENS, logits[order[0]], s.temperature, &histogram);
            assert_true(slip_histogram_edge(&histogram, &s, &edge));
            assert_keeps_soundly(&histogram, &s, order, count);
            for (int t = 0; t < TOKENS; t++) {
                const int32_t bin = slip_bin_of(slip_bin_place(logits[order[t]], slip_bin_scale(s.temperature)));
                assert_true(t < count ? bin >= edge.open : bin < edge.kept);
            }
        }
    }
}

/* Where a token's bin is looked into: top_p's verdict is the rule's for every token, and only of a token next to the edge there may be none, since
 * bounds of what is ahead of it count little where most of the mass is. */
static void test_verdicts(void **state)
{
    (void)state;
    int32_t order[TOKENS];
    int unsure = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        const slip_sampling s = {.temperature = 1, .top_p = 0.95};
        slip_histogram histogram;
        make_row(FLAT, seed);
        const int count = sort_and_cut(&s, order);
        slip_histogram_fill(logits, TOKENS, logits[order[0]], 1, &histogram);
        double mass = 0;
        for (int i = 0, ahead = 0, last = SLIP_NO_BINS; i < TOKENS; i++, ahead++) {
            const double place = logits[order[i]] * slip_bin_scale(1);
            const int32_t bin = slip_bin_of(slip_bin_place(logits[order[i]], slip_bin_scale(1)));
            if (bin != last) {
                ahead = 0;
                mass = 0;
                last = bin;
            }
            const slip_verdict verdict = slip_histogram_verdict(&histogram, &s, bin, ahead, mass);
            assert_true(verdict == SLIP_UNSURE || (verdict == SLIP_KEPT) == (i < count));
            unsure += verdict == SLIP_UNSURE;
            mass += exp((place - histogram.top) / SLIP_BINS_OF_A_NAT);
        }
    }
    assert_true(unsure < 40);
}

/* All tokens in one bin: all of it is kept, or nothing is said at first sight, but of a row's one likeliest token. */
static void test_one_bin(void **state)
{
    (void)state;
    slip_histogram histogram;
    const slip_sampling tight = {.temperature = 1, .top_p = 1e-12}, half = {.temperature = 1, .top_p = 0.5},
                        all = {.temperature = 1, .top_p = 1, .top_k = TOKENS}, few = {.temperature = 1, .top_p = 1, .top_k = TOKENS - 1},
                        nearly = {.temperature = 1, .top_p = 1 - 1e-9, .min_p = 0.5};
    for (int i = 0; i < TOKENS; i++)
        logits[i] = 4 + (float)i / TOKENS / 33; /* 128 bins up */
    slip_histogram_fill(logits, TOKENS, logits[TOKENS - 1], 1, &histogram);
    assert_int_equal(histogram.top, 128);
    assert_int_equal(histogram.count[0], TOKENS);
    assert_true(slip_histogram_keeps(&histogram, &all, 128));
    assert_true(slip_histogram_keeps(&histogram, &(slip_sampling){.temperature = 1, .top_p = 1, .min_p = 0.5}, 128));
    assert_false(slip_histogram_keeps(&histogram, &few, 128) || slip_histogram_keeps(&histogram, &tight, 128));
    assert_false(slip_histogram_keeps(&histogram, &half, 128));
    assert_true(slip_histogram_keeps(&histogram, &nearly, 128)); /* the last one's mass is more than the bounds are apart */
    logits[7] = 4.5f;                                            /* alone in bin 144 */
    slip_histogram_fill(logits, TOKENS, logits[7], 1, &histogram);
    assert_true(slip_histogram_keeps(&histogram, &tight, 144) && slip_histogram_keeps(&histogram, &nearly, 144));
    assert_true(slip_histogram_keeps(&histogram, &tight, 129)); /* nothing is between them */
    assert_false(slip_histogram_keeps(&histogram, &tight, 128) || slip_histogram_keeps(&histogram, &half, 128));
    assert_false(slip_histogram_keeps(&histogram, &tight, 145)); /* beyond the likeliest */
    logits[8] = logits[7];                                       /* the second of two equals is left out */
    slip_histogram_fill(logits, TOKENS, logits[7], 1, &histogram);
    assert_false(slip_histogram_keeps(&histogram, &tight, 144));
}

/* Parts of a row, of which each begins at its own highest logit, add up to the row's, in any order. */
static void test_parts_add_up(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        const double temperature = make_sampling(seed).temperature;
        slip_histogram whole, parts[5], sum;
        float highest = -INFINITY;
        make_row((int)(seed % ROWS), seed);
        for (int p = 0; p < 5; p++) {
            const int64_t first = TOKENS * p / 5, end = TOKENS * (p + 1) / 5;
            float most = -INFINITY;
            for (int64_t i = first; i < end; i++)
                most = fmaxf(most, logits[i] = logits[i] + (float)(p == (int)(seed % 5) ? 0 : -2 * p));
            slip_histogram_fill(logits + first, end - first, most, temperature, &parts[p]);
            highest = fmaxf(highest, most);
        }
        slip_histogram_fill(logits, TOKENS, highest, temperature, &whole);
        assert_int_equal(whole.tokens, TOKENS);
        for (uint64_t turn = 0; turn < 5; turn++) {
            sum = parts[turn];
            for (uint64_t p = 1; p < 5; p++)
                slip_histogram_add(&sum, &parts[(turn + p * 2) % 5]);
            assert_memory_equal(&sum, &whole, sizeof sum);
        }
    }
}

/* Logits that bins do not reach: nothing is said of the row, and the pick is the rule's all the same. */
static void test_limits(void **state)
{
    (void)state;
    int32_t order[TOKENS], scratch[TOKENS];
    static const float far[] = {3e38f, 1e9f, -3e38f, -1e9f};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        for (uint64_t seed = 0; seed < 9; seed++) {
            slip_sampling s = make_sampling(seed * 9 + 4); /* top_k 20 */
            slip_histogram histogram;
            slip_edge edge;
            make_row(WIDE, seed);
            for (int t = 0; t < TOKENS; t++)
                logits[t] = far[i] + 1e-4f * logits[t] * far[i];
            const int count = sort_and_cut(&s, order);
            slip_histogram_fill(logits, TOKENS, logits[order[0]], s.temperature, &histogram);
            assert_false(slip_histogram_edge(&histogram, &s, &edge));
            assert_false(slip_histogram_keeps(&histogram, &s, histogram.top));
            assert_int_equal(slip_sample_filtered(logits, TOKENS, &s, 3, scratch).token, best_of(&s, order, count, 3).token);
        }
    const slip_sampling cold = {.seed = 3, .temperature = 1e-7, .top_k = 5, .top_p = 0.9};
    make_row(PEAKED, 3);
    assert_int_equal(slip_sample_filtered(logits, TOKENS, &cold, 3, scratch).token,
                     best_of(&cold, order, sort_and_cut(&cold, order), 3).token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters_against_a_sort),
        cmocka_unit_test(test_little_stays_open),
        cmocka_unit_test(test_cuts_at_a_token),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_one_bin),
        cmocka_unit_test(test_parts_add_up),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
