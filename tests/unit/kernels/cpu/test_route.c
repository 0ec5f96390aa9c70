/* ROUTE by both rules, against the same in double precision; and what a bias does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "kernels/cpu/state.h"
#include "tiny_model.h"
#include "tiny_random.h"
#include "tiny_weight.h"

enum { EXPERTS = 12, HIDDEN = 8, TOP_K = 4, ROWS = 16 };

/* A program of one op: the router and, with `bias`, what it picks with. */
typedef struct {
    slip_program program;
    slip_op op;
    slip_tensor tensors[2];
    float weight[EXPERTS][HIDDEN], bias[EXPERTS], in[ROWS][HIDDEN];
    float out[ROWS][2 * TOP_K];
} routed;

static void load(slip_executor *executor, int32_t index, float *values, int64_t rows, int64_t columns)
{
    slip_weight weight = {.dtype = SLIP_F32,
                          .experts = 1,
                          .rows = rows,
                          .columns = columns,
                          .row_bytes = (size_t)columns * sizeof(float),
                          .data = (unsigned char *)values};
    assert_int_equal(tiny_weight_load(executor, index, &weight), SLIP_OK);
}

/* What the executor counted is what it picked. */
static void check_picks(const routed *r, const int64_t *picks)
{
    int64_t wanted[EXPERTS] = {0};
    for (int32_t i = 0; i < ROWS; i++)
        for (int32_t k = 0; k < TOP_K; k++)
            wanted[(int32_t)r->out[i][k]]++;
    for (int32_t e = 0; e < EXPERTS; e++)
        assert_int_equal(picks[e], wanted[e]);
}

static void route(routed *r, slip_scoring scoring, bool bias, bool norm_top_k, float scale)
{
    static slip_step step;
    slip_limits limits = {.rows = ROWS, .logit_rows = 1, .sequences = 1, .span_rows = ROWS, .context = ROWS, .kv_tokens = ROWS};
    slip_executor *executor;
    slip_run_cost cost;
    int32_t tokens[ROWS] = {0};
    r->op = (slip_op){
        .kind = SLIP_OP_ROUTE, .in = SLIP_BUFFER_H, .out = SLIP_BUFFER_ROUTE, .weight = {0, bias ? 1 : SLIP_NO_WEIGHT}, .layer = 2};
    r->tensors[0] = (slip_tensor){.experts = {-1, 0}, .columns = {0, HIDDEN}, .rows = EXPERTS};
    r->tensors[1] = (slip_tensor){.experts = {-1, 0}, .columns = {0, EXPERTS}, .rows = 1, .vector = true};
    r->program = (slip_program){.ops = &r->op,
                                .op_count = 1,
                                .phase_count = {1},
                                .tensors = r->tensors,
                                .tensor_count = 2,
                                .experts = EXPERTS,
                                .top_k = TOP_K,
                                .scoring = scoring,
                                .norm_top_k = norm_top_k,
                                .routed_scale = scale};
    r->program.width[SLIP_BUFFER_H] = HIDDEN;
    r->program.width[SLIP_BUFFER_ROUTE] = 2 * TOP_K;
    assert_int_equal(slip_executor_cpu.create(&r->program, &limits, NULL, NULL, &executor), SLIP_OK);
    load(executor, 0, r->weight[0], EXPERTS, HIDDEN);
    load(executor, 1, r->bias, 1, EXPERTS);
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 0, tokens, ROWS, 0);
    for (int32_t i = 0; i < ROWS; i++)
        memcpy(slip_executor_cpu.row(executor, SLIP_BUFFER_H, i), r->in[i], sizeof r->in[i]);
    assert_int_equal(slip_executor_run(&slip_executor_cpu, executor, SLIP_PHASE_RUN, &step, &cost), SLIP_OK);
    for (int32_t i = 0; i < ROWS; i++)
        memcpy(r->out[i], slip_executor_cpu.row(executor, SLIP_BUFFER_ROUTE, i), sizeof r->out[i]);
    check_picks(r, slip_executor_cpu.expert_picks(executor) + (int64_t)r->op.layer * EXPERTS);
    slip_executor_cpu.destroy(executor);
}

static void make(routed *r, uint64_t key)
{
    memset(r, 0, sizeof *r);
    for (uint64_t i = 0; i < EXPERTS * HIDDEN; i++)
        r->weight[i / HIDDEN][i % HIDDEN] = tiny_uniform(key, i);
    for (uint64_t i = 0; i < EXPERTS; i++)
        r->bias[i] = 0.3f * tiny_uniform(key + 1, i);
    for (uint64_t i = 0; i < ROWS * HIDDEN; i++)
        r->in[i / HIDDEN][i % HIDDEN] = 2 * tiny_uniform(key + 2, i);
}

static void score_row(const routed *r, slip_scoring scoring, int32_t row, double *score)
{
    double sum = 0;
    for (int32_t e = 0; e < EXPERTS; e++) {
        double logit = 0;
        for (int32_t c = 0; c < HIDDEN; c++)
            logit += (double)r->weight[e][c] * r->in[row][c];
        score[e] = scoring == SLIP_SCORING_SIGMOID ? 1 / (1 + exp(-logit)) : exp(logit);
        sum += score[e];
    }
    for (int32_t e = 0; e < EXPERTS && scoring == SLIP_SCORING_SOFTMAX; e++)
        score[e] /= sum;
}

/* An expert is picked when fewer than TOP_K have a greater score and bias. */
static void check_row(const routed *r, slip_scoring scoring, bool bias, bool norm_top_k, double scale, int32_t row)
{
    double score[EXPERTS], sum = 0;
    int32_t k = 0;
    score_row(r, scoring, row, score);
    for (int32_t i = 0; i < TOP_K; i++)
        sum += score[(int32_t)r->out[row][i]];
    for (int32_t e = 0; e < EXPERTS; e++) {
        int32_t better = 0;
        for (int32_t o = 0; o < EXPERTS; o++)
            better += score[o] + (bias ? r->bias[o] : 0) > score[e] + (bias ? r->bias[e] : 0);
        if (better >= TOP_K)
            continue;
        assert_true(r->out[row][k] == (float)e); /* ascending */
        double want = (norm_top_k ? score[e] / sum : score[e]) * scale;
        assert_true(fabs(r->out[row][TOP_K + k] - want) < 1e-6 * scale);
        k++;
    }
    assert_int_equal(k, TOP_K);
}

static void test_rules(void **state)
{
    (void)state;
    static routed r;
    for (uint64_t key = 1; key <= 8; key++)
        for (int scoring = SLIP_SCORING_SIGMOID; scoring <= SLIP_SCORING_SOFTMAX; scoring++)
            for (int bias = 0; bias < 2; bias++)
                for (int norm = 0; norm < 2; norm++) {
                    float scale = norm ? 1 : 2.5f;
                    make(&r, 10 * key);
                    route(&r, (slip_scoring)scoring, bias, norm, scale);
                    for (int32_t row = 0; row < ROWS; row++)
                        check_row(&r, (slip_scoring)scoring, bias, norm, scale, row);
                }
}

/* Large logits: a softmax must not overflow; equal scores: the lower expert. */
static void test_extremes(void **state)
{
    (void)state;
    static routed r;
    make(&r, 5);
    for (int32_t e = 0; e < EXPERTS; e++)
        for (int32_t c = 0; c < HIDDEN; c++)
            r.weight[e][c] = e == 7 ? 100 : 0;
    for (int32_t c = 0; c < HIDDEN; c++)
        r.in[0][c] = 10;
    route(&r, SLIP_SCORING_SOFTMAX, false, true, 1);
    static const float want[2 * TOP_K] = {0, 1, 2, 7, 0, 0, 0, 1};
    assert_memory_equal(r.out[0], want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules), cmocka_unit_test(test_extremes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
