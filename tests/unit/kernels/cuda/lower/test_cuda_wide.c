/* What wide steps need of the host: ops that read and write whole sums, and room for slots. No GPU is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/layout/slots.h"
#include "lowered.h"

/* The sums of a product that an op reads; NULL: none. Written out apart from slip_cuda_whole(). */
static const slip_cuda_partial *read_by(const slip_cuda_op *op)
{
    switch ((slip_cuda_op_kind)op->kind) {
    case SLIP_CUDA_GATHER: return &op->gather.terms.in;
    case SLIP_CUDA_REDUCE_NORM: return op->reduce_norm.gathered ? NULL : &op->reduce_norm.terms.in;
    case SLIP_CUDA_ROPE: return &op->rope.in;
    case SLIP_CUDA_ATTEND_WINDOW: return &op->attend_window.in;
    case SLIP_CUDA_SWIGLU: return &op->swiglu.in;
    case SLIP_CUDA_MOE_DOWN: return &op->product.in;
    case SLIP_CUDA_SAMPLE:
    case SLIP_CUDA_HISTOGRAM: return &op->sample.in;
    case SLIP_CUDA_ADJUST:
    case SLIP_CUDA_LIKELIEST:
    case SLIP_CUDA_LIKELIEST_MERGE: return &op->resample.in;
    default: return NULL;
    }
}

static bool writes_parts(const slip_cuda_op *op)
{
    return op->kind == SLIP_CUDA_MOE_GATE_UP || op->kind == SLIP_CUDA_MOE_DOWN || (op->kind == SLIP_CUDA_LINEAR && !op->product.counted);
}

/* All that is written as one part is read as one, from the same place; nothing else changes. */
static void check_whole(const lowered *l)
{
    int32_t readers = 0;
    for (int32_t i = 0; i < l->list.count; i++) {
        const slip_cuda_op *op = &l->list.ops[i], whole = slip_cuda_whole(*op);
        assert_int_equal(whole.kind, op->kind);
        if (read_by(op)) {
            readers++;
            assert_int_equal(read_by(&whole)->parts, 1);
            assert_ptr_equal(read_by(&whole)->data, read_by(op)->data);
            assert_int_equal(read_by(&whole)->stride, read_by(op)->stride);
        }
        if (writes_parts(op)) {
            assert_int_equal(whole.product.out.parts, 1);
            assert_int_equal(whole.product.matrix.chunks, op->product.matrix.chunks);
        } else if (!read_by(op)) {
            assert_memory_equal(&whole, op, sizeof whole);
        }
    }
    assert_true(readers > 0);
}

static void test_whole(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        lowered l;
        make(&l, i % 2, i < 2 ? SLIP_BF16 : SLIP_F8E4M3);
        check_whole(&l);
        unmake(&l);
    }
}

/* What ranks have gathered keeps its parts, a rank each; what a rank gathers has one. */
static void test_gathered(void **state)
{
    (void)state;
    lowered l;
    int32_t gathered = 0;
    make(&l, false, SLIP_BF16);
    l.source.ranks = 3;
    l.source.gathered = true;
    lower(&l);
    for (int32_t i = 0; i < l.list.count; i++) {
        slip_cuda_op whole = slip_cuda_whole(l.list.ops[i]);
        if (whole.kind == SLIP_CUDA_REDUCE_NORM && whole.reduce_norm.gathered) {
            gathered++;
            assert_int_equal(whole.reduce_norm.terms.in.parts, 3);
        }
    }
    assert_true(gathered > 0);
    check_whole(&l);
    unmake(&l);
}

/* Groups of a step's picks, as wide/slots.cuh lays them out. */
static int32_t groups_of(const int32_t *picks, int32_t experts)
{
    int32_t groups = 0;
    for (int32_t e = 0; e < experts; e++)
        groups += slip_groups_of(picks[e]);
    return groups;
}

static void test_room(void **state)
{
    (void)state;
    enum { EXPERTS = 5 };
    srand(1);
    for (int32_t picks = 0; picks <= 70; picks++) {
        int32_t most = 0;
        for (int round = 0; round < 2000; round++) {
            int32_t each[EXPERTS] = {0}, favoured = 1 + rand() % EXPERTS;
            for (int32_t i = 0; i < picks; i++)
                each[round == 0 ? (i < EXPERTS ? i : 0) : rand() % favoured]++;
            int32_t groups = groups_of(each, EXPERTS);
            most = groups > most ? groups : most;
        }
        assert_true(most <= slip_slot_groups(picks, EXPERTS));
        assert_true(slip_slot_groups(picks, EXPERTS) <= most + 1); /* and it is no waste */
    }
}

/* Which kernel takes a step's experts: the one for many rows where they have more than twelve each, never in a step of parts. */
static void test_many(void **state)
{
    (void)state;
    assert_false(slip_slots_are_many(SLIP_CUDA_WHOLE_ABOVE, 8, 1));
    assert_true(slip_slots_are_many(SLIP_CUDA_WHOLE_ABOVE + 1, 8, 1));
    assert_false(slip_slots_are_many(768, 8, 256));
    assert_true(slip_slots_are_many(769, 8, 256));
    assert_false(slip_slots_are_many(1152, 8, 384));
}

/* Both products of an op find room for all slots of the largest step: memory of the block, which lies within it. */
static void test_slots(void **state)
{
    (void)state;
    lowered l;
    int32_t found = 0;
    make(&l, false, SLIP_F8E4M3);
    for (int32_t i = 0; i < l.list.count; i++) {
        const slip_cuda_op *op = &l.list.ops[i];
        if (op->kind != SLIP_CUDA_MOE_GATE_UP)
            continue;
        const slip_cuda_slots *slots = &op->product.slots;
        const unsigned char *end = l.block.base + l.block.used;
        int32_t groups = slip_slot_groups(slip_pick_of(24, op->product.top_k, 0), op->product.experts);
        found++;
        assert_memory_equal(slots, &op[1].product.slots, sizeof *slots);
        assert_true((unsigned char *)(slots->pick + groups * SLIP_TOKENS) <= end && (unsigned char *)(slots->block + groups) <= end);
        assert_true(slots->up.q8 + slip_operand_cells(slots->up.padded, groups) <= end);
        assert_true(slots->down.q8 + slip_operand_cells(slots->down.padded, groups) <= end);
        assert_int_equal(slots->up.padded, op->product.operand.padded); /* rows are copied as they are */
        assert_true(slots->down.padded >= op[1].product.matrix.plane_tiles * slip_tile_columns(op[1].product.matrix.format));
        assert_null(slots->up.hi);
    }
    assert_true(found > 0);
    unmake(&l);
}

/* Do products other than experts' read the codes that op `at`, a REDUCE_NORM, writes? All that do read them as they were written. */
static bool others_read(const lowered *l, int32_t at)
{
    const slip_cuda_reduce_norm *sum = &l->list.ops[at].reduce_norm;
    bool others = false;
    for (int32_t i = at + 1; i < l->list.count; i++) {
        const slip_cuda_op *op = &l->list.ops[i];
        if (op->kind == SLIP_CUDA_REDUCE_NORM && op->reduce_norm.norm)
            break;
        if (op->kind == SLIP_CUDA_MOE_GATE_UP)
            assert_int_equal(op->product.by_row, sum->by_row);
        others |= op->kind == SLIP_CUDA_LINEAR && op->product.operand.q8 == sum->operand.q8 &&
                  op->product.matrix.format != SLIP_WEIGHT_BF16;
    }
    return others;
}

/* Returns how many ops write codes by row. What looks at operands from outside looks at their halves then. */
static int32_t check_by_row(lowered *l, int32_t hidden)
{
    int32_t by_row = 0;
    l->program.width[SLIP_BUFFER_X] = l->program.width[SLIP_BUFFER_H] = hidden;
    lower(l);
    for (int32_t i = 0; i < l->list.count; i++) {
        const slip_cuda_reduce_norm *sum = &l->list.ops[i].reduce_norm;
        if (l->list.ops[i].kind != SLIP_CUDA_REDUCE_NORM || !sum->norm)
            continue;
        const bool others = others_read(l, i), padding = (hidden + 127) / 128 % 2 != 0;
        assert_int_equal(sum->by_row, sum->operand.q8 && !others && !padding);
        assert_true(!sum->by_row || (sum->operand.hi && sum->operand.lo));
        by_row += sum->by_row;
    }
    return by_row;
}

/* Codes lie by row where experts alone read them, and where they have no padding. */
static void test_by_row(void **state)
{
    (void)state;
    lowered l;
    make(&l, false, SLIP_F8E4M3);
    assert_int_equal(check_by_row(&l, 256), 0); /* its routers read codes, too */
    for (int32_t i = 0; i < l.program.op_count; i++)
        if (l.program.ops[i].kind == SLIP_OP_ROUTE)
            l.tensors[l.program.ops[i].weight[0]].matrix.format = SLIP_WEIGHT_BF16;
    assert_int_equal(check_by_row(&l, 64), 0);
    assert_int_equal(check_by_row(&l, 384), 0);
    assert_int_equal(check_by_row(&l, 132), 2 * 3); /* layers with experts, in both lists of ops */
    assert_int_equal(check_by_row(&l, 256), 2 * 3);
    unmake(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_gathered), cmocka_unit_test(test_room),
                                       cmocka_unit_test(test_many),  cmocka_unit_test(test_slots),    cmocka_unit_test(test_by_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
