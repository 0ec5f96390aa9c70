#include "ranks/model/dflash/weights.h"

static bool sinks(const slip_model *model, int32_t layer)
{
    (void)layer;
    return model->draft.attention.sinks;
}

static bool has_markov(const slip_model *model, int32_t layer)
{
    (void)layer;
    return model->draft.markov > 0;
}

/* Some drafters' tensors begin with "model.". */
#define TOP(name) \
    { \
        name, "model." name \
    }
#define LAYER(name) \
    { \
        "layers.{layer}." name, "model.layers.{layer}." name \
    }
/* The in-block head: logits of a slot += following . previous[token before it]. Published heads of this kind have the other names. */
#define HEAD(side, published) \
    { \
        .name = "markov_" side, .source = {side ".weight", "markov_head." published ".weight"}, .place = SLIP_AT_DRAFT, \
        .when = has_markov, .kind = SLIP_KIND_TABLE, .rows = SLIP_AXIS_VOCABULARY, .columns = SLIP_AXIS_MARKOV, .dtype = SLIP_BF16, \
        .random = PLAIN, .read = SLIP_READ_LITTLE, .asked_by = "dflash_config.markov" \
    }
#define ROW SLIP_WEIGHT_ROW
#define NORM SLIP_LOOK_NORM
#define OFFSET SLIP_LOOK_OFFSET
#define PLAIN SLIP_LOOK_PRODUCT
#define SMALL SLIP_LOOK_RESIDUAL

/* name, tensors of the source; where, kind, rows, columns, cut, type, random look, what a step reads it for. */
static const slip_weight_row rows[] = {
    [DFLASH_FC] = ROW("fc", TOP("fc.weight"), DRAFT, NULL, MATRIX, HIDDEN, TAPS, COLUMNS, BF16, PLAIN, DENSE),
    [DFLASH_HIDDEN_NORM] = ROW("hidden_norm", TOP("hidden_norm.weight"), DRAFT, NULL, VECTOR, ONE, HIDDEN, NONE, F32, NORM, LITTLE),
    [DFLASH_NORM] = ROW("norm", TOP("norm.weight"), DRAFT, NULL, VECTOR, ONE, HIDDEN, NONE, F32, NORM, LITTLE),
    [DFLASH_MASK_EMBEDDING] = {.name = "mask_embedding",
                               .source = TOP("mask_embedding"),
                               .place = SLIP_AT_DRAFT,
                               .kind = SLIP_KIND_VECTOR,
                               .columns = SLIP_AXIS_HIDDEN,
                               .dtype = SLIP_F32,
                               .random = OFFSET,
                               .optional = true},
    [DFLASH_MARKOV_PREVIOUS] = HEAD("previous", "markov_w1"),
    [DFLASH_MARKOV_FOLLOWING] = HEAD("following", "markov_w2"),

    [DFLASH_ATTN_NORM] =
        ROW("attn_norm", LAYER("input_layernorm.weight"), DRAFT_LAYERS, NULL, VECTOR, ONE, HIDDEN, NONE, F32, NORM, LITTLE),
    [DFLASH_MLP_NORM] =
        ROW("mlp_norm", LAYER("post_attention_layernorm.weight"), DRAFT_LAYERS, NULL, VECTOR, ONE, HIDDEN, NONE, F32, NORM, LITTLE),
    [DFLASH_Q] = ROW("q", LAYER("self_attn.q_proj.weight"), DRAFT_LAYERS, NULL, MATRIX, Q, HIDDEN, ROWS, BF16, PLAIN, ATTENTION),
    [DFLASH_K] = ROW("k", LAYER("self_attn.k_proj.weight"), DRAFT_LAYERS, NULL, MATRIX, K, HIDDEN, ROWS, BF16, PLAIN, ATTENTION),
    [DFLASH_V] = ROW("v", LAYER("self_attn.v_proj.weight"), DRAFT_LAYERS, NULL, MATRIX, V, HIDDEN, ROWS, BF16, PLAIN, ATTENTION),
    [DFLASH_O] = ROW("o", LAYER("self_attn.o_proj.weight"), DRAFT_LAYERS, NULL, MATRIX, HIDDEN, O, COLUMNS, BF16, SMALL, ATTENTION),
    [DFLASH_SINKS] =
        ROW("sinks", LAYER("self_attn.attention_sink_bias"), DRAFT_LAYERS, sinks, SCALAR, ONE, HEADS, COLUMNS, F32, OFFSET, LITTLE),
    [DFLASH_Q_NORM] = ROW("q_norm", LAYER("self_attn.q_norm.weight"), DRAFT_LAYERS, NULL, VECTOR, ONE, HEAD_DIM, NONE, F32, NORM, LITTLE),
    [DFLASH_K_NORM] = ROW("k_norm", LAYER("self_attn.k_norm.weight"), DRAFT_LAYERS, NULL, VECTOR, ONE, HEAD_DIM, NONE, F32, NORM, LITTLE),
    [DFLASH_GATE] = ROW("gate", LAYER("mlp.gate_proj.weight"), DRAFT_LAYERS, NULL, MATRIX, DENSE, HIDDEN, ROWS, BF16, PLAIN, DENSE),
    [DFLASH_UP] = ROW("up", LAYER("mlp.up_proj.weight"), DRAFT_LAYERS, NULL, MATRIX, DENSE, HIDDEN, ROWS, BF16, PLAIN, DENSE),
    [DFLASH_DOWN] = ROW("down", LAYER("mlp.down_proj.weight"), DRAFT_LAYERS, NULL, MATRIX, HIDDEN, DENSE, COLUMNS, BF16, SMALL, DENSE),
};

static const char *const apart[] = {NULL};

const slip_weight_table slip_dflash_weights = {rows, sizeof rows / sizeof *rows, apart};
