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
#include "ranks/model/sampling/sample.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_checkpoint.h"
#include "tiny_model.h"
#include "tiny_random.h"
#include "tiny_share.h"

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
            assert_memory_equal(cpu->row(s.executor, SLIP_BUFFER_LOGITS, row), alone[order[i]][from[order[i]] + j], sizeof alone[0][0]);
    share_free(&s);
}

/* The widest step of blocks, 64 sequences of 8 rows, against each of its rows in a step of one. */
static void test_widest_step(void **state)
{
    (void)state;
    enum { ROWS = SLIP_MAX_LOGIT_ROWS / SLIP_MAX_SPANS };
    static float wide[SLIP_MAX_LOGIT_ROWS][V];
    static int32_t tokens[SLIP_MAX_SPANS][ROWS];
    slip_limits limits = {SLIP_MAX_LOGIT_ROWS, SLIP_MAX_LOGIT_ROWS, SLIP_MAX_SPANS, ROWS, CONTEXT, SLIP_MAX_SPANS * TINY_EXTENT};
    share s;
    share_make_limits(&s, 80, &limits, 1, 1, 0, NULL);
    tiny_step_start(&step);
    for (int32_t i = 0; i < SLIP_MAX_SPANS; i++) {
        make_tokens(100 + (uint64_t)i, tokens[i], ROWS);
        tiny_step_add(&step, i, 0, tokens[i], ROWS, ROWS);
    }
    run(&s);
    for (int32_t row = 0; row < SLIP_MAX_LOGIT_ROWS; row++)
        memcpy(wide[row], cpu->row(s.executor, SLIP_BUFFER_LOGITS, row), sizeof wide[row]);
    assert_memory_not_equal(wide[0], wide[ROWS], sizeof wide[0]);
    for (int32_t row = 0; row < SLIP_MAX_LOGIT_ROWS; row++) {
        tiny_step_start(&step);
        tiny_step_add(&step, row / ROWS, row % ROWS, &tokens[row / ROWS][row % ROWS], 1, 1);
        run(&s);
        assert_memory_equal(wide[row], cpu->row(s.executor, SLIP_BUFFER_LOGITS, 0), sizeof wide[row]);
    }
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
        cmocka_unit_test(test_chunks),      cmocka_unit_test(test_neighbours),      cmocka_unit_test(test_selected_rows),
        cmocka_unit_test(test_widest_step), cmocka_unit_test(test_rejected_blocks), cmocka_unit_test(test_slot_again),
        cmocka_unit_test(test_ranks),
    };
    return cmocka_run_group_tests(tests, start, tiny_comm_finish);
}
