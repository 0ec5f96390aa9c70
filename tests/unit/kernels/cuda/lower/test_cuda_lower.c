/* Lowering: every op of a program is computed once and in order, whoever reads a buffer finds it in the form that it needs. No
 * GPU is needed: addresses are only compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/layout/attend_size.h"
#include "kernels/cuda/lower/lower.h"
#include "kernels/cuda/layout/pack.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_model.h"
#include "lowered.h"

static void check_phase(const lowered *l, slip_phase phase)
{
    const slip_cuda_op *ops = l->list.ops + l->list.phase_first[phase];
    int32_t next = l->program.phase_first[phase], end = next + l->program.phase_count[phase];
    for (int32_t i = 0; i < l->list.phase_count[phase]; i++) {
        assert_in_range(ops[i].first, 0, next); /* ROUTE and others are several device ops, never one that skips */
        assert_true(ops[i].last >= ops[i].first && ops[i].last < end);
        next = ops[i].last + 1 > next ? ops[i].last + 1 : next;
    }
    assert_int_equal(next, end);
}

static void test_all_ops(void **state)
{
    (void)state;
    for (int draft = 0; draft < 2; draft++)
        for (int dtype = SLIP_F32; dtype < SLIP_DTYPES; dtype++) {
            lowered l;
            if (dtype == SLIP_MXFP4)
                continue; /* the tiny model's matrices are not all made of whole blocks */
            make(&l, draft, (slip_dtype)dtype);
            check_phase(&l, SLIP_PHASE_RUN);
            assert_int_equal(l.list.phase_count[SLIP_PHASE_INJECT] > 0, draft);
            if (draft)
                check_phase(&l, SLIP_PHASE_INJECT);
            const slip_cuda_op *last = &l.list.ops[l.list.phase_first[SLIP_PHASE_RUN] + l.list.phase_count[SLIP_PHASE_RUN] - 1];
            assert_int_equal(last->kind, draft ? SLIP_CUDA_SAMPLE : SLIP_CUDA_HISTOGRAM); /* nobody filters drafts */
            assert_int_equal(l.list.ops[l.list.sample].kind, SLIP_CUDA_SAMPLE);
            assert_int_equal(l.list.ops[l.list.sample].last, last->last);
            unmake(&l);
        }
}

/* What a step runs that is sampled again: adjusts, then looks, then samples, all on the sums that the step left. */
static void test_again(void **state)
{
    (void)state;
    static const slip_cuda_op_kind kinds[] = {SLIP_CUDA_ADJUST, SLIP_CUDA_LIKELIEST, SLIP_CUDA_LIKELIEST_MERGE, SLIP_CUDA_SAMPLE,
                                              SLIP_CUDA_HISTOGRAM};
    lowered l;
    make(&l, false, SLIP_BF16);
    assert_int_equal(l.list.again_count, sizeof kinds / sizeof *kinds);
    assert_int_equal(l.list.again + l.list.again_count, l.list.count);
    const slip_cuda_partial *logits = &l.list.ops[l.list.sample].sample.in;
    for (int32_t i = 0; i < l.list.again_count; i++) {
        const slip_cuda_op *op = &l.list.ops[l.list.again + i];
        const slip_cuda_partial *in = i < 3 ? &op->resample.in : &op->sample.in;
        assert_true(op->kind == (int32_t)kinds[i] && !op->flows && !op->early);
        assert_true(in->data == logits->data && in->parts == logits->parts && in->stride == logits->stride);
    }
    assert_memory_equal(&l.list.ops[l.list.again + 3].sample, &l.list.ops[l.list.sample].sample, sizeof(slip_cuda_sample));
    unmake(&l);
    make(&l, true, SLIP_BF16); /* nobody samples drafts again */
    assert_int_equal(l.list.again_count, 0);
    unmake(&l);
}

static const slip_cuda_op *op_of(const lowered *l, bool whole, int32_t i)
{
    return l->list.ops + (whole ? l->list.whole_first : l->list.phase_first)[SLIP_PHASE_RUN] + i;
}

/* The bytes behind the last member of a partial belong to nobody: a compiler may leave anything there. */
static void clear_padding(slip_cuda_partial *partial)
{
    size_t end = offsetof(slip_cuda_partial, columns) + sizeof partial->columns;
    memset((unsigned char *)partial + end, 0, sizeof *partial - end);
}

static void assert_same_op(const slip_cuda_op *a, const slip_cuda_op *b)
{
    slip_cuda_op ops[2];
    memcpy(&ops[0], a, sizeof *a);
    memcpy(&ops[1], b, sizeof *b);
    for (int i = 0; i < 2; i++)
        switch (ops[i].kind) {
        case SLIP_CUDA_EMBED: clear_padding(&ops[i].embed.out); break;
        case SLIP_CUDA_GATHER: clear_padding(&ops[i].gather.terms.in), clear_padding(&ops[i].gather.out); break;
        case SLIP_CUDA_REDUCE_NORM: clear_padding(&ops[i].reduce_norm.terms.in); break;
        case SLIP_CUDA_LINEAR:
        case SLIP_CUDA_MOE_GATE_UP:
        case SLIP_CUDA_MOE_DOWN: clear_padding(&ops[i].product.in), clear_padding(&ops[i].product.out); break;
        case SLIP_CUDA_ROPE: clear_padding(&ops[i].rope.in); break;
        case SLIP_CUDA_ATTEND_WINDOW: clear_padding(&ops[i].attend_window.in); break;
        case SLIP_CUDA_SWIGLU: clear_padding(&ops[i].swiglu.in); break;
        case SLIP_CUDA_SAMPLE:
        case SLIP_CUDA_HISTOGRAM: clear_padding(&ops[i].sample.in); break;
        default: break;
        }
    assert_memory_equal(&ops[0], &ops[1], sizeof *ops);
}

/* Both lists of a phase are the same but for the ROPEs of windows, which only the list for any step has. */
static void test_windows(void **state)
{
    (void)state;
    lowered l;
    int32_t at = 0, windows = 0, sliding = 0;
    make(&l, false, SLIP_BF16);
    for (int32_t i = 0; i < l.list.phase_count[SLIP_PHASE_RUN]; i++) {
        const slip_cuda_op *any = op_of(&l, false, i), *whole = op_of(&l, true, at);
        if (any->kind == SLIP_CUDA_ROPE && any[1].kind == SLIP_CUDA_ATTEND_WINDOW)
            continue;
        assert_int_equal(any->kind, whole->kind);
        assert_same_op(any, whole);
        at++;
        if (any->kind != SLIP_CUDA_ATTEND_WINDOW)
            continue;
        windows++;
        assert_int_equal(any[-1].kind, SLIP_CUDA_ROPE);
        assert_int_equal(whole[-1].kind, SLIP_CUDA_LINEAR);
        assert_ptr_equal(any->attend_window.in.data, whole[-1].product.out.data);
        assert_ptr_equal(any->attend_window.angles, any[-1].rope.angles);
    }
    for (int32_t i = 0; i < l.program.cache_count; i++)
        sliding += slip_attend_window_fits(&l.caches[i], l.program.rope[l.program.cache[i].rope].rotary_dim, false);
    assert_int_equal(at, l.list.whole_count[SLIP_PHASE_RUN]);
    assert_true(windows > 0);
    assert_int_equal(windows, sliding);
    unmake(&l);
}

/* Is [p, p + 1) in the block? */
static bool ours(const lowered *l, const void *p)
{
    const unsigned char *byte = p;
    return byte >= l->block.base && byte < l->block.base + l->block.used;
}

/* The operand that a device op writes, or NULL. */
static const slip_cuda_operand *written(const slip_cuda_op *op)
{
    switch (op->kind) {
    case SLIP_CUDA_REDUCE_NORM: return &op->reduce_norm.operand;
    case SLIP_CUDA_SELECT: return &op->select.operand;
    case SLIP_CUDA_QUANTISE: return &op->quantise.operand;
    case SLIP_CUDA_ATTEND: return &op->attend.operand;
    case SLIP_CUDA_ATTEND_WINDOW: return &op->attend_window.operand;
    case SLIP_CUDA_SWIGLU: return &op->swiglu.operand;
    default: return NULL;
    }
}

/* A product's operand is there in the form of its weights, and the last op that wrote that form wrote it for this product. */
static void check_product(const lowered *l, int32_t at)
{
    const slip_cuda_product *op = &l->list.ops[at].product;
    bool bf16 = op->matrix.format == SLIP_WEIGHT_BF16;
    const void *wanted = bf16 ? (const void *)op->operand.hi : op->operand.q8;
    assert_true(ours(l, wanted) && ours(l, op->counted ? (const void *)op->counted : op->out.data));
    assert_true(!op->operand.ssq || ours(l, op->operand.ssq));
    for (int32_t i = at - 1; i >= 0; i--) {
        const slip_cuda_operand *writer = written(&l->list.ops[i]);
        if (!writer || (bf16 ? (const void *)writer->hi : writer->q8) != wanted)
            continue;
        assert_true(!op->operand.ssq == !writer->ssq);
        return;
    }
    fail_msg("op %d (%s) reads an operand that nobody wrote", at, slip_cuda_op_name(l->list.ops[at].kind));
}

static void test_forms(void **state)
{
    (void)state;
    for (int draft = 0; draft < 2; draft++)
        for (int dtype = SLIP_BF16; dtype <= SLIP_F8E4M3; dtype++) {
            lowered l;
            make(&l, draft, (slip_dtype)dtype);
            for (int32_t i = 0; i < l.list.count; i++)
                if (l.list.ops[i].kind == SLIP_CUDA_LINEAR || l.list.ops[i].kind == SLIP_CUDA_MOE_GATE_UP)
                    check_product(&l, i);
            unmake(&l);
        }
}

/* What a device op leaves for the sum behind it. */
static slip_cuda_partial left_by(const slip_cuda_op *op)
{
    return op->kind == SLIP_CUDA_EMBED ? op->embed.out : op->product.out;
}

/* Sums read what the product before them wrote, experts' sums the experts'. */
static void check_terms(const slip_cuda_terms *terms, const slip_cuda_op *before)
{
    assert_ptr_equal(terms->in.data, left_by(before).data);
    assert_int_equal(terms->in.parts, left_by(before).parts);
    assert_int_equal(terms->in.stride, left_by(before).stride);
    assert_int_equal(terms->experts_in, before->kind == SLIP_CUDA_MOE_DOWN);
    if (!terms->experts_in)
        return;
    assert_int_equal(terms->first_expert, before->product.first_expert);
    assert_int_equal(terms->experts, before->product.experts);
    assert_int_equal(terms->top_k, before->product.top_k);
    assert_ptr_equal(terms->picks.weight, before->product.picks.weight);
}

static void test_sums(void **state)
{
    (void)state;
    lowered l;
    make(&l, false, SLIP_BF16);
    for (int32_t i = 1; i < l.list.count; i++) {
        const slip_cuda_op *op = &l.list.ops[i];
        if (op->kind != SLIP_CUDA_REDUCE_NORM)
            continue;
        check_terms(&op->reduce_norm.terms, op - 1);
        assert_int_equal(op->reduce_norm.add, op[-1].kind != SLIP_CUDA_EMBED);
        if (op->reduce_norm.terms.experts_in)
            assert_int_equal(op->reduce_norm.terms.experts, l.model.experts);
    }
    unmake(&l);
}

/* A REDUCE_NORM over ranks reads what all of them left behind the op before, a GATHER, which adds up what this rank's product wrote. */
static void check_gathered(const lowered *l, const slip_cuda_op *op)
{
    const slip_cuda_reduce_norm *sum = &op->reduce_norm;
    const slip_cuda_gather *gather = &op[-1].gather;
    size_t own = (size_t)slip_gathered_rows(l->limits.rows) * (size_t)sum->hidden;
    assert_int_equal(op[-1].kind, SLIP_CUDA_GATHER);
    assert_int_equal(op[-1].first, op->first);
    check_terms(&gather->terms, op - 2);
    assert_int_equal(gather->out.parts, 1);
    assert_int_equal(gather->out.stride, sum->hidden);
    assert_int_equal(gather->out.columns, sum->hidden);
    assert_true(sum->gathered && !sum->terms.experts_in && !sum->exchange && !sum->peers);
    assert_int_equal(sum->terms.in.parts, l->source.ranks);
    assert_int_equal(sum->terms.in.stride, sum->hidden);
    const float *gathered = sum->terms.in.data, *end = gathered + (size_t)l->source.ranks * own;
    assert_true(ours(l, gather->out.data) && ours(l, gather->out.data + own - 1) && ours(l, gathered) && ours(l, end - 1));
    assert_true(gather->out.data + own <= gathered || end <= gather->out.data);
}

/* Sums of several ranks: inside of the kernel, and gathered by the host. */
static void test_ranks(void **state)
{
    (void)state;
    lowered l;
    int32_t reduces = 0, sums[2] = {0}, gathers[2] = {0};
    make(&l, false, SLIP_BF16);
    l.source.ranks = 3;
    for (int32_t i = 0; i < l.program.op_count; i++)
        reduces += l.program.ops[i].kind == SLIP_OP_ALLREDUCE;
    for (int gathered = 0; gathered < 2; gathered++) {
        l.source.gathered = gathered;
        lower(&l);
        check_phase(&l, SLIP_PHASE_RUN);
        for (int32_t i = 0; i < l.list.phase_count[SLIP_PHASE_RUN]; i++) {
            const slip_cuda_op *op = &l.list.ops[l.list.phase_first[SLIP_PHASE_RUN] + i];
            gathers[gathered] += op->kind == SLIP_CUDA_GATHER;
            if (op->kind != SLIP_CUDA_REDUCE_NORM || !op->reduce_norm.x)
                continue;
            sums[gathered]++;
            if (gathered)
                check_gathered(&l, op);
            else
                assert_int_equal(op->reduce_norm.exchange, sums[0]);
        }
        assert_int_equal(sums[gathered], reduces);
        assert_int_equal(gathers[gathered], gathered ? reduces : 0);
        assert_int_equal(l.list.exchanges[SLIP_PHASE_RUN], gathered ? 0 : reduces);
    }
    unmake(&l);
}

/* A cut draft numbers the exchanges of each phase from 1, and reads its columns of the tap ring. */
static void test_draft_share(void **state)
{
    (void)state;
    for (int32_t rank = 0; rank < 2; rank++) {
        lowered l;
        int32_t taps = 0;
        make_share(&l, true, 2, rank, SLIP_BF16);
        for (int phase = 0; phase < SLIP_PHASES; phase++) {
            int32_t reduces = 0, sums = 0;
            check_phase(&l, (slip_phase)phase);
            for (int32_t i = 0; i < l.program.phase_count[phase]; i++)
                reduces += l.program.ops[l.program.phase_first[phase] + i].kind == SLIP_OP_ALLREDUCE;
            for (int32_t i = 0; i < l.list.phase_count[phase]; i++) {
                const slip_cuda_op *op = &l.list.ops[l.list.phase_first[phase] + i];
                if (op->kind == SLIP_CUDA_LINEAR)
                    check_product(&l, l.list.phase_first[phase] + i);
                if (op->kind == SLIP_CUDA_REDUCE_NORM && op->reduce_norm.x)
                    assert_int_equal(op->reduce_norm.exchange, ++sums);
                if (op->kind != SLIP_CUDA_QUANTISE || op->quantise.rows)
                    continue;
                taps++;
                assert_ptr_equal(op->quantise.taps.data, l.taps + l.placement.taps.first);
                assert_int_equal(op->quantise.taps.width, l.source.taps.width);
                assert_int_equal(op->quantise.operand.columns, l.placement.taps.count);
            }
            assert_int_equal(sums, reduces);
            assert_int_equal(l.list.exchanges[phase], reduces);
        }
        assert_int_equal(taps, 1);
        assert_int_equal(l.list.exchanges[SLIP_PHASE_INJECT], 1);
        unmake(&l);
    }
}

static void test_gathered_rows(void **state)
{
    (void)state;
    static const int32_t rows[] = {1, 8, 9, 24, 64, 65, SLIP_MAX_ROWS}, gathered[] = {8, 8, 16, 32, 64, 128, SLIP_MAX_ROWS};
    for (int i = 0; i < 7; i++)
        assert_int_equal(slip_gathered_rows(rows[i]), gathered[i]);
}

static void test_refusals(void **state)
{
    (void)state;
    lowered l;
    make(&l, false, SLIP_BF16);
    slip_cuda_block block = {0};
    slip_cuda_list list;
    l.program.width[SLIP_BUFFER_X] = 66;
    assert_int_equal(slip_cuda_lower(&l.source, &block, &list), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "66"));
    slip_clear();
    l.program.width[SLIP_BUFFER_X] = 64;
    l.caches[1].k_width = 512;
    assert_int_equal(slip_cuda_lower(&l.source, &block, &list), SLIP_ERR_INPUT);
    slip_clear();
    l.caches[1].k_width = 32;
    /* Cut for 132 SMs: with 78, some SM works on three chunks. */
    slip_cuda_matrix *matrix = &l.tensors[l.program.ops[l.program.op_count - 1].weight[0]].matrix;
    assert_int_equal(slip_cuda_matrix_plan(SLIP_BF16, 1, 1024, 131072, 0, SLIP_USE_LINEAR, matrix), SLIP_OK);
    l.source.sms = 78;
    assert_int_equal(slip_cuda_lower(&l.source, &block, &list), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "78 SMs"));
    slip_clear();
    l.source.sms = 132;
    assert_int_equal(slip_cuda_lower(&l.source, &block, &list), SLIP_OK);
    free(list.ops);
    unmake(&l);
}

/* Routers that only CPUs have. */
static void test_routers(void **state)
{
    (void)state;
    lowered l;
    make(&l, false, SLIP_BF16);
    slip_cuda_block block = {0};
    slip_cuda_list list;
    l.program.scoring = SLIP_SCORING_SOFTMAX;
    assert_int_equal(slip_cuda_lower(&l.source, &block, &list), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "softmax"));
    slip_clear();
    l.program.scoring = SLIP_SCORING_SIGMOID;
    for (int32_t i = 0; i < l.program.op_count; i++)
        if (l.program.ops[i].kind == SLIP_OP_ROUTE)
            l.program.ops[i].weight[1] = SLIP_NO_WEIGHT;
    assert_int_equal(slip_cuda_lower(&l.source, &block, &list), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "without a bias"));
    slip_clear();
    unmake(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_ops),     cmocka_unit_test(test_again),
                                       cmocka_unit_test(test_windows),     cmocka_unit_test(test_forms),
                                       cmocka_unit_test(test_sums),        cmocka_unit_test(test_ranks),
                                       cmocka_unit_test(test_draft_share), cmocka_unit_test(test_gathered_rows),
                                       cmocka_unit_test(test_refusals),    cmocka_unit_test(test_routers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
