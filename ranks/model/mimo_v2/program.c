/* The target's program: the MiMo-V2 decoder.
 *
 *   x = embed[token]
 *   every layer:  h = norm(x); x += Wo attend(rope(Wqkv h)); h = norm(x); x += mlp(h) or experts(h)
 *   logits = head norm(x)
 *
 * Source: transformers' mimo_v2_flash and Xiaomi's modeling code; the traps are noted where they bite.
 */
#include <stdio.h>

#include "ranks/model/emit.h"
#include "ranks/model/mimo_v2/mimo_v2.h"

/* Where the rows of Q, K and V lie in the checkpoint. Split matrices are one chunk each; a fused one comes in chunks
 * [Q | K | V] that hold equal shares of the heads, so a run of heads is one run of rows a chunk it touches. */
static void emit_chunked_rows(slip_program *program, const char *prefix, int64_t chunk_rows, int64_t offset,
                              int64_t heads_per_chunk, int64_t head_rows, slip_range heads)
{
    int64_t head = heads.first, end = heads.first + heads.count;
    while (head < end) {
        int64_t chunk = head / heads_per_chunk;
        int64_t stop = (chunk + 1) * heads_per_chunk < end ? (chunk + 1) * heads_per_chunk : end;
        int64_t first = chunk * chunk_rows + offset + (head - chunk * heads_per_chunk) * head_rows;
        slip_emit_part(program, prefix, "qkv", (slip_range){first, (stop - head) * head_rows});
        head = stop;
    }
}

static int32_t emit_qkv_weight(slip_program *program, const slip_model *model, const slip_attention *attention,
                               const char *prefix, slip_range q, slip_range kv)
{
    int32_t tensor = slip_emit_tensor(program, SLIP_NOT_STACKED, (slip_range){0, model->hidden});
    int64_t d = attention->head_dim, v = attention->v_head_dim, chunks = model->qkv_chunks;
    if (chunks == 0) {
        slip_emit_part(program, prefix, "q", (slip_range){q.first * d, q.count * d});
        slip_emit_part(program, prefix, "k", (slip_range){kv.first * d, kv.count * d});
        slip_emit_part(program, prefix, "v", (slip_range){kv.first * v, kv.count * v});
        return tensor;
    }
    int64_t q_per_chunk = attention->heads / chunks, kv_per_chunk = attention->kv_heads / chunks;
    int64_t k_offset = q_per_chunk * d, v_offset = k_offset + kv_per_chunk * d, rows = v_offset + kv_per_chunk * v;
    emit_chunked_rows(program, prefix, rows, 0, q_per_chunk, d, q);
    emit_chunked_rows(program, prefix, rows, k_offset, kv_per_chunk, d, kv);
    emit_chunked_rows(program, prefix, rows, v_offset, kv_per_chunk, v, kv);
    return tensor;
}

static void emit_attention(slip_program *program, const slip_model *model, const slip_placement *placement, int32_t layer,
                           const char *prefix)
{
    const slip_attention *attention = slip_model_attention(model, layer);
    slip_range q = placement->q_heads[model->is_sliding[layer]], kv = placement->kv_heads[model->is_sliding[layer]];
    slip_emit_cache(program, attention, q, kv, model->value_scale);
    slip_emit_norm(program, prefix, "attn_norm", model->hidden);
    int32_t qkv = emit_qkv_weight(program, model, attention, prefix, q, kv);
    slip_emit_op(program, SLIP_OP_LINEAR, SLIP_BUFFER_H, SLIP_BUFFER_QKV, qkv, SLIP_NO_WEIGHT);
    slip_emit_op(program, SLIP_OP_ROPE_STORE, SLIP_BUFFER_QKV, SLIP_BUFFER_QKV, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT);
    /* Sinks exist on sliding layers only, as raw logits: no 1/sqrt(d). */
    int32_t sinks = attention->sinks ? slip_emit_vector(program, prefix, "sinks", q) : SLIP_NO_WEIGHT;
    slip_emit_op(program, SLIP_OP_ATTEND, SLIP_BUFFER_QKV, SLIP_BUFFER_HEADS, sinks, SLIP_NO_WEIGHT);
    slip_emit_output(program, prefix, q, attention->v_head_dim, model->hidden);
}

static void emit_experts(slip_program *program, const slip_model *model, const slip_placement *placement,
                         const char *prefix)
{
    int64_t hidden = model->hidden;
    slip_range all = {0, hidden}, columns = placement->expert_columns;
    int32_t router = slip_emit_matrix(program, prefix, "router", (slip_range){0, model->experts}, all);
    int32_t bias = slip_emit_vector(program, prefix, "router_bias", (slip_range){0, model->experts});
    slip_emit_op(program, SLIP_OP_ROUTE, SLIP_BUFFER_H, SLIP_BUFFER_ROUTE, router, bias);

    int32_t gate_up = slip_emit_tensor(program, placement->experts, all);
    slip_emit_part(program, prefix, "experts/gate", columns);
    slip_emit_part(program, prefix, "experts/up", columns);
    int32_t down = slip_emit_tensor(program, placement->experts, columns);
    slip_emit_part(program, prefix, "experts/down", (slip_range){0, hidden});
    slip_emit_op(program, SLIP_OP_EXPERTS, SLIP_BUFFER_H, SLIP_BUFFER_PARTIAL, gate_up, down);
    slip_emit_op(program, SLIP_OP_ALLREDUCE, SLIP_BUFFER_PARTIAL, SLIP_BUFFER_X, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT)->add = true;
    slip_emit_width(program, SLIP_BUFFER_ROUTE, 2 * model->top_k);
    slip_emit_width(program, SLIP_BUFFER_GATE_UP, 2 * columns.count);
    slip_emit_width(program, SLIP_BUFFER_ACT, columns.count);
}

/* DFlash reads the residual stream after some layers, before the final norm even for the last one. */
static void emit_tap(slip_program *program, const slip_model *model, int32_t layer)
{
    for (int32_t i = 0; model->has_draft && i < model->draft.taps; i++)
        if (model->draft.tap_layer[i] == layer)
            slip_emit_op(program, SLIP_OP_TAP, SLIP_BUFFER_X, SLIP_BUFFER_TAPS, SLIP_NO_WEIGHT, SLIP_NO_WEIGHT)->column =
                i * model->hidden;
}

static void emit_layer(slip_program *program, const slip_model *model, const slip_placement *placement, int32_t layer)
{
    char prefix[32];
    snprintf(prefix, sizeof prefix, "target/layers/%d", layer);
    int32_t first_op = program->op_count;
    emit_attention(program, model, placement, layer, prefix);
    slip_emit_norm(program, prefix, "mlp_norm", model->hidden);
    if (model->is_moe[layer])
        emit_experts(program, model, placement, prefix);
    else
        slip_emit_dense(program, prefix, placement->dense, model->hidden);
    emit_tap(program, model, layer);
    for (int32_t i = first_op; i < program->op_count; i++)
        program->ops[i].layer = layer;
}

slip_status slip_mimo_v2_program(const slip_model *model, const slip_placement *placement, slip_program *program)
{
    int32_t layers = model->layers;
    slip_status status =
        slip_emit_start(program, 16 * layers + 8, 12 * layers + 8, (12 + 3 * (model->qkv_chunks + 2)) * layers + 8);
    if (status != SLIP_OK)
        return status;
    program->norm_epsilon = model->norm_epsilon;
    program->top_k = model->top_k;
    program->norm_top_k = model->norm_top_k;
    program->routed_scale = model->routed_scale;
    program->experts = model->experts;
    slip_emit_width(program, SLIP_BUFFER_X, model->hidden);
    slip_emit_width(program, SLIP_BUFFER_H, model->hidden);
    slip_emit_width(program, SLIP_BUFFER_PARTIAL, model->hidden);
    if (model->has_draft) {
        slip_emit_width(program, SLIP_BUFFER_TAPS, (int64_t)model->draft.taps * model->hidden);
        program->tap_window = model->draft.attention.window;
    }

    slip_range all = {0, model->hidden};
    slip_emit_embed(program, slip_emit_matrix(program, "target", "embed", placement->vocabulary, all), SLIP_NO_WEIGHT);
    for (int32_t layer = 0; layer < layers; layer++)
        emit_layer(program, model, placement, layer);
    slip_emit_head(program, "target", placement->vocabulary, model->hidden);
    program->phase_count[SLIP_PHASE_RUN] = program->op_count;
    return SLIP_OK;
}
