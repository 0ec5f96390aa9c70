/* Attention, norm and SwiGLU of every instruction set against double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kernels/cpu/math.h"
#include "tiny_random.h"

typedef void check(const slip_math *math);

static void for_each_kind(check *check_one)
{
    const slip_math *table[3];
    int kinds = slip_math_all(table);
    for (int kind = 0; kind < kinds; kind++)
        check_one(table[kind]);
}

static void test_best_is_listed(void **state)
{
    (void)state;
    const slip_math *table[3];
    assert_true(slip_math_all(table) >= 1 && slip_math_best() == table[0]);
}

/* ---- attention ---- */

enum { KV_HEADS = 3, HEAD_DIM = 24, V_HEAD_DIM = 20, K_WIDTH = 32, V_WIDTH = 32, SLOTS = 64 };

typedef struct {
    float k[SLOTS * KV_HEADS * K_WIDTH], v[SLOTS * KV_HEADS * V_WIDTH];
    float q[K_WIDTH];
    slip_cache_view view;
} scene;

/* Slots that the query may not see are NaN, and so is what lies behind each value. */
static void scene_make(scene *s, int64_t slots, int64_t first, int64_t last, float size)
{
    for (size_t i = 0; i < sizeof s->k / sizeof *s->k; i++)
        s->k[i] = NAN;
    for (size_t i = 0; i < sizeof s->v / sizeof *s->v; i++)
        s->v[i] = NAN;
    for (int64_t p = first; p <= last; p++)
        for (int64_t h = 0; h < KV_HEADS; h++) {
            uint64_t key = (uint64_t)(p * KV_HEADS + h);
            float *k = s->k + ((p % slots) * KV_HEADS + h) * K_WIDTH, *v = s->v + ((p % slots) * KV_HEADS + h) * V_WIDTH;
            memset(k, 0, K_WIDTH * sizeof *k);
            tiny_fill(2 * key, 1.0f, HEAD_DIM, k);
            tiny_fill(2 * key + 1, 1.0f, V_HEAD_DIM, v);
        }
    memset(s->q, 0, sizeof s->q);
    tiny_fill(99, size, HEAD_DIM, s->q);
    s->view = (slip_cache_view){s->k, s->v, slots, KV_HEADS, K_WIDTH, V_WIDTH};
}

/* softmax(q.k / sqrt(d)) v with the sink in the denominator alone. */
static void reference(const scene *s, int kv_head, int64_t first, int64_t last, const float *sink, double *out)
{
    double score[SLOTS], most = sink ? *sink : -INFINITY, total = 0;
    for (int64_t p = first; p <= last; p++) {
        const float *k = s->k + ((p % s->view.slots) * KV_HEADS + kv_head) * K_WIDTH;
        double dot = 0;
        for (int c = 0; c < HEAD_DIM; c++)
            dot += (double)s->q[c] * k[c];
        score[p - first] = dot / sqrt(HEAD_DIM);
        most = fmax(most, score[p - first]);
    }
    memset(out, 0, V_HEAD_DIM * sizeof *out);
    for (int64_t p = first; p <= last; p++) {
        const float *v = s->v + ((p % s->view.slots) * KV_HEADS + kv_head) * V_WIDTH;
        double e = exp(score[p - first] - most);
        total += e;
        for (int c = 0; c < V_HEAD_DIM; c++)
            out[c] += e * v[c];
    }
    total += sink ? exp(*sink - most) : 0;
    for (int c = 0; c < V_HEAD_DIM; c++)
        out[c] /= total;
}

/* One query head alone. */
static void attend(const slip_math *math, const scene *s, int kv_head, int64_t first, int64_t last, const float *sink, float *out)
{
    float score[SLOTS + 16], sum[V_WIDTH];
    const slip_query query = {s->q, first, last, sink, score, sum, out};
    math->attend(&s->view, kv_head, &query, 1, HEAD_DIM, V_HEAD_DIM);
}

static void check_one_attend(const slip_math *math, int64_t slots, int64_t first, int64_t last, float size, const float *sink)
{
    static scene s;
    float out[V_HEAD_DIM + 1];
    double want[V_HEAD_DIM];
    scene_make(&s, slots, first, last, size);
    for (int h = 0; h < KV_HEADS; h++) {
        out[V_HEAD_DIM] = 7;
        attend(math, &s, h, first, last, sink, out);
        reference(&s, h, first, last, sink, want);
        for (int c = 0; c < V_HEAD_DIM; c++)
            assert_true(fabs(out[c] - want[c]) < 3e-6);
        assert_true(out[V_HEAD_DIM] == 7); /* the next head's */
    }
}

static void check_attend(const slip_math *math)
{
    static const float sinks[] = {-2.0f, 0.5f, 30.0f, -60.0f};
    static const int64_t counts[] = {1, 2, 15, 16, 17, 40};
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++)
        for (int sink = -1; sink < 4; sink++)
            for (float size = 1; size < 100; size *= 9) {
                const float *joins = sink < 0 ? NULL : &sinks[sink];
                check_one_attend(math, SLOTS, 0, counts[n] - 1, size, joins);
                check_one_attend(math, 41, 1000, 1000 + counts[n] - 1, size, joins);    /* wraps: 1000 = 24 * 41 + 16 */
                check_one_attend(math, counts[n], 77, 77 + counts[n] - 1, size, joins); /* a full ring */
            }
}

static void test_attend(void **state)
{
    (void)state;
    for_each_kind(check_attend);
}

/* Queries whose keys begin `first_step` and end `last_step` positions apart, together and each alone: the same bits. */
static void check_company(const slip_math *math, int64_t slots, int64_t keys, int64_t first_step, int64_t last_step, int count)
{
    static scene s, one;
    static float q[SLIP_QUERIES][K_WIDTH], score[SLIP_QUERIES][SLOTS + 16], sum[SLIP_QUERIES][V_WIDTH], out[SLIP_QUERIES][V_HEAD_DIM];
    const float sink = 0.3f;
    slip_query query[SLIP_QUERIES];
    const int64_t start = 130, end = start + keys + (count - 1) * last_step;
    scene_make(&s, slots, start, end - 1, 1);
    for (int i = 0; i < count; i++) {
        const int64_t first = start + i * first_step, last = start + keys + i * last_step - 1;
        memset(q[i], 0, sizeof q[i]);
        tiny_fill(200 + (uint64_t)i, 3.0f, HEAD_DIM, q[i]);
        query[i] = (slip_query){q[i], first, last, i % 3 ? &sink : NULL, score[i], sum[i], out[i]};
    }
    math->attend(&s.view, 2, query, count, HEAD_DIM, V_HEAD_DIM);
    for (int i = 0; i < count; i++) {
        float alone[V_HEAD_DIM];
        scene_make(&one, slots, query[i].first, query[i].last, 1); /* nothing else is looked at: the rest is NaN */
        memcpy(one.q, q[i], sizeof q[i]);
        attend(math, &one, 2, query[i].first, query[i].last, query[i].sink, alone);
        for (int c = 0; c < V_HEAD_DIM; c++)
            assert_true(out[i][c] == alone[c]);
    }
}

static void check_companies(const slip_math *math)
{
    for (int count = 1; count <= SLIP_QUERIES; count += count < 3 ? 1 : 13)
        for (int64_t keys = 1; keys <= 46; keys += 5) {
            check_company(math, SLOTS, keys, 0, 0, count);
            check_company(math, SLOTS, keys, 0, 1, count);      /* causal */
            check_company(math, SLOTS, keys, 1, 1, count);      /* in a window */
            check_company(math, keys + 15, keys, 1, 1, count);  /* of a full ring, which wraps */
            check_company(math, SLOTS, keys + 15, 1, 0, count); /* a whole block */
        }
}

static void test_company(void **state)
{
    (void)state;
    for_each_kind(check_companies);
}

/* One key takes all the weight but the sink's. */
static void check_one_key(const slip_math *math)
{
    static scene s;
    float out[V_HEAD_DIM], sink;
    scene_make(&s, 8, 21, 21, 1);
    const float *v = s.v + (21 % 8 * KV_HEADS + 1) * V_WIDTH;
    attend(math, &s, 1, 21, 21, NULL, out);
    assert_memory_equal(out, v, sizeof out);
    memset(s.q, 0, sizeof s.q); /* score 0 against a sink of 0: a half each */
    sink = 0;
    attend(math, &s, 1, 21, 21, &sink, out);
    for (int c = 0; c < V_HEAD_DIM; c++)
        assert_true(fabsf(out[c] - 0.5f * v[c]) < 1e-6f);
}

static void test_one_key(void **state)
{
    (void)state;
    for_each_kind(check_one_key);
}

/* ---- the rest ---- */

static void check_norm(const slip_math *math)
{
    static const int64_t sizes[] = {1, 15, 16, 33, 80, 300};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        float x[320] = {0}, weight[320], out[320], epsilon = i % 2 ? 1e-5f : 0.3f;
        int64_t columns = sizes[i];
        double squares = 0;
        tiny_fill(i, i == 4 ? 1e-3f : 3.0f, columns, x);
        tiny_fill(i + 10, 2.0f, columns, weight);
        for (int64_t c = 0; c < columns; c++)
            squares += (double)x[c] * x[c];
        out[columns] = 7;
        math->norm(x, weight, columns, epsilon, out);
        for (int64_t c = 0; c < columns; c++) {
            double want = weight[c] * x[c] / sqrt(squares / (double)columns + epsilon);
            assert_true(fabs(out[c] - want) <= 1e-6 * fabs(want));
        }
        assert_true(out[columns] == 7);
        math->norm(x, weight, columns, epsilon, x);
        assert_memory_equal(x, out, (size_t)columns * sizeof *x);
    }
}

static void test_norm(void **state)
{
    (void)state;
    for_each_kind(check_norm);
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

/* Relative error of a few roundings, but where e^x leaves the normal numbers. */
static void assert_silu(float have, float gate, float up)
{
    double want = silu(gate) * up;
    assert_true(fabs(have - want) <= 5e-7 * fabs(want) + 1e-35 * fabs(up));
}

static void check_swiglu(const slip_math *math)
{
    static const int64_t counts[] = {1, 15, 16, 17, 31, 32, 33, 80};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        float gate[96], up[96], act[97];
        int64_t count = counts[i], padded = slip_padded(count);
        for (int64_t c = 0; c < 97; c++)
            act[c] = NAN;
        for (int64_t c = 0; c < 96; c++)
            gate[c] = up[c] = NAN; /* what lies beyond is not read */
        tiny_fill(i, 10.0f, count, gate);
        tiny_fill(i + 20, 3.0f, count, up);
        math->swiglu(gate, up, count, act);
        for (int64_t c = 0; c < count; c++)
            assert_silu(act[c], gate[c], up[c]);
        for (int64_t c = count; c < padded; c++)
            assert_true(act[c] == 0);
        assert_true(isnan(act[padded]));
    }
}

static void test_swiglu(void **state)
{
    (void)state;
    for_each_kind(check_swiglu);
}

/* The exponential, seen through silu(x) * 1 over all of its range, in steps of 1/512, and beyond. */
static void check_exponential(const slip_math *math)
{
    float ones[32], gate[32], act[32];
    for (int i = 0; i < 32; i++)
        ones[i] = 1;
    for (int start = -51200; start < 51200; start += 32) {
        for (int i = 0; i < 32; i++)
            gate[i] = (float)(start + i) / 512;
        math->swiglu(gate, ones, 32, act);
        for (int i = 0; i < 32; i++)
            assert_silu(act[i], gate[i], 1);
    }
    const float far[] = {-1e30f, -500, 500, 1e30f, 0, -0.0f, 1e-30f};
    math->swiglu(far, ones, 7, act);
    assert_true(fabsf(act[0]) < 1e-5f && fabsf(act[1]) < 1e-30f); /* never NaN or infinite */
    assert_true(act[2] == 500 && act[3] == 1e30f && act[4] == 0 && act[5] == 0 && act[6] == 0.5e-30f);
}

static void test_exponential(void **state)
{
    (void)state;
    for_each_kind(check_exponential);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_is_listed), cmocka_unit_test(test_attend), cmocka_unit_test(test_company),
        cmocka_unit_test(test_one_key),        cmocka_unit_test(test_norm),   cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
