/* The shape of a model, as plain data: what config.json says, checked and in one vocabulary.
 *
 * A family fills it from its config and writes programs of it (ranks/model/family.h); ranks/model/placement.c cuts it; kernels see
 * it only through the program. It owns nothing: copy it freely.
 */
#ifndef SLIP_RANKS_MODEL_MODEL_H
#define SLIP_RANKS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ranks/model/chat/template.h"
#include "ranks/model/dtype.h"
#include "ranks/model/sampling/sampling.h"

enum {
    SLIP_MAX_LAYERS = 256,
    SLIP_MAX_EXPERTS = 4096,
    SLIP_MAX_TOP_K = 64,
    SLIP_MAX_TAPS = 16,
    SLIP_MAX_BLOCK = 32, /* widest draft block a config may ask for */
    SLIP_MAX_MARKOV = 1024,
    SLIP_MARKOV_UNIT = 8, /* its rank is a multiple of: 16 bytes of bf16 are read at a time */
    SLIP_MAX_EOS = 8,
};

/* What a router makes of its logits before the best are picked. */
typedef enum {
    SLIP_SCORING_SIGMOID, /* each expert by itself (DeepSeek-V3, MiMo-V2) */
    SLIP_SCORING_SOFTMAX, /* over all experts (Mixtral, Qwen3) */
} slip_scoring;

/* One attention geometry. A model has two: global layers and sliding layers. */
typedef struct {
    int32_t heads;      /* query heads */
    int32_t kv_heads;   /* divides heads; query head h reads K/V head h / (heads / kv_heads) */
    int32_t head_dim;   /* of Q and K */
    int32_t v_head_dim; /* of V */
    int32_t rotary_dim; /* the first rotary_dim dimensions of a Q or K head are rotated, even, <= head_dim */
    int32_t window;     /* keys a query sees, itself included; 0 = all */
    double rope_theta;
    bool sinks; /* one learned logit a head joins the softmax denominator */
} slip_attention;

typedef struct {
    int32_t block; /* rows of a draft block: anchor + (block - 1) masks; 8 for DFlash */
    int32_t layers;
    int32_t intermediate;
    int32_t vocabulary;               /* as its config has it; its embedding and head are the target's, which may be padded otherwise */
    int32_t taps;                     /* target layers whose output feeds the draft */
    int32_t tap_layer[SLIP_MAX_TAPS]; /* ascending ids of target layers, their residual stream after the layer */
    int32_t mask_token;               /* its embedding row is /draft/mask_embedding where that dataset exists */
    bool mask_embedding;              /* /draft/mask_embedding exists */
    int32_t markov; /* rank of the in-block head, which adds to a slot's logits what its predecessor says; 0: there is none */
    float norm_epsilon;
    float value_scale;
    slip_attention attention; /* sliding and not causal within the block */
} slip_draft_shape;

typedef struct {
    const struct slip_family *family; /* who parses, programs and renders for it (ranks/model/family.h) */
    char name[64];                    /* model_type of the config, for display */
    int32_t hidden;
    int32_t layers;
    int32_t vocabulary;
    int32_t max_positions;
    float norm_epsilon;
    float value_scale; /* V is multiplied by it before it is cached */
    slip_attention global, sliding;
    bool is_sliding[SLIP_MAX_LAYERS];
    bool is_moe[SLIP_MAX_LAYERS];
    int32_t dense_intermediate;
    int32_t moe_intermediate;
    int32_t experts;
    int32_t top_k;
    slip_scoring scoring;
    bool norm_top_k;    /* divide the picked scores by their sum */
    float routed_scale; /* then multiply by this */
    int32_t qkv_chunks; /* rows of the fused qkv matrix come as this many [Q|K|V] chunks; 0 = split q, k, v */
    int32_t eos[SLIP_MAX_EOS];
    int32_t eos_count;
    slip_sampling_defaults sampling;     /* for requests and options that do not say */
    char chat_template[SLIP_SHA256_HEX]; /* SHA-256 of its text; "" where no record of one is kept */
    bool has_draft;
    slip_draft_shape draft;
} slip_model;

/* The attention geometry of a target layer. */
static inline const slip_attention *slip_model_attention(const slip_model *model, int32_t layer)
{
    return model->is_sliding[layer] ? &model->sliding : &model->global;
}

#endif
