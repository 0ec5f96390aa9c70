/* What comes out of the executor's runs beside logits: taps, candidates, cost, watched values; and rounded activations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tiny_share.h"

/* The last tap follows the last layer: it is the residual stream before the final norm. */
static void test_taps(void **state)
{
    (void)state;
    share s;
    int32_t tokens[LENGTH];
    make_tokens(8, tokens, LENGTH);
    share_make(&s, 80, LENGTH, 1, 1, 0);
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 0, tokens, LENGTH, 1);
    run(&s);
    for (int32_t i = 0; i < LENGTH; i++) {
        const float *taps = cpu->row(s.executor, SLIP_BUFFER_TAPS, i), *x = cpu->row(s.executor, SLIP_BUFFER_X, i);
        assert_memory_equal(taps + 80, x, 80 * sizeof *x);
        assert_memory_not_equal(taps, x, 80 * sizeof *x);
    }
    share_free(&s);
}

/* The sample after row i of a span is keyed by the position it will stand at. */
static void test_candidates(void **state)
{
    (void)state;
    share s;
    int32_t tokens[LENGTH];
    slip_candidate have[8];
    make_tokens(9, tokens, LENGTH);
    share_make(&s, 64, LENGTH, 3, 1, 1); /* a middle rank: some rows of the vocabulary */
    slip_range rows = s.program.vocabulary;
    assert_true(rows.first > 0 && rows.count < V);
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 0, tokens, 9, 3)->sampling.temperature = 1.3;
    tiny_step_add(&step, 1, 0, tokens, 4, 1);
    step.span[0].sampling.seed = 77;
    run(&s);
    cpu->candidates(s.executor, &step, have);
    for (int32_t i = 0; i < 4; i++) {
        const float *logits = cpu->row(s.executor, SLIP_BUFFER_LOGITS, i);
        slip_candidate want = i < 3 ? slip_sample_best(logits, rows.first, rows.count, &step.span[0].sampling, 7 + i)
                                    : slip_sample_best(logits, rows.first, rows.count, &(slip_sampling){.temperature = 0}, 4);
        assert_true(have[i].token == want.token && have[i].score == want.score);
    }
    share_free(&s);
}

/* Only picked experts are read: one token reads top_k of them a layer. */
static void test_cost(void **state)
{
    (void)state;
    share s;
    int32_t token = 3;
    slip_run_cost cost;
    uint64_t want = 0;
    share_make(&s, 64, 8, 1, 1, 0);
    for (int32_t i = 0; i < s.program.tensor_count; i++) {
        const slip_tensor *tensor = &s.program.tensors[i];
        uint64_t times = tensor->experts.first >= 0 ? (uint64_t)s.model.top_k : i == s.program.ops[0].weight[0] ? 0 : 1;
        if (!tensor->vector)
            want += times * slip_matrix_bytes(&s.executor->weights[i]);
    }
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 0, &token, 1, 1);
    assert_int_equal(slip_executor_run(cpu, s.executor, SLIP_PHASE_RUN, &step, &cost), SLIP_OK);
    assert_int_equal(cost.weight_bytes, want);
    share_free(&s);
}

static void test_cache_bytes(void **state)
{
    (void)state;
    share s;
    slip_limits limits = {.rows = 8, .logit_rows = 8, .sequences = 2, .span_rows = 8, .context = CONTEXT, .kv_tokens = 100};
    share_make(&s, 64, 8, 1, 1, 0);
    uint64_t global = 3 * (32 + 32), sliding = 2 * (32 + 32); /* floats a position: heads of 24 and 32, padded */
    uint64_t want = 2 * 4 * (100 * global + 2 * (TINY_WINDOW + 8) * sliding);
    assert_int_equal(cpu->cache_bytes(&s.program, &limits), want);
    limits.context = 10; /* a ring is never longer than the context */
    assert_int_equal(cpu->cache_bytes(&s.program, &limits), 2 * 4 * (100 * global + 2 * 10 * sliding));
    share_free(&s);
}

/* Every op of the phase in order, a call a row it wrote; the watched values are the buffer's. */
typedef struct {
    const share *s;
    int32_t op, row, calls[SLIP_OP_KINDS];
} watcher;

static void watch(void *context, int32_t op, slip_buffer buffer, int32_t row, const float *values, int64_t count)
{
    watcher *w = context;
    const slip_op *ran = &w->s->program.ops[op];
    assert_int_equal(buffer, ran->out);
    assert_true(op == w->op ? row == w->row + 1 : op > w->op && row == 0);
    assert_true(count > 0 && count <= w->s->program.width[buffer]);
    if (buffer == SLIP_BUFFER_PARTIAL)
        for (int64_t c = 0; c < count; c++)
            assert_true(values[c] == (float)w->s->executor->partial[row * count + c]);
    else
        assert_ptr_equal(values, cpu->row(w->s->executor, buffer, row) + (ran->kind == SLIP_OP_TAP ? ran->column : 0));
    w->op = op;
    w->row = row;
    w->calls[ran->kind]++;
}

static void test_watch(void **state)
{
    (void)state;
    share s;
    int32_t tokens[LENGTH];
    watcher w = {.s = &s, .op = -1};
    make_tokens(11, tokens, LENGTH);
    share_make(&s, 64, LENGTH, 1, 1, 0);
    s.executor->options = (slip_executor_options){.watch = watch, .watch_context = &w};
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 0, tokens, 9, 2);
    run(&s);
    assert_true(w.calls[SLIP_OP_EMBED] == 9 && w.calls[SLIP_OP_SELECT] == 2 && w.calls[SLIP_OP_NORM] == 9 * 8 + 2);
    assert_true(w.calls[SLIP_OP_EXPERTS] == 9 * 3 && w.calls[SLIP_OP_ROUTE] == 9 * 3 && w.calls[SLIP_OP_TAP] == 9 * 2);
    share_free(&s);
}

/* What the first layer computes; it has no experts, so that no pick can turn. */
enum { FIRST_QKV = 3, FIRST_SUM = 12, WIDEST = 320 };

typedef struct {
    float qkv[LENGTH * WIDEST], x[LENGTH * WIDEST];
} first_layer;

static void note(void *context, int32_t op, slip_buffer buffer, int32_t row, const float *values, int64_t count)
{
    first_layer *f = context;
    assert_true(count <= WIDEST);
    if (op == FIRST_QKV)
        memcpy(f->qkv + row * WIDEST, values, (size_t)count * sizeof *values);
    if (op == FIRST_SUM && buffer == SLIP_BUFFER_X)
        memcpy(f->x + row * WIDEST, values, (size_t)count * sizeof *values);
}

static void run_first_layer(int32_t hidden, bool rounded, first_layer *f)
{
    static logits_of unused;
    share s;
    int32_t tokens[LENGTH];
    const slip_executor_options options = {.round_activations = rounded, .watch = note, .watch_context = f};
    make_tokens(12, tokens, LENGTH);
    share_make_with(&s, hidden, LENGTH, 1, 1, 0, &options);
    run_chunks(&s, 0, tokens, LENGTH, unused);
    share_free(&s);
}

static double relative_change(const float *values, const float *from)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < LENGTH * WIDEST; i++) {
        difference += ((double)values[i] - from[i]) * ((double)values[i] - from[i]);
        size += (double)from[i] * from[i];
    }
    return sqrt(difference / size);
}

/* Three bits of mantissa are off by up to 6 %, 2.6 % in the mean square, and so are their products; random heads look at few
 * keys and make more of it. */
static void test_rounded_activations(void **state)
{
    (void)state;
    static first_layer exact, rounded;
    for (int32_t hidden = 64; hidden <= 80; hidden += 16) {
        run_first_layer(hidden, false, &exact);
        run_first_layer(hidden, true, &rounded);
        double qkv = relative_change(rounded.qkv, exact.qkv), x = relative_change(rounded.x, exact.x);
        print_message("hidden %d: rounding changes qkv by %.4f, the first layer's result by %.4f\n", hidden, qkv, x);
        assert_true(qkv > 0.015 && qkv < 0.035);
        assert_true(x > 1e-3 && x < 0.15);
    }
}

/* A rounded run depends on its rows alone, too. */
static void test_rounded_chunks(void **state)
{
    (void)state;
    static logits_of whole, pieces;
    const slip_executor_options options = {.round_activations = true};
    for (int32_t hidden = 64; hidden <= 80; hidden += 16) {
        share s;
        int32_t tokens[LENGTH];
        make_tokens(12, tokens, LENGTH);
        share_make_with(&s, hidden, LENGTH, 1, 1, 0, &options);
        run_chunks(&s, 0, tokens, LENGTH, whole);
        run_chunks(&s, 1, tokens, 7, pieces);
        share_free(&s);
        assert_sane(whole);
        assert_memory_equal(pieces, whole, sizeof whole);
    }
}

static void test_device(void **state)
{
    (void)state;
    share s;
    share_make(&s, 64, 8, 1, 1, 0);
    assert_string_equal(cpu->device(s.executor), "cpu");
    double ceiling = cpu->stream_ceiling(s.executor);
    assert_true(ceiling > 0.01 && ceiling < 1e5);
    assert_true(cpu->fill == NULL);
    share_free(&s);
}

static int start(void **state)
{
    if (tiny_comm_start(state) != 0)
        return -1;
    comm = *state;
    return slip_comm_set_sum_room(comm, 64 * 80) == SLIP_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taps),           cmocka_unit_test(test_candidates), cmocka_unit_test(test_cost),
        cmocka_unit_test(test_cache_bytes),    cmocka_unit_test(test_watch),      cmocka_unit_test(test_rounded_activations),
        cmocka_unit_test(test_rounded_chunks), cmocka_unit_test(test_device),
    };
    return cmocka_run_group_tests(tests, start, tiny_comm_finish);
}
