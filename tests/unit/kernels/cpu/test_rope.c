/* ROPE_STORE and ATTEND of a program of two ops: head norms, rotation of a part of the dimensions, value scale and the window, against the
 * same in double precision. */
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

enum { Q_HEADS = 4, KV_HEADS = 2, D = 24, V = 20, ROTARY = 16, WINDOW = 5, ROWS = 3, STEPS = 4, LENGTH = ROWS * STEPS };
enum { QKV = (Q_HEADS + KV_HEADS) * D + KV_HEADS * V };

static const double THETA = 10000;
static const float EPSILON = 0.3f, VALUE_SCALE = 0.612f;

typedef struct {
    slip_program program;
    slip_op ops[2];
    slip_tensor tensors[2];
    float norm[2][D], in[LENGTH][QKV], out[LENGTH][Q_HEADS * V];
} scene;

static void make_program(scene *s, int32_t window, bool whole_block)
{
    s->ops[0] = (slip_op){.kind = SLIP_OP_ROPE_STORE, .in = SLIP_BUFFER_QKV, .out = SLIP_BUFFER_QKV, .weight = {0, 1}};
    s->ops[1] =
        (slip_op){.kind = SLIP_OP_ATTEND, .in = SLIP_BUFFER_QKV, .out = SLIP_BUFFER_HEADS, .weight = {SLIP_NO_WEIGHT, SLIP_NO_WEIGHT}};
    for (int i = 0; i < 2; i++)
        s->tensors[i] = (slip_tensor){.experts = {-1, 0}, .columns = {0, D}, .rows = 1, .vector = true};
    s->program = (slip_program){.ops = s->ops,
                                .op_count = 2,
                                .phase_count = {2},
                                .tensors = s->tensors,
                                .tensor_count = 2,
                                .rope = {{THETA, ROTARY}},
                                .rope_count = 1,
                                .cache_count = 1};
    s->program.cache[0] = (slip_cache){.q_heads = Q_HEADS,
                                       .kv_heads = KV_HEADS,
                                       .group = Q_HEADS / KV_HEADS,
                                       .head_dim = D,
                                       .v_head_dim = V,
                                       .window = window,
                                       .whole_block = whole_block,
                                       .value_scale = VALUE_SCALE,
                                       .norm_epsilon = EPSILON};
    s->program.width[SLIP_BUFFER_QKV] = QKV;
    s->program.width[SLIP_BUFFER_HEADS] = Q_HEADS * V;
}

/* LENGTH positions in steps of ROWS. */
static void run(scene *s)
{
    static slip_step step;
    slip_limits limits = {.rows = ROWS, .logit_rows = 1, .sequences = 1, .span_rows = ROWS, .context = LENGTH, .kv_tokens = LENGTH};
    slip_executor *executor;
    slip_run_cost cost;
    int32_t tokens[ROWS] = {0};
    assert_int_equal(slip_executor_cpu.create(&s->program, &limits, NULL, NULL, &executor), SLIP_OK);
    for (int32_t i = 0; i < 2; i++) {
        slip_weight weight = {
            .dtype = SLIP_F32, .experts = 1, .rows = 1, .columns = D, .row_bytes = sizeof s->norm[i], .data = (unsigned char *)s->norm[i]};
        assert_int_equal(tiny_weight_load(executor, i, &weight), SLIP_OK);
    }
    for (int32_t first = 0; first < LENGTH; first += ROWS) {
        tiny_step_start(&step);
        tiny_step_add(&step, 0, first, tokens, ROWS, 0);
        for (int32_t i = 0; i < ROWS; i++)
            memcpy(slip_executor_cpu.row(executor, SLIP_BUFFER_QKV, i), s->in[first + i], sizeof s->in[0]);
        assert_int_equal(slip_executor_run(&slip_executor_cpu, executor, SLIP_PHASE_RUN, &step, &cost), SLIP_OK);
        for (int32_t i = 0; i < ROWS; i++)
            memcpy(s->out[first + i], slip_executor_cpu.row(executor, SLIP_BUFFER_HEADS, i), sizeof s->out[0]);
    }
    slip_executor_cpu.destroy(executor);
}

/* A head as a query or a key meets it: normed, the first ROTARY dimensions turned, dimension i with i + ROTARY / 2. */
static void turned(const float *head, const float *norm, int position, double *out)
{
    double squares = 0;
    for (int c = 0; c < D; c++)
        squares += (double)head[c] * head[c];
    for (int c = 0; c < D; c++)
        out[c] = norm[c] * head[c] / sqrt(squares / D + EPSILON);
    for (int c = 0; c < ROTARY / 2; c++) {
        double angle = position * pow(THETA, -2.0 * c / ROTARY), a = out[c], b = out[c + ROTARY / 2];
        out[c] = a * cos(angle) - b * sin(angle);
        out[c + ROTARY / 2] = a * sin(angle) + b * cos(angle);
    }
}

static void check_head(const scene *s, int position, int head, int first, int last)
{
    double q[D], k[D], score[LENGTH], total = 0, want[V] = {0};
    int kv = head / (Q_HEADS / KV_HEADS);
    turned(s->in[position] + head * D, s->norm[0], position, q);
    for (int p = first; p <= last; p++) {
        double dot = 0;
        turned(s->in[p] + (Q_HEADS + kv) * D, s->norm[1], p, k);
        for (int c = 0; c < D; c++)
            dot += q[c] * k[c];
        total += score[p] = exp(dot / sqrt(D));
    }
    for (int p = first; p <= last; p++)
        for (int c = 0; c < V; c++)
            want[c] += score[p] / total * VALUE_SCALE * s->in[p][(Q_HEADS + KV_HEADS) * D + kv * V + c];
    for (int c = 0; c < V; c++)
        assert_true(fabs(s->out[position][head * V + c] - want[c]) < 3e-6);
}

static void make(scene *s, int32_t window, bool whole_block)
{
    make_program(s, window, whole_block);
    for (uint64_t i = 0; i < LENGTH; i++)
        tiny_fill(i, i % 3 ? 2.0f : 0.2f, QKV, s->in[i]); /* small ones are where epsilon counts */
    for (uint64_t i = 0; i < 2; i++)
        tiny_fill(100 + i, 3.0f, D, s->norm[i]);
    run(s);
}

/* A window of W keys counts the query's own; a ring of the window and a step forgets nothing that is seen. */
static void test_window(void **state)
{
    (void)state;
    static scene s;
    for (int32_t window = 0; window <= WINDOW; window += WINDOW) {
        make(&s, window, false);
        for (int position = 0; position < LENGTH; position++)
            for (int head = 0; head < Q_HEADS; head++)
                check_head(&s, position, head, window && position >= window ? position - window + 1 : 0, position);
    }
}

/* The draft's queries see their whole block. */
static void test_whole_block(void **state)
{
    (void)state;
    static scene s;
    make(&s, WINDOW, true);
    for (int position = 0; position < LENGTH; position++)
        for (int head = 0; head < Q_HEADS; head++)
            check_head(&s, position, head, position >= WINDOW ? position - WINDOW + 1 : 0, position / ROWS * ROWS + ROWS - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_window), cmocka_unit_test(test_whole_block)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
