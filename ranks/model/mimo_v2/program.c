/* The target's program: the MiMo-V2 decoder.
 *
 *   x = embed[token]
 *   every layer:  h = norm(x); x += Wo attend(rope(Wqkv h)); h = norm(x); x += mlp(h) or experts(h)
 *   logits = head norm(x)
 *
 * Source: transformers' mimo_v2_flash and Xiaomi's modeling code; the traps are noted where they bite.
 */
#include "ranks/model/emit.h"
#include "ranks/model/mimo_v2/mimo_v2.h"
#include "ranks/model/mimo_v2/weights.h"

static const slip_weight_row *row(int which)
{
    return &slip_mimo_v2_weights.rows[which];
}

/* A fused qkv comes in chunks [Q | K | V] that hold equal shares of the heads, so a run of heads is one run of rows a chunk it touches. */
static void emit_chunked_rows(slip_emitter *e, int64_t chunk_rows, int64_t offset, int64_t heads_per_chunk, int64_t logit_rows,
                              slip_range heads)
{
    int64_t head = heads.first, end = heads.first + heads.count;
    while (head < end) {
        int64_t chunk = head / heads_per_chunk;
        int64_t stop = (chunk + 1) * heads_per_chunk < end ? (chunk + 1) * heads_per_chunk : end;
        int64_t first = chunk * chunk_rows + offset + (head - chunk * heads_per_chunk) * logit_rows;
        slip_emit_rows(e, row(MIMO_QKV), (slip_range){first, (stop - head) * logit_rows});
        head = stop;
    }
}

static int32_t emit_qkv_weight(slip_emitter *e, const slip_attention *attention, slip_range q, slip_range kv)
{
    int64_t d = attention->head_dim, v = attention->v_head_dim, chunks = e->model->qkv_chunks;
    if (chunks == 0) {
        int32_t split = slip_emit_stacked(e, row(MIMO_Q), row(MIMO_K));
        slip_emit_share(e, row(MIMO_V));
        return split;
    }
    int32_t fused = slip_emit_tensor(e, row(MIMO_QKV));
    int64_t q_per_chunk = attention->heads / chunks, kv_per_chunk = attention->kv_heads / chunks;
    int64_t k_offset = q_per_chunk * d, v_offset = k_offset + kv_per_chunk * d, rows = v_offset + kv_per_chunk * v;
    emit_chunked_rows(e, rows, 0, q_per_chunk, d, q);
    emit_chunked_rows(e, rows, k_offset, kv_per_chunk, d, kv);
    emit_chunked_rows(e, rows, v_offset, kv_per_chunk, v, kv);
    return fused;
}

static void emit_attention(slip_emitter *e)
{
    const slip_model *model = e->model;
    const slip_attention *attention = slip_model_attention(model, e->layer);
    int kind = model->is_sliding[e->layer];
    slip_range q = e->placement->q_heads[kind], kv = e->placement->kv_heads[kind];
    slip_emit_cache(e, attention, q, kv, model->value_scale);
    slip_emit_norm(e, row(MIMO_ATTN_NORM));
    int32_t qkv = emit_qkv_weight(e, attention, q, kv);
    slip_emit_op(e, SLIP_OP_LINEAR, SLIP_BUFFER_H, SLIP_BUFFER_QKV, qkv, SLIP_NO_WEIGHT);
    slip_emit_op(e, SLIP_OP_ROPE_STORE, SLIP_BUFFER_QKV, SLIP_BUFFER_QKV, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
    /* Sinks exist on sliding layers only, as raw logits: no 1/sqrt(d). */
    int32_t sinks = attention->sinks ? slip_emit_weight(e, row(MIMO_SINKS)) : SLIP_NO_WEIGHT;
    slip_emit_op(e, SLIP_OP_ATTEND, SLIP_BUFFER_QKV, SLIP_BUFFER_HEADS, sinks, SLIP_NO_WEIGHT);
    slip_emit_output(e, row(MIMO_O));
}

static void emit_moe(slip_emitter *e)
{
    slip_emit_route(e, row(MIMO_ROUTER), row(MIMO_ROUTER_BIAS));
    slip_emit_experts(e, row(MIMO_EXPERTS_GATE), row(MIMO_EXPERTS_UP), row(MIMO_EXPERTS_DOWN));
}

/* DFlash reads the residual stream after some layers, before the final norm even for the last one. */
static void emit_tap(slip_emitter *e)
{
    const slip_model *model = e->model;
    for (int32_t i = 0; model->has_draft && i < model->draft.taps; i++)
        if (model->draft.tap_layer[i] == e->layer)
            slip_emit_op(e, SLIP_OP_TAP, SLIP_BUFFER_X, SLIP_BUFFER_TAPS, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT)->column = i * model->hidden;
}

static void emit_layer(slip_emitter *e)
{
    emit_attention(e);
    slip_emit_norm(e, row(MIMO_MLP_NORM));
    if (e->model->is_moe[e->layer])
        emit_moe(e);
    else
        slip_emit_dense(e, row(MIMO_GATE), row(MIMO_UP), row(MIMO_DOWN));
    emit_tap(e);
}

slip_status slip_mimo_v2_program(const slip_model *model, const slip_placement *placement, slip_program *program)
{
    int32_t layers = model->layers;
    slip_emitter e = {program, model, placement, -1};
    slip_status status = slip_emit_start(&e, 16 * layers + 8, 12 * layers + 8, (12 + 3 * (model->qkv_chunks + 2)) * layers + 8);
    if (status != SLIP_OK)
        return status;
    program->norm_epsilon = model->norm_epsilon;
    if (model->has_draft) {
        slip_emit_width(&e, SLIP_BUFFER_TAPS, (int64_t)model->draft.taps * model->hidden);
        program->tap_window = model->draft.attention.window;
    }

    slip_emit_embed(&e, row(MIMO_EMBED), SLIP_NO_WEIGHT);
    for (e.layer = 0; e.layer < layers; e.layer++)
        emit_layer(&e);
    e.layer = -1;
    slip_emit_head(&e, row(MIMO_NORM), row(MIMO_HEAD));
    program->phase_count[SLIP_PHASE_RUN] = program->op_count;
    return SLIP_OK;
}
