/* The promises of the executor, bit for bit: chunks, neighbours in the step, rejected blocks, rings and ranks leave no trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/state.h"
#include "ranks/model/sample.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_checkpoint.h"
#include "tiny_model.h"
#include "tiny_random.h"

enum { LENGTH = 40, CONTEXT = 64, SEQUENCES = 3, V = TINY_VOCABULARY, RANKS = 5 };

static const slip_executor_kind *const cpu = &slip_executor_cpu;
static slip_step step;
static slip_comm *comm; /* a world of one: sums over ranks are made by hand */

typedef float logits_of[LENGTH][V]; /* of every position */

/* One rank's share of the tiny model. */
typedef struct {
    slip_model model;
    slip_placement placement;
    slip_program program;
    slip_executor *executor;
} share;

/* `span_rows`: what a ring holds beside its window. */
static void share_make_with(share *s, int32_t hidden, int32_t span_rows, int32_t ranks, int32_t slices, int32_t rank,
                            const slip_executor_options *options)
{
    slip_limits limits = {.rows = 64, .logit_rows = 64, .sequences = SEQUENCES, .span_rows = span_rows, .context = CONTEXT};
    tiny_model_shape(hidden, &s->model);
    assert_int_equal(slip_placement_make(&s->model, ranks, slices, rank, &s->placement), SLIP_OK);
    assert_int_equal(slip_program_target(&s->model, &s->placement, &s->program), SLIP_OK);
    s->executor = tiny_model_executor(&s->program, &limits, comm, options);
}

static void share_make(share *s, int32_t hidden, int32_t span_rows, int32_t ranks, int32_t slices, int32_t rank)
{
    share_make_with(s, hidden, span_rows, ranks, slices, rank, NULL);
}

static void share_free(share *s)
{
    cpu->destroy(s->executor);
    slip_program_free(&s->program);
}

static void make_tokens(uint64_t key, int32_t *tokens, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        tokens[i] = (int32_t)tiny_below(key, (uint64_t)i, V);
}

static void run(share *s)
{
    slip_run_cost cost;
    assert_int_equal(slip_executor_run(cpu, s->executor, SLIP_PHASE_RUN, &step, &cost), SLIP_OK);
}

/* tokens[position .. position + count) of a sequence in one step; their logits go to their places. */
static void run_span(share *s, int32_t sequence, int32_t position, const int32_t *tokens, int32_t count, logits_of logits)
{
    tiny_step_start(&step);
    tiny_step_add(&step, sequence, position, tokens + position, count, count);
    run(s);
    for (int32_t i = 0; i < count; i++)
        memcpy(logits[position + i], cpu->row(s->executor, SLIP_BUFFER_LOGITS, i), sizeof logits[0]);
}

static void run_chunks(share *s, int32_t sequence, const int32_t *tokens, int32_t chunk, logits_of logits)
{
    for (int32_t at = 0; at < LENGTH; at += chunk)
        run_span(s, sequence, at, tokens, LENGTH - at < chunk ? LENGTH - at : chunk, logits);
}

static void assert_sane(const logits_of logits)
{
    float least = logits[0][0], most = least;
    for (int32_t i = 0; i < LENGTH; i++)
        for (int32_t v = 0; v < V; v++) {
            assert_true(logits[i][v] > -100 && logits[i][v] < 100);
            least = logits[i][v] < least ? logits[i][v] : least;
            most = logits[i][v] > most ? logits[i][v] : most;
        }
    assert_true(most - least > 1); /* not all alike: there is something to compare */
}

/* Chunks of one prompt, in rings with room for all positions and in rings that wrap. */
static void test_chunks(void **state)
{
    (void)state;
    static logits_of whole, pieces;
    static const int32_t chunks[] = {1, 3, 7, 8, 40};
    for (int32_t hidden = 64; hidden <= 80; hidden += 16) {
        share s;
        int32_t tokens[LENGTH];
        make_tokens(1, tokens, LENGTH);
        share_make(&s, hidden, LENGTH, 1, 1, 0);
        run_chunks(&s, 0, tokens, LENGTH, whole);
        assert_sane(whole);
        share_free(&s);
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            share_make(&s, hidden, chunks[i], 1, 1, 0); /* slots: the window and one chunk, no more */
            run_chunks(&s, 1, tokens, chunks[i], pieces);
            assert_memory_equal(pieces, whole, sizeof whole);
            share_free(&s);
        }
    }
}

/* Three sequences of different lengths and positions in one step, rows and slots out of order. */
static void test_neighbours(void **state)
{
    (void)state;
    static logits_of alone[SEQUENCES], together;
    static const int32_t order[] = {2, 0, 1}, from[] = {9, 17, 0}, count[] = {8, 1, 13};
    share s;
    int32_t tokens[SEQUENCES][LENGTH];
    share_make(&s, 80, 13, 1, 1, 0);
    for (int32_t q = 0; q < SEQUENCES; q++) {
        make_tokens(10 + (uint64_t)q, tokens[q], LENGTH);
        for (int32_t at = 0; at < from[q]; at++)
            run_span(&s, q, at, tokens[q], 1, together);
        run_span(&s, q, from[q], tokens[q], count[q], alone[q]);
    }
    tiny_step_start(&step);
    for (int32_t i = 0; i < SEQUENCES; i++)
        tiny_step_add(&step, order[i], from[order[i]], tokens[order[i]] + from[order[i]], count[order[i]], count[order[i]]);
    run(&s);
    for (int32_t i = 0, row = 0; i < SEQUENCES; i++)
        for (int32_t j = 0; j < count[order[i]]; j++, row++)
            assert_memory_equal(cpu->row(s.executor, SLIP_BUFFER_LOGITS, row), alone[order[i]][from[order[i]] + j],
                                sizeof alone[0][0]);
    share_free(&s);
}

/* Only the last rows of some spans want logits, and one wants none. */
static void test_selected_rows(void **state)
{
    (void)state;
    static logits_of all;
    share s;
    int32_t tokens[LENGTH];
    make_tokens(3, tokens, LENGTH);
    share_make(&s, 64, LENGTH, 1, 1, 0);
    run_chunks(&s, 0, tokens, LENGTH, all);
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 0, tokens, 10, 2);
    tiny_step_add(&step, 1, 0, tokens, 12, 0);
    tiny_step_add(&step, 2, 0, tokens, 5, 5);
    run(&s);
    assert_int_equal(step.logit_rows, 7);
    for (int32_t i = 0; i < 7; i++)
        assert_memory_equal(cpu->row(s.executor, SLIP_BUFFER_LOGITS, i), all[i < 2 ? 8 + i : i - 2], sizeof all[0]);
    share_free(&s);
}

/* Blocks of 8 that are wrong from some row on, then the right tokens at the same positions. */
static void test_rejected_blocks(void **state)
{
    (void)state;
    static logits_of clean, marked, waste;
    share s;
    int32_t tokens[LENGTH + 8] = {0};
    make_tokens(4, tokens, LENGTH);
    share_make(&s, 80, 8, 1, 1, 0);
    run_chunks(&s, 0, tokens, 8, clean);
    for (int32_t at = 0, accepted = 0; at < LENGTH - 8; at += accepted + 1, accepted = (accepted + 3) % 8) {
        int32_t wrong[LENGTH];
        memcpy(wrong, tokens, sizeof wrong);
        for (int32_t i = at + accepted + 1; i < at + 8; i++)
            wrong[i] = (wrong[i] + 1) % V;
        run_span(&s, 1, at, wrong, 8, waste);
        for (int32_t i = at; i <= at + accepted; i++)
            memcpy(marked[i], waste[i], sizeof marked[0]);
        assert_memory_equal(marked, clean, (size_t)(at + accepted + 1) * sizeof marked[0]);
        if (accepted < 7) /* the block was wrong enough to matter */
            assert_memory_not_equal(waste[at + 7], clean[at + 7], sizeof waste[0]);
    }
    share_free(&s);
}

/* A slot that is used again forgets its former sequence. */
static void test_slot_again(void **state)
{
    (void)state;
    static logits_of first, again, other;
    share s;
    int32_t tokens[2][LENGTH];
    make_tokens(5, tokens[0], LENGTH);
    make_tokens(6, tokens[1], LENGTH);
    share_make(&s, 64, 8, 1, 1, 0);
    run_chunks(&s, 0, tokens[0], 8, first);
    run_chunks(&s, 0, tokens[1], 8, other);
    run_chunks(&s, 0, tokens[0], 5, again);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
    share_free(&s);
}

/* ---- several ranks, op by op, summing the partials by hand in rank order ---- */

static void sum_partials(share *shares, int32_t ranks)
{
    size_t count = (size_t)step.row_count * (size_t)shares[0].model.hidden;
    for (size_t i = 0; i < count; i++) {
        double sum = shares[0].executor->partial[i];
        for (int32_t rank = 1; rank < ranks; rank++)
            sum += shares[rank].executor->partial[i];
        for (int32_t rank = 0; rank < ranks; rank++)
            shares[rank].executor->partial[i] = sum;
    }
}

static void run_ranks(share *shares, int32_t ranks)
{
    int32_t ops = shares[0].program.op_count;
    for (int32_t i = 0; i < ops; i++) {
        assert_int_equal(shares[ranks - 1].program.ops[i].kind, shares[0].program.ops[i].kind);
        if (shares[0].program.ops[i].kind == SLIP_OP_ALLREDUCE)
            sum_partials(shares, ranks);
        for (int32_t rank = 0; rank < ranks; rank++) {
            shares[rank].program.phase_first[SLIP_PHASE_RUN] = i;
            shares[rank].program.phase_count[SLIP_PHASE_RUN] = 1;
            run(&shares[rank]);
        }
    }
}

static void check_ranks(int32_t hidden, int32_t ranks, int32_t slices, const int32_t *tokens, const logits_of whole)
{
    share shares[RANKS];
    for (int32_t rank = 0; rank < ranks; rank++)
        share_make(&shares[rank], hidden, 16, ranks, slices, rank);
    for (int32_t at = 0; at < LENGTH; at += 16) {
        int32_t count = LENGTH - at < 16 ? LENGTH - at : 16;
        tiny_step_start(&step);
        tiny_step_add(&step, 2, at, tokens + at, count, count);
        run_ranks(shares, ranks);
        for (int32_t rank = 0; rank < ranks; rank++) {
            slip_range rows = shares[rank].placement.vocabulary;
            for (int32_t i = 0; i < count; i++)
                assert_memory_equal(cpu->row(shares[rank].executor, SLIP_BUFFER_LOGITS, i), whole[at + i] + rows.first,
                                    (size_t)rows.count * sizeof(float));
        }
    }
    for (int32_t rank = 0; rank < ranks; rank++)
        share_free(&shares[rank]);
}

static void test_ranks(void **state)
{
    (void)state;
    static logits_of whole;
    for (int32_t hidden = 64; hidden <= 80; hidden += 16) {
        share s;
        int32_t tokens[LENGTH];
        make_tokens(7, tokens, LENGTH);
        share_make(&s, hidden, LENGTH, 1, 1, 0);
        run_chunks(&s, 0, tokens, LENGTH, whole);
        for (int32_t ranks = 1; ranks <= RANKS; ranks++)
            for (int32_t slices = 1; slices <= ranks; slices++)
                if (slip_placement_allows(&s.model, ranks, slices))
                    check_ranks(hidden, ranks, slices, tokens, whole);
        share_free(&s);
    }
}

/* ---- what else comes out of a run ---- */

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

/* Of the experts only those that were picked are read: one token reads top_k of them a layer. */
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
    slip_limits limits = {.rows = 8, .logit_rows = 8, .sequences = 2, .span_rows = 8, .context = CONTEXT};
    share_make(&s, 64, 8, 1, 1, 0);
    uint64_t global = 3 * (32 + 32), sliding = 2 * (32 + 32); /* floats a position: heads of 24 and 32, padded */
    uint64_t want = 2 * 4 * (2 * CONTEXT * global + 2 * (TINY_WINDOW + 8) * sliding);
    assert_int_equal(cpu->cache_bytes(&s.program, &limits), want);
    limits.context = 10; /* a ring is never longer than the context */
    assert_int_equal(cpu->cache_bytes(&s.program, &limits), 2 * 4 * (2 * 10 * global + 2 * 10 * sliding));
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
        cmocka_unit_test(test_chunks),          cmocka_unit_test(test_neighbours), cmocka_unit_test(test_selected_rows),
        cmocka_unit_test(test_rejected_blocks), cmocka_unit_test(test_slot_again), cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_taps),            cmocka_unit_test(test_candidates), cmocka_unit_test(test_cost),
        cmocka_unit_test(test_cache_bytes),     cmocka_unit_test(test_watch),      cmocka_unit_test(test_rounded_activations),
        cmocka_unit_test(test_rounded_chunks),  cmocka_unit_test(test_device),
    };
    return cmocka_run_group_tests(tests, start, tiny_comm_finish);
}
