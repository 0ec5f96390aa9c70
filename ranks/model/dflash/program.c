/* The draft's program: DFlash, a block-diffusion drafter that is given the target's hidden states as K/V.
 *
 *   inject, for committed tokens:  c = hidden_norm(fc [taps]); every layer: K = rope(k_norm(Wk c)), V = Wv c to the ring
 *   run, for [anchor, mask x 7]:   a pre-norm transformer whose queries see the context ring and their whole block
 *
 * Row j of the block predicts the token at its own position (DFlash paper, arXiv 2602.06036, A.3). Context rows skip the
 * input norm. Both paths share Wk, Wv, k_norm and one RoPE base, since a rotation is relative only within one base.
 *
 * On several ranks fc is cut along the taps, so that c is a sum over ranks as well; everything else is cut as the target is. An in-block head
 * is rank 0's alone.
 */
#include "ranks/model/dflash/dflash.h"
#include "ranks/model/dflash/weights.h"
#include "ranks/model/emit.h"
#include "ranks/model/family.h"

static const slip_weight_row *row(int which)
{
    return &slip_dflash_weights.rows[which];
}

/* One layer's weights that both phases use. */
typedef struct {
    int32_t qkv, q_norm, k_norm;
} layer_weights;

static layer_weights emit_weights(slip_emitter *e)
{
    layer_weights w;
    w.qkv = slip_emit_stacked(e, row(DFLASH_Q), row(DFLASH_K));
    slip_emit_share(e, row(DFLASH_V));
    w.q_norm = slip_emit_weight(e, row(DFLASH_Q_NORM));
    w.k_norm = slip_emit_weight(e, row(DFLASH_K_NORM));
    return w;
}

static void emit_cache(slip_emitter *e)
{
    const slip_draft_shape *draft = &e->model->draft;
    slip_cache *cache = slip_emit_cache(e, &draft->attention, e->placement->q_heads[0], e->placement->kv_heads[0], draft->value_scale);
    cache->whole_block = true;
    cache->norm_epsilon = draft->norm_epsilon;
}

/* The inject phase computes Q too and drops it: the draft is small, and one matrix serves both phases. */
static void emit_store(slip_emitter *e, layer_weights w)
{
    slip_emit_op(e, SLIP_OP_LINEAR, SLIP_BUFFER_H, SLIP_BUFFER_QKV, w.qkv, SLIP_NO_WEIGHT);
    slip_emit_op(e, SLIP_OP_ROPE_STORE, SLIP_BUFFER_QKV, SLIP_BUFFER_QKV, w.q_norm, w.k_norm);
}

/* One rank has the whole sum in its product; several add theirs up in X, which holds nothing in this phase. */
static void emit_inject(slip_emitter *e, const layer_weights *weights)
{
    const slip_placement *placement = e->placement;
    bool sums = placement->ranks > 1;
    slip_buffer fused = sums ? SLIP_BUFFER_X : SLIP_BUFFER_H;
    int32_t fc = slip_emit_weight(e, row(DFLASH_FC)), norm = slip_emit_weight(e, row(DFLASH_HIDDEN_NORM));
    slip_emit_op(e, SLIP_OP_LINEAR, SLIP_BUFFER_TAPS, sums ? SLIP_BUFFER_PARTIAL : fused, fc, SLIP_NO_WEIGHT);
    if (sums)
        slip_emit_op(e, SLIP_OP_ALLREDUCE, SLIP_BUFFER_PARTIAL, fused, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
    slip_emit_op(e, SLIP_OP_NORM, fused, SLIP_BUFFER_H, norm, SLIP_NO_WEIGHT);
    for (e->layer = 0; e->layer < e->model->draft.layers; e->layer++)
        emit_store(e, weights[e->layer]);
    e->layer = -1;
    slip_emit_width(e, SLIP_BUFFER_TAPS, placement->taps.count);
    e->program->tap_first = placement->taps.first;
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

static void emit_layer(slip_emitter *e, layer_weights weights)
{
    bool sinks = e->model->draft.attention.sinks;
    slip_emit_norm(e, row(DFLASH_ATTN_NORM));
    emit_store(e, weights);
    slip_emit_op(e, SLIP_OP_ATTEND, SLIP_BUFFER_QKV, SLIP_BUFFER_HEADS, sinks ? slip_emit_weight(e, row(DFLASH_SINKS)) : SLIP_NO_WEIGHT,
                 SLIP_NO_WEIGHT);
    slip_emit_output(e, row(DFLASH_O));
    slip_emit_norm(e, row(DFLASH_MLP_NORM));
    slip_emit_dense(e, row(DFLASH_GATE), row(DFLASH_UP), row(DFLASH_DOWN));
}

static void emit_block(slip_emitter *e, const layer_weights *weights)
{
    const slip_family *family = e->model->family;
    bool mask = gives_mask(e->model, e->placement);
    e->program->mask_token = e->model->draft.mask_token;
    e->program->logits_ahead = 0;
    slip_emit_embed(e, &family->weights->rows[family->embed], mask ? slip_emit_weight(e, row(DFLASH_MASK_EMBEDDING)) : SLIP_NO_WEIGHT);
    for (e->layer = 0; e->layer < e->model->draft.layers; e->layer++)
        emit_layer(e, weights[e->layer]);
    e->layer = -1;
    slip_emit_head(e, row(DFLASH_NORM), &family->weights->rows[family->head]);
}

/* The coordinator walks. The matrices are read by no op. */
static void emit_walk(slip_emitter *e)
{
    const slip_draft_shape *draft = &e->model->draft;
    const bool walks = e->placement->rank == 0;
    if (draft->markov == 0)
        return;
    e->program->walk = (slip_walk){.slots = draft->block - 1,
                                   .rank = draft->markov,
                                   .previous = walks ? slip_emit_weight(e, row(DFLASH_MARKOV_PREVIOUS)) : SLIP_NO_WEIGHT,
                                   .following = walks ? slip_emit_weight(e, row(DFLASH_MARKOV_FOLLOWING)) : SLIP_NO_WEIGHT};
}

slip_status slip_dflash_program(const slip_model *model, const slip_placement *placement, slip_program *program)
{
    int32_t layers = model->draft.layers;
    slip_emitter e = {program, model, placement, -1};
    slip_status status = slip_emit_start(&e, 20 * layers + 16, 12 * layers + 12, 16 * layers + 12);
    if (status != SLIP_OK)
        return status;
    program->norm_epsilon = model->draft.norm_epsilon;

    layer_weights weights[SLIP_MAX_LAYERS];
    for (e.layer = 0; e.layer < layers; e.layer++) {
        weights[e.layer] = emit_weights(&e);
        emit_cache(&e);
    }
    e.layer = -1;
    emit_inject(&e, weights);
    program->phase_count[SLIP_PHASE_INJECT] = program->op_count;
    program->phase_first[SLIP_PHASE_RUN] = program->op_count;
    emit_block(&e, weights);
    program->phase_count[SLIP_PHASE_RUN] = program->op_count - program->phase_first[SLIP_PHASE_RUN];
    emit_walk(&e);
    return SLIP_OK;
}
