/* Programs are well formed, and their weights' rows and columns add up: for every rank's share, and for the fused qkv. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/build.h"
#include "ranks/model/family.h"
#include "tiny_model.h"
#include "program_checks.h"

/* ---- what any program must be ---- */

static void check_tensor(const slip_program *program, const slip_tensor *tensor, int32_t *next_part)
{
    int64_t rows = 0;
    assert_true((tensor->parts >= 1 || tensor->rows == 0) && tensor->first_part == *next_part); /* a rank without heads */
    *next_part += tensor->parts;
    assert_true(*next_part <= program->part_count);
    for (int32_t p = 0; p < tensor->parts; p++) {
        const slip_part *part = &program->parts[tensor->first_part + p];
        assert_true(part->rows.first >= 0 && part->rows.count >= 0);
        assert_true(strlen(part->weight.name) > 0 && strlen(part->weight.name) < SLIP_WEIGHT_NAME - 1);
        rows += part->rows.count;
    }
    assert_int_equal(tensor->rows, rows);
    assert_true(tensor->columns.first >= 0 && tensor->columns.count >= 0);
    assert_true(!tensor->vector || (tensor->rows == 1 && tensor->experts.first < 0));
}

/* Rows and columns of a LINEAR's weight fit the buffers that it reads and writes. */
static void check_op(const slip_program *program, const slip_op *op, bool *used)
{
    for (int w = 0; w < SLIP_OP_WEIGHTS; w++)
        if (op->weight[w] != SLIP_NO_WEIGHT) {
            assert_in_range(op->weight[w], 0, program->tensor_count - 1);
            used[op->weight[w]] = true;
        }
    assert_true(op->kind < SLIP_OP_KINDS && strcmp(slip_op_name(op->kind), "?") != 0);
    assert_true(op->layer >= -1 && op->layer < program->cache_count);
    if (op->kind != SLIP_OP_LINEAR)
        return;
    const slip_tensor *weight = &program->tensors[op->weight[0]];
    assert_false(weight->vector);
    assert_true(weight->columns.count <= program->width[op->in] && weight->rows <= program->width[op->out]);
    if (op->out == SLIP_BUFFER_PARTIAL)
        assert_int_equal(weight->rows, program->width[SLIP_BUFFER_X]);
}

static void check_form(const slip_model *model, const slip_placement *placement, const slip_program *program)
{
    (void)placement;
    bool *used = calloc((size_t)program->tensor_count, sizeof *used);
    int32_t next_part = 0;
    assert_true(program->op_count <= program->op_room && program->tensor_count <= program->tensor_room);
    for (int32_t i = 0; i < program->tensor_count; i++)
        check_tensor(program, &program->tensors[i], &next_part);
    assert_int_equal(next_part, program->part_count);
    for (int32_t i = 0; i < program->op_count; i++)
        check_op(program, &program->ops[i], used);
    for (int32_t i = 0; i < program->tensor_count; i++)
        assert_true(used[i]);
    assert_true(program->width[SLIP_BUFFER_X] == model->hidden && program->width[SLIP_BUFFER_H] == model->hidden);
    assert_true(program->width[SLIP_BUFFER_PARTIAL] == model->hidden && program->width[SLIP_BUFFER_SELECT] == model->hidden);
    assert_int_equal(program->width[SLIP_BUFFER_LOGITS], program->vocabulary.count);
    free(used);
}

static void test_targets_are_well_formed(void **state)
{
    (void)state;
    for_each_target(check_form);
}

static void test_drafts_are_well_formed(void **state)
{
    (void)state;
    for_each_draft(check_form);
}

/* ---- the target's order ---- */

static void check_layer(const slip_model *model, const slip_placement *placement, const slip_program *program, int32_t layer)
{
    const slip_attention *attention = slip_model_attention(model, layer);
    const slip_cache *cache = &program->cache[layer];
    int64_t q = placement->q_heads[model->is_sliding[layer]].count, kv = placement->kv_heads[model->is_sliding[layer]].count;
    int count[SLIP_OP_KINDS] = {0}, taps = 0;
    for (int32_t i = 0; i < program->op_count; i++) {
        const slip_op *op = &program->ops[i];
        if (op->layer != layer)
            continue;
        count[op->kind]++;
        if (op->kind == SLIP_OP_LINEAR && op->out == SLIP_BUFFER_QKV)
            assert_int_equal(program->tensors[op->weight[0]].rows,
                             q * attention->head_dim + kv * (attention->head_dim + attention->v_head_dim));
        if (op->kind == SLIP_OP_LINEAR && op->in == SLIP_BUFFER_HEADS)
            assert_int_equal(program->tensors[op->weight[0]].columns.count, q * attention->v_head_dim);
        if (op->kind == SLIP_OP_ATTEND)
            assert_true((op->weight[0] != SLIP_NO_WEIGHT) == attention->sinks);
        assert_true(op->kind != SLIP_OP_ALLREDUCE || op->add);
    }
    for (int32_t i = 0; i < model->draft.taps; i++)
        taps += model->has_draft && model->draft.tap_layer[i] == layer;
    bool moe = model->is_moe[layer];
    assert_true(count[SLIP_OP_ALLREDUCE] == 2 && count[SLIP_OP_NORM] == 2 && count[SLIP_OP_ATTEND] == 1);
    assert_true(count[SLIP_OP_ROPE_STORE] == 1 && count[SLIP_OP_LINEAR] == (moe ? 2 : 4) && count[SLIP_OP_TAP] == taps);
    assert_true(count[SLIP_OP_ROUTE] == moe && count[SLIP_OP_EXPERTS] == moe && count[SLIP_OP_SWIGLU] == !moe);
    assert_true(cache->q_heads == q && cache->kv_heads == kv && cache->window == attention->window && !cache->whole_block);
    assert_true(program->rope[cache->rope].theta == attention->rope_theta);
    for (int32_t h = 0; h < q; h++) { /* every query head finds its K/V head here */
        int32_t local = (cache->first_q + h) / cache->group - cache->first_kv;
        assert_true(local >= 0 && local < kv);
    }
}

static void check_order(const slip_model *model, const slip_placement *placement, const slip_program *program)
{
    int32_t layer = -1, sums = 0, last = program->op_count - 1;
    assert_true(program->ops[0].kind == SLIP_OP_EMBED && program->ops[1].kind == SLIP_OP_ALLREDUCE && !program->ops[1].add);
    assert_true(program->ops[last].kind == SLIP_OP_LINEAR && program->ops[last].out == SLIP_BUFFER_LOGITS);
    assert_true(program->ops[last].logit_rows && program->ops[last - 1].logit_rows && program->ops[last - 2].kind == SLIP_OP_SELECT);
    for (int32_t i = 0; i < program->op_count; i++) {
        sums += program->ops[i].kind == SLIP_OP_ALLREDUCE;
        if (i < 2 || i > last - 3) {
            assert_int_equal(program->ops[i].layer, -1);
            continue;
        }
        assert_true(program->ops[i].layer == layer || program->ops[i].layer == layer + 1);
        layer = program->ops[i].layer;
    }
    assert_int_equal(layer, model->layers - 1);
    assert_int_equal(sums, 2 * model->layers + 1);
    assert_int_equal(program->cache_count, model->layers);
    assert_true(program->phase_first[SLIP_PHASE_RUN] == 0 && program->phase_count[SLIP_PHASE_RUN] == program->op_count);
    assert_int_equal(program->phase_count[SLIP_PHASE_INJECT], 0);
    for (int32_t i = 0; i < model->layers; i++)
        check_layer(model, placement, program, i);
}

static void test_targets_are_in_order(void **state)
{
    (void)state;
    for_each_target(check_order);
}

/* Taps of ascending layers lie side by side, `hidden` columns each. */
static void check_taps(const slip_model *model, const slip_placement *placement, const slip_program *program)
{
    (void)placement;
    int32_t tap = 0;
    for (int32_t i = 0; i < program->op_count; i++)
        if (program->ops[i].kind == SLIP_OP_TAP) {
            assert_int_equal(program->ops[i].layer, model->draft.tap_layer[tap]);
            assert_int_equal(program->ops[i].column, tap++ * model->hidden);
            assert_true(i + 1 == program->op_count || program->ops[i + 1].layer != program->ops[i].layer); /* after the layer */
        }
    assert_int_equal(tap, model->draft.taps);
    assert_int_equal(program->width[SLIP_BUFFER_TAPS], (int64_t)tap * model->hidden);
}

static void test_taps(void **state)
{
    (void)state;
    for_each_target(check_taps);
}

/* ---- the draft's phases ---- */

static void check_phases(const slip_model *model, const slip_placement *placement, const slip_program *program)
{
    int32_t inject = program->phase_count[SLIP_PHASE_INJECT], stores = 0, mask = model->draft.mask_token;
    bool masks_here = mask >= placement->vocabulary.first && mask < placement->vocabulary.first + placement->vocabulary.count;
    assert_true(program->phase_first[SLIP_PHASE_INJECT] == 0 && program->phase_first[SLIP_PHASE_RUN] == inject);
    assert_int_equal(inject + program->phase_count[SLIP_PHASE_RUN], program->op_count);
    for (int32_t i = 0; i < inject; i++) { /* context rows: fc, hidden_norm, then K and V of every layer, nothing else */
        const slip_op *op = &program->ops[i];
        assert_true(op->kind == SLIP_OP_LINEAR || op->kind == SLIP_OP_NORM || op->kind == SLIP_OP_ROPE_STORE ||
                    (i == 1 && op->kind == SLIP_OP_ALLREDUCE && !op->add && placement->ranks > 1));
        if (op->kind == SLIP_OP_ROPE_STORE)
            assert_int_equal(op->layer, stores++);
    }
    assert_int_equal(stores, model->draft.layers);
    for (int32_t i = inject; i < program->op_count; i++) /* the same Wk, Wv and k_norm for the block's rows */
        for (int32_t j = 0; j < inject && program->ops[i].kind == SLIP_OP_ROPE_STORE; j++)
            if (program->ops[j].kind == SLIP_OP_ROPE_STORE && program->ops[j].layer == program->ops[i].layer) {
                assert_memory_equal(program->ops[j].weight, program->ops[i].weight, sizeof program->ops[i].weight);
                assert_int_equal(program->ops[j - 1].weight[0], program->ops[i - 1].weight[0]);
            }
    assert_int_equal(program->cache_count, model->draft.layers);
    assert_true(program->cache[0].whole_block && program->cache[0].window == model->draft.attention.window);
    assert_int_equal(program->mask_token, model->draft.mask_token);
    assert_true(program->ops[inject].kind == SLIP_OP_EMBED && (program->ops[inject].weight[1] != SLIP_NO_WEIGHT) == masks_here);
}

static void test_draft_phases(void **state)
{
    (void)state;
    for_each_draft(check_phases);
}

/* A cut draft's shares: each adds its columns of the taps and its layers up, and one of them has the mask embedding. */
static int32_t masks;

static void check_share(const slip_model *model, const slip_placement *placement, const slip_program *program)
{
    int32_t sums[SLIP_PHASES] = {0};
    for (int phase = 0; phase < SLIP_PHASES; phase++)
        for (int32_t i = 0; i < program->phase_count[phase]; i++) {
            const slip_op *op = &program->ops[program->phase_first[phase] + i];
            sums[phase] += op->kind == SLIP_OP_ALLREDUCE;
            masks += op->kind == SLIP_OP_EMBED && op->weight[1] != SLIP_NO_WEIGHT;
        }
    assert_int_equal(sums[SLIP_PHASE_INJECT], placement->ranks > 1);
    assert_int_equal(sums[SLIP_PHASE_RUN], 2 * model->draft.layers + 1);
    assert_true(program->tap_first == placement->taps.first && program->width[SLIP_BUFFER_TAPS] == placement->taps.count);
    for (int32_t layer = 0; layer < program->cache_count; layer++) {
        const slip_cache *cache = &program->cache[layer];
        assert_true(cache->q_heads == placement->q_heads[0].count && cache->kv_heads == placement->kv_heads[0].count);
        for (int32_t h = 0; h < cache->q_heads; h++) {
            int32_t local = (cache->first_q + h) / cache->group - cache->first_kv;
            assert_true(local >= 0 && local < cache->kv_heads);
        }
    }
}

static void test_draft_shares(void **state)
{
    (void)state;
    for (int which = 0; which < 2 * SHAPES; which++) {
        slip_model model;
        shape(which / 2, &model);
        if (which % 2) /* a mask token of the drafter's own: no rank has its row of the vocabulary */
            model.draft.mask_token = model.vocabulary;
        for (int32_t ranks = 1; ranks <= 8; ranks++) {
            masks = 0;
            for (int32_t rank = 0; rank < ranks; rank++)
                with_draft(&model, ranks, rank, check_share);
            assert_int_equal(masks, 1);
        }
    }
}

/* ---- fused qkv ---- */

/* The stored row of (head, d) of Q, K or V, from the layout's description: chunks of [Q | K | V], equal heads in each. */
static int64_t stored_row(const slip_attention *a, int64_t chunks, char what, int64_t head, int64_t d)
{
    int64_t q = a->heads / chunks, kv = a->kv_heads / chunks, per_chunk = what == 'q' ? q : kv;
    int64_t chunk_rows = q * a->head_dim + kv * a->head_dim + kv * a->v_head_dim;
    int64_t before = what == 'q' ? 0 : what == 'k' ? q * a->head_dim : (q + kv) * a->head_dim;
    return head / per_chunk * chunk_rows + before + head % per_chunk * (what == 'v' ? a->v_head_dim : a->head_dim) + d;
}

/* Row by row: the parts of the tensor must list Q heads, then K heads, then V heads of this rank. */
typedef struct {
    const slip_program *program;
    const slip_tensor *tensor;
    int32_t part;
    int64_t row;
} walk;

static void expect_heads(walk *w, const slip_model *model, const slip_attention *a, char what, slip_range heads)
{
    int64_t dim = what == 'v' ? a->v_head_dim : a->head_dim;
    for (int64_t h = heads.first; h < heads.first + heads.count; h++)
        for (int64_t d = 0; d < dim; d++) {
            const slip_part *part = &w->program->parts[w->tensor->first_part + w->part];
            assert_true(w->part < w->tensor->parts);
            assert_int_equal(part->rows.first + w->row, stored_row(a, model->qkv_chunks, what, h, d));
            if (++w->row == part->rows.count) {
                w->row = 0;
                w->part++;
            }
        }
}

static void check_fused(const slip_model *model, const slip_placement *placement, const slip_program *program)
{
    for (int32_t i = 0; i < program->op_count; i++) {
        const slip_op *op = &program->ops[i];
        if (op->kind != SLIP_OP_LINEAR || op->out != SLIP_BUFFER_QKV)
            continue;
        const slip_attention *a = slip_model_attention(model, op->layer);
        char name[64];
        int kind = model->is_sliding[op->layer];
        walk w = {program, &program->tensors[op->weight[0]], 0, 0};
        snprintf(name, sizeof name, "target/layers/%d/qkv", op->layer);
        assert_string_equal(program->parts[w.tensor->first_part].weight.name, name);
        expect_heads(&w, model, a, 'q', placement->q_heads[kind]);
        expect_heads(&w, model, a, 'k', placement->kv_heads[kind]);
        expect_heads(&w, model, a, 'v', placement->kv_heads[kind]);
        assert_int_equal(w.part, w.tensor->parts);
    }
}

static void test_fused_rows(void **state)
{
    (void)state;
    static const int32_t ranks[] = {1, 2, 3, 8};
    slip_model pro, flash;
    slip_shape_make("pro", &pro);
    slip_shape_make("flash", &flash);
    flash.qkv_chunks = 4; /* 2 K/V heads a chunk on sliding layers, 1 on global ones */
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++)
        for (int32_t rank = 0; rank < ranks[i]; rank++) {
            with_target(&pro, ranks[i], 1, rank, check_fused);
            with_target(&flash, ranks[i], 1, rank, check_fused);
        }
}

/* Literal rows of the pro at 8 ranks: a chunk of 16 * 192 + 192 + 128 = 3392 rows a rank. */
static void check_second_of_eight(const slip_model *model, const slip_placement *placement, const slip_program *program)
{
    (void)model, (void)placement;
    static const slip_range want[] = {{3392, 3072}, {6464, 192}, {6656, 128}};
    for (int32_t i = 0; i < program->tensor_count; i++)
        if (strstr(program->parts[program->tensors[i].first_part].weight.name, "qkv")) {
            assert_int_equal(program->tensors[i].parts, 3);
            for (int32_t p = 0; p < 3; p++)
                assert_memory_equal(&program->parts[program->tensors[i].first_part + p].rows, &want[p], sizeof want[p]);
        }
}

static void test_pro_at_eight(void **state)
{
    (void)state;
    slip_model pro;
    slip_shape_make("pro", &pro);
    with_target(&pro, 8, 8, 1, check_second_of_eight);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_are_well_formed),
        cmocka_unit_test(test_drafts_are_well_formed),
        cmocka_unit_test(test_targets_are_in_order),
        cmocka_unit_test(test_taps),
        cmocka_unit_test(test_draft_phases),
        cmocka_unit_test(test_draft_shares),
        cmocka_unit_test(test_fused_rows),
        cmocka_unit_test(test_pro_at_eight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
