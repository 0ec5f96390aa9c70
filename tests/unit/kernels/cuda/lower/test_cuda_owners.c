/* Sums of wide steps over ranks: what the owner of a row sends, and which rows are routed here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lowered.h"

/* What owners of rows send: operands alone, in layers where nobody else reads the residual or halves of it; then their rows are routed by them, too. */
static void check_owners(lowered *l, const slip_program *p, bool watched)
{
    int32_t codes = 0;
    slip_cuda_owned owned = {0, 1};
    l->source.watched = watched;
    lower(l);
    for (int32_t i = 0; i < l->list.phase_count[SLIP_PHASE_RUN]; i++) {
        const slip_cuda_op *op = &l->list.ops[l->list.phase_first[SLIP_PHASE_RUN] + i];
        if (op->kind == SLIP_CUDA_REDUCE_NORM) {
            const slip_cuda_reduce_norm *sum = &op->reduce_norm;
            const bool routed = op[1].kind == SLIP_CUDA_LINEAR && op[1].product.counted;
            codes += sum->codes;
            assert_true(!sum->codes || (sum->norm && sum->operand.q8 && sum->tap < 0 && !watched));
            assert_int_equal(sum->codes, !watched && sum->norm && sum->operand.q8 && sum->tap < 0 && (routed || !sum->operand.hi));
            owned = sum->codes ? (slip_cuda_owned){l->source.rank, l->source.ranks} : (slip_cuda_owned){0, 1};
        }
        if (op->kind == SLIP_CUDA_LINEAR && op->product.counted) {
            assert_int_equal(op->product.owned.owner, owned.owner);
            assert_int_equal(op->product.owned.owners, owned.owners);
        }
        if (op->kind == SLIP_CUDA_TOPK) {
            assert_int_equal(op->topk.owned.owner, owned.owner);
            assert_int_equal(op->topk.owned.owners, owned.owners);
            assert_int_equal(op->topk.experts, p->experts);
        }
        if (op->kind == SLIP_CUDA_MOE_GATE_UP || op->kind == SLIP_CUDA_MOE_DOWN)
            assert_int_equal(op->product.all_experts, p->experts);
    }
    assert_int_equal(codes > 0, !watched);
}

static void test_owners(void **state)
{
    (void)state;
    lowered l;
    make(&l, false, SLIP_F8E4M3);
    for (int32_t i = 0; i < l.program.op_count; i++) /* as checkpoints have routers */
        if (l.program.ops[i].kind == SLIP_OP_ROUTE)
            assert_int_equal(slip_cuda_matrix_plan(SLIP_BF16, 1, l.program.tensors[l.program.ops[i].weight[0]].rows, l.model.hidden, 0,
                                                   SLIP_USE_LINEAR, &l.tensors[l.program.ops[i].weight[0]].matrix),
                             SLIP_OK);
    l.source.ranks = 3;
    l.source.rank = 2;
    check_owners(&l, &l.program, false);
    check_owners(&l, &l.program, true);
    unmake(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_owners)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
