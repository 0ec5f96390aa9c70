/* The weights of MiMo-V2, with the types of its MXFP4 releases: experts MXFP4, q, k, v and dense layers FP8, the rest BF16. */
#include "ranks/model/mimo_v2/weights.h"

static bool split(const slip_model *model, int32_t layer)
{
    (void)layer;
    return model->qkv_chunks == 0;
}

static bool fused(const slip_model *model, int32_t layer)
{
    (void)layer;
    return model->qkv_chunks > 0;
}

static bool sinks(const slip_model *model, int32_t layer)
{
    return slip_model_attention(model, layer)->sinks;
}

#define TOP(name) \
    { \
        name \
    }
#define LAYER(name) \
    { \
        "model.layers.{layer}." name \
    }
#define EXPERT(name) \
    { \
        "model.layers.{layer}.mlp.experts.{expert}." name \
    }
#define ROW SLIP_WEIGHT_ROW
#define NORM SLIP_LOOK_NORM
#define OFFSET SLIP_LOOK_OFFSET
#define BIAS SLIP_LOOK_BIAS
#define PLAIN SLIP_LOOK_PRODUCT
#define SMALL SLIP_LOOK_RESIDUAL

/* name, tensor of the source; where, kind, rows, columns, cut, type, random look, what a step reads it for. */
static const slip_weight_row rows[] = {
    [MIMO_EMBED] = ROW("embed", TOP("model.embed_tokens.weight"), TARGET, NULL, TABLE, VOCABULARY, HIDDEN, ROWS, BF16, PLAIN, LITTLE),
    [MIMO_HEAD] = ROW("head", TOP("lm_head.weight"), TARGET, NULL, TABLE, VOCABULARY, HIDDEN, ROWS, BF16, PLAIN, HEAD),
    [MIMO_NORM] = ROW("norm", TOP("model.norm.weight"), TARGET, NULL, VECTOR, ONE, HIDDEN, NONE, F32, NORM, LITTLE),

    [MIMO_ATTN_NORM] = ROW("attn_norm", LAYER("input_layernorm.weight"), LAYERS, NULL, VECTOR, ONE, HIDDEN, NONE, F32, NORM, LITTLE),
    [MIMO_MLP_NORM] = ROW("mlp_norm", LAYER("post_attention_layernorm.weight"), LAYERS, NULL, VECTOR, ONE, HIDDEN, NONE, F32, NORM, LITTLE),
    [MIMO_QKV] = ROW("qkv", LAYER("self_attn.qkv_proj.weight"), LAYERS, fused, MATRIX, QKV, HIDDEN, ROWS, F8E4M3, PLAIN, ATTENTION),
    [MIMO_Q] = ROW("q", LAYER("self_attn.q_proj.weight"), LAYERS, split, MATRIX, Q, HIDDEN, ROWS, F8E4M3, PLAIN, ATTENTION),
    [MIMO_K] = ROW("k", LAYER("self_attn.k_proj.weight"), LAYERS, split, MATRIX, K, HIDDEN, ROWS, F8E4M3, PLAIN, ATTENTION),
    [MIMO_V] = ROW("v", LAYER("self_attn.v_proj.weight"), LAYERS, split, MATRIX, V, HIDDEN, ROWS, F8E4M3, PLAIN, ATTENTION),
    [MIMO_O] = ROW("o", LAYER("self_attn.o_proj.weight"), LAYERS, NULL, MATRIX, HIDDEN, O, COLUMNS, BF16, SMALL, ATTENTION),
    [MIMO_SINKS] = ROW("sinks", LAYER("self_attn.attention_sink_bias"), LAYERS, sinks, SCALAR, ONE, HEADS, COLUMNS, F32, OFFSET, LITTLE),

    [MIMO_ROUTER] = ROW("router", LAYER("mlp.gate.weight"), MOE_LAYERS, NULL, TABLE, EXPERTS, HIDDEN, NONE, BF16, PLAIN, ROUTER),
    [MIMO_ROUTER_BIAS] =
        ROW("router_bias", LAYER("mlp.gate.e_score_correction_bias"), MOE_LAYERS, NULL, SCALAR, ONE, EXPERTS, NONE, F32, BIAS, LITTLE),
    [MIMO_EXPERTS_GATE] =
        ROW("experts/gate", EXPERT("gate_proj.weight"), MOE_LAYERS, NULL, EXPERTS, EXPERT, HIDDEN, ROWS, MXFP4, PLAIN, EXPERTS),
    [MIMO_EXPERTS_UP] = ROW("experts/up", EXPERT("up_proj.weight"), MOE_LAYERS, NULL, EXPERTS, EXPERT, HIDDEN, ROWS, MXFP4, PLAIN, EXPERTS),
    [MIMO_EXPERTS_DOWN] =
        ROW("experts/down", EXPERT("down_proj.weight"), MOE_LAYERS, NULL, EXPERTS, HIDDEN, EXPERT, COLUMNS, MXFP4, SMALL, EXPERTS),

    [MIMO_GATE] = ROW("gate", LAYER("mlp.gate_proj.weight"), DENSE_LAYERS, NULL, MATRIX, DENSE, HIDDEN, ROWS, F8E4M3, PLAIN, DENSE),
    [MIMO_UP] = ROW("up", LAYER("mlp.up_proj.weight"), DENSE_LAYERS, NULL, MATRIX, DENSE, HIDDEN, ROWS, F8E4M3, PLAIN, DENSE),
    [MIMO_DOWN] = ROW("down", LAYER("mlp.down_proj.weight"), DENSE_LAYERS, NULL, MATRIX, HIDDEN, DENSE, COLUMNS, F8E4M3, SMALL, DENSE),
};

static const char *const apart[] = {"model.mtp.", "visual.", "audio_encoder.", "speech_embeddings.", NULL};

const slip_weight_table slip_mimo_v2_weights = {rows, sizeof rows / sizeof *rows, apart};
