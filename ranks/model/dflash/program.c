/* The draft's program: DFlash, a block-diffusion drafter that is given the target's hidden states as K/V.
 *
 *   inject, for committed tokens:  c = hidden_norm(fc [taps]); every layer: K = rope(k_norm(Wk c)), V = Wv c to the ring
 *   run, for [anchor, mask x 7]:   a pre-norm transformer whose queries see the context ring and their whole block
 *
 * Row j of the block predicts the token at its own position (DFlash paper, arXiv 2602.06036, A.3). Context rows skip the
 * input norm. Both paths share Wk, Wv, k_norm and one RoPE base, since a rotation is relative only within one base.
 *
 * On several ranks fc is cut along the taps, so that c is a sum over ranks as well; everything else is cut as the target is.
 */
#include <stdio.h>

#include "ranks/model/dflash/dflash.h"
#include "ranks/model/emit.h"

/* One layer's weights that both phases use. */
typedef struct {
    int32_t qkv, q_norm, k_norm;
} layer_weights;

static layer_weights emit_weights(slip_program *program, const slip_model *model, const slip_placement *placement,
                                  const char *prefix)
{
    const slip_attention *a = &model->draft.attention;
    slip_range q = placement->q_heads[0], kv = placement->kv_heads[0];
    layer_weights w;
    w.qkv = slip_emit_tensor(program, SLIP_NOT_STACKED, (slip_range){0, model->hidden});
    slip_emit_part(program, prefix, "q", (slip_range){q.first * a->head_dim, q.count * a->head_dim});
    slip_emit_part(program, prefix, "k", (slip_range){kv.first * a->head_dim, kv.count * a->head_dim});
    slip_emit_part(program, prefix, "v", (slip_range){kv.first * a->v_head_dim, kv.count * a->v_head_dim});
    w.q_norm = slip_emit_vector(program, prefix, "q_norm", (slip_range){0, a->head_dim});
    w.k_norm = slip_emit_vector(program, prefix, "k_norm", (slip_range){0, a->head_dim});
    return w;
}

/* The inject phase computes Q too and drops it: the draft is small, and one matrix serves both phases. */
static void emit_store(slip_program *program, layer_weights w, int32_t layer)
{
    slip_emit_op(program, SLIP_OP_LINEAR, SLIP_BUFFER_H, SLIP_BUFFER_QKV, w.qkv, SLIP_NO_WEIGHT)->layer = layer;
    slip_emit_op(program, SLIP_OP_ROPE_STORE, SLIP_BUFFER_QKV, SLIP_BUFFER_QKV, w.q_norm, w.k_norm)->layer = layer;
}

/* One rank has the whole sum in its product; several add theirs up in X, which holds nothing in this phase. */
static void emit_inject(slip_program *program, const slip_model *model, const slip_placement *placement,
                        const layer_weights *weights)
{
    int64_t hidden = model->hidden;
    bool sums = placement->ranks > 1;
    slip_buffer fused = sums ? SLIP_BUFFER_X : SLIP_BUFFER_H;
    int32_t fc = slip_emit_matrix(program, "draft", "fc", (slip_range){0, hidden}, placement->taps);
    int32_t norm = slip_emit_vector(program, "draft", "hidden_norm", (slip_range){0, hidden});
    slip_emit_op(program, SLIP_OP_LINEAR, SLIP_BUFFER_TAPS, sums ? SLIP_BUFFER_PARTIAL : fused, fc, SLIP_NO_WEIGHT);
    if (sums)
        slip_emit_op(program, SLIP_OP_ALLREDUCE, SLIP_BUFFER_PARTIAL, fused, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
    slip_emit_op(program, SLIP_OP_NORM, fused, SLIP_BUFFER_H, norm, SLIP_NO_WEIGHT);
    for (int32_t layer = 0; layer < model->draft.layers; layer++)
        emit_store(program, weights[layer], layer);
    slip_emit_width(program, SLIP_BUFFER_TAPS, placement->taps.count);
    program->tap_first = placement->taps.first;
}

/* The mask embedding is one row of a sum over ranks: whoever has the mask token's row of the vocabulary (rank 0 where there is none)
 * gives it, and the others nothing. */
static bool gives_mask(const slip_model *model, const slip_placement *placement)
{
    int64_t mask = model->draft.mask_token, first = placement->vocabulary.first;
    bool in_vocabulary = mask >= 0 && mask < model->vocabulary;
    bool here = in_vocabulary ? mask >= first && mask < first + placement->vocabulary.count : placement->rank == 0;
    return model->draft.mask_embedding && here;
}

static void emit_block(slip_program *program, const slip_model *model, const slip_placement *placement,
                       const layer_weights *weights)
{
    const slip_draft_shape *draft = &model->draft;
    slip_range all = {0, model->hidden};
    int32_t mask = gives_mask(model, placement) ? slip_emit_vector(program, "draft", "mask_embedding", all) : SLIP_NO_WEIGHT;
    program->mask_token = draft->mask_token;
    slip_emit_embed(program, slip_emit_matrix(program, "target", "embed", placement->vocabulary, all), mask);
    for (int32_t layer = 0; layer < draft->layers; layer++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "draft/layers/%d", layer);
        int32_t first_op = program->op_count;
        slip_emit_norm(program, prefix, "attn_norm", model->hidden);
        emit_store(program, weights[layer], layer);
        slip_range q = placement->q_heads[0];
        int32_t sinks = draft->attention.sinks ? slip_emit_vector(program, prefix, "sinks", q) : SLIP_NO_WEIGHT;
        slip_emit_op(program, SLIP_OP_ATTEND, SLIP_BUFFER_QKV, SLIP_BUFFER_HEADS, sinks, SLIP_NO_WEIGHT);
        slip_emit_output(program, prefix, q, draft->attention.v_head_dim, model->hidden);
        slip_emit_norm(program, prefix, "mlp_norm", model->hidden);
        slip_emit_dense(program, prefix, placement->dense, model->hidden);
        for (int32_t i = first_op; i < program->op_count; i++)
            program->ops[i].layer = layer;
    }
    slip_emit_head(program, "draft", placement->vocabulary, model->hidden);
}

slip_status slip_dflash_program(const slip_model *model, const slip_placement *placement, slip_program *program)
{
    const slip_draft_shape *draft = &model->draft;
    int32_t layers = draft->layers;
    slip_status status = slip_emit_start(program, 20 * layers + 16, 12 * layers + 12, 16 * layers + 12);
    if (status != SLIP_OK)
        return status;
    program->norm_epsilon = draft->norm_epsilon;
    slip_emit_width(program, SLIP_BUFFER_X, model->hidden);
    slip_emit_width(program, SLIP_BUFFER_H, model->hidden);
    slip_emit_width(program, SLIP_BUFFER_PARTIAL, model->hidden);

    layer_weights weights[SLIP_MAX_LAYERS];
    for (int32_t layer = 0; layer < layers; layer++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "draft/layers/%d", layer);
        weights[layer] = emit_weights(program, model, placement, prefix);
        slip_cache *cache = slip_emit_cache(program, &draft->attention, placement->q_heads[0], placement->kv_heads[0], draft->value_scale);
        cache->whole_block = true;
        cache->norm_epsilon = draft->norm_epsilon;
    }

    emit_inject(program, model, placement, weights);
    program->phase_count[SLIP_PHASE_INJECT] = program->op_count;
    program->phase_first[SLIP_PHASE_RUN] = program->op_count;
    emit_block(program, model, placement, weights);
    program->phase_count[SLIP_PHASE_RUN] = program->op_count - program->phase_first[SLIP_PHASE_RUN];
    return SLIP_OK;
}
