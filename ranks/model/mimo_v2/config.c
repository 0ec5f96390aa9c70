/* config.json of a MiMo-V2 model, in Xiaomi's and in transformers' dialect -> slip_model.
 *
 * The dialect is transformers' where `layer_types` is given (its save_pretrained always writes it), else Xiaomi's.
 *
 *                  Xiaomi (mimo_v2, mimo_v2_flash)            transformers (mimo_v2_flash)
 *   layer kinds    hybrid_layer_pattern, 1 = sliding;         layer_types
 *                  absent = all global
 *   experts        moe_layer_freq, 1 = MoE                    mlp_layer_types, "sparse" = MoE
 *   window: keys   sliding_window, else                       sliding_window_size + 1 where given, else
 *   a query sees   sliding_window_size + 1; where both are    sliding_window: key > query - sliding_window;
 *                  given, they are equal                      where both are given, they differ by that 1 or not at all
 *   sliding heads  swa_*, each falling back to the global     as global layers, with twice the KV heads
 *   RoPE           rope_theta, swa_rope_theta,                rope_parameters.{full,sliding}_attention
 *                  partial_rotary_factor, or in rope_parameters
 *   sinks          add_swa_attention_sink_bias,               sliding layers
 *                  add_full_attention_sink_bias
 *   fused qkv      attention_projection_layout "fused_qkv":   never
 *                  num_key_value_heads chunks in every layer,
 *                  unless the folder's index says another tp_size
 *
 * int(head_dim * partial_rotary_factor) dimensions are rotated, truncated as Python does; an odd result is refused, for the dialects' code
 * would rotate it differently. A setting given in two places must be the same in both, members of the other dialect among them. What would
 * change the result and is not implemented is refused by name, and so is what is not known (ranks/model/config/known.h).
 *
 * Sources disagree about sliding_window_size: SGLang and transformers count the keys before the query, vLLM and Xiaomi's own code count
 * the query too, which is what sliding_window says in both dialects. `convert --window` says it for good.
 */
#include <stdio.h>
#include <string.h>

#include "ranks/model/config/known.h"
#include "ranks/model/config/limits.h"
#include "ranks/model/config/rope.h"
#include "ranks/model/config/settings.h"
#include "ranks/model/mimo_v2/mimo_v2.h"

/* Where no member says it. */
static const double xiaomi_rotary_factor = 1.0, transformers_rotary_factor = 0.334;

/* Every member that this file reads. */
static const char *const members[] = {
    "add_full_attention_sink_bias",
    "add_swa_attention_sink_bias",
    "attention_bias",
    "attention_projection_layout",
    "attention_value_scale",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "hybrid_layer_pattern",
    "intermediate_size",
    "layer_types",
    "layernorm_epsilon",
    "max_position_embeddings",
    "mlp_layer_types",
    "model_type",
    "moe_intermediate_size",
    "moe_layer_freq",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "norm_topk_prob",
    "num_attention_heads",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "partial_rotary_factor",
    "quantization_config",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "routed_scaling_factor",
    "scoring_func",
    "sliding_window",
    "sliding_window_size",
    "swa_head_dim",
    "swa_num_attention_heads",
    "swa_num_key_value_heads",
    "swa_rope_theta",
    "swa_v_head_dim",
    "tie_word_embeddings",
    "topk_group",
    "topk_method",
    "v_head_dim",
    "vocab_size",
    NULL,
};

/* The weights' own types say which layers are quantised, and how they are stored. */
static const char *const quantisation_members[] = {
    "activation_scheme", "fmt", "ignored_layers", "modules_to_not_convert", "mxfp4_block_size", "quant_method", "store_dtype",
    "weight_block_size", NULL,
};

/* ---- what both dialects share ---- */

/* The weights' own types decide how they are read; here only what we could not read rightly is refused. */
static void check_quantisation(const slip_fields *fields)
{
    slip_fields config = slip_field_object(fields, "quantization_config", "quantization_config.");
    slip_field_require_string(&config, "quant_method", "fp8");
    slip_field_require_string(&config, "fmt", "e4m3");
    slip_field_require_string(&config, "activation_scheme", "dynamic");
    slip_field_refuse_unknown(&config, quantisation_members);
    if (slip_field_given(&config, "weight_block_size")) {
        const json_t *block = slip_field_list(&config, "weight_block_size", 2, 2);
        slip_field_require(&config, "weight_block_size",
                           json_integer_value(json_array_get(block, 0)) == SLIP_F8_BLOCK &&
                               json_integer_value(json_array_get(block, 1)) == SLIP_F8_BLOCK,
                           "only blocks of 128 x 128 are supported");
    }
    slip_field_require(&config, "mxfp4_block_size",
                       slip_field_int_or(&config, "mxfp4_block_size", 1, 1 << 20, SLIP_MXFP4_BLOCK) == SLIP_MXFP4_BLOCK,
                       "MXFP4 has blocks of 32");
}

static void refuse_unsupported(const slip_fields *fields)
{
    slip_field_require(fields, "attention_bias", !slip_field_bool_or(fields, "attention_bias", false),
                       "biases of the attention projections are not supported");
    slip_field_require(fields, "tie_word_embeddings", !slip_field_bool_or(fields, "tie_word_embeddings", false),
                       "only an untied head is supported");
    slip_field_require_string(fields, "hidden_act", "silu");
    slip_field_require_string(fields, "scoring_func", "sigmoid");
    slip_field_require_string(fields, "topk_method", "noaux_tc");
    slip_field_require(fields, "n_group", slip_field_int_or(fields, "n_group", 1, 1 << 20, 1) == 1,
                       "group-limited routing is not supported");
    slip_field_require(fields, "topk_group", slip_field_int_or(fields, "topk_group", 1, 1 << 20, 1) == 1,
                       "group-limited routing is not supported");
    slip_field_require(fields, "n_shared_experts", slip_field_int_or(fields, "n_shared_experts", 0, 1 << 20, 0) == 0,
                       "shared experts are not supported");
    check_quantisation(fields);
}

static void read_sizes(const slip_fields *fields, slip_model *model)
{
    model->hidden = slip_field_int(fields, "hidden_size", 1, SLIP_MAX_WIDTH);
    model->layers = slip_field_int(fields, "num_hidden_layers", 1, SLIP_MAX_LAYERS);
    model->vocabulary = slip_field_int(fields, "vocab_size", 1, SLIP_MAX_VOCABULARY);
    model->max_positions = slip_field_int(fields, "max_position_embeddings", 1, SLIP_MAX_POSITIONS);
    const char *epsilon = slip_field_given(fields, "layernorm_epsilon") ? "layernorm_epsilon" : "rms_norm_eps";
    model->norm_epsilon = (float)slip_field_number(fields, epsilon, 1e-12, 0.1);
    slip_field_refuse_other(fields, "rms_norm_eps", fields, "layernorm_epsilon");
    model->value_scale = (float)slip_field_number_or(fields, "attention_value_scale", 1e-6, 1e6, 1.0);
    model->global.heads = slip_field_int(fields, "num_attention_heads", 1, SLIP_MAX_HEADS);
    model->global.kv_heads = slip_field_int(fields, "num_key_value_heads", 1, SLIP_MAX_HEADS / 2);
    model->global.head_dim = slip_field_int(fields, "head_dim", 1, SLIP_MAX_HEAD_DIM);
    model->global.v_head_dim = slip_field_int_or(fields, "v_head_dim", 1, SLIP_MAX_HEAD_DIM, model->global.head_dim);
}

static void read_mlp(const slip_fields *fields, slip_model *model)
{
    bool dense = false, moe = false;
    for (int32_t layer = 0; layer < model->layers; layer++)
        *(model->is_moe[layer] ? &moe : &dense) = true;
    if (dense)
        model->dense_intermediate = slip_field_int(fields, "intermediate_size", 1, SLIP_MAX_WIDTH);
    if (!moe)
        return;
    model->moe_intermediate = slip_field_int(fields, "moe_intermediate_size", 1, SLIP_MAX_WIDTH);
    model->experts = slip_field_int(fields, "n_routed_experts", 1, SLIP_MAX_EXPERTS);
    int32_t most = model->experts < SLIP_MAX_TOP_K ? model->experts : SLIP_MAX_TOP_K;
    model->top_k = slip_field_int(fields, "num_experts_per_tok", 1, most);
    model->norm_top_k = slip_field_bool_or(fields, "norm_topk_prob", true);
    model->routed_scale = (float)slip_field_number_or(fields, "routed_scaling_factor", 1e-6, 1e6, 1.0);
}

static bool any_layer(const slip_model *model, bool is_sliding)
{
    for (int32_t layer = 0; layer < model->layers; layer++)
        if (model->is_sliding[layer] == is_sliding)
            return true;
    return false;
}

/* ---- RoPE ---- */

/* The product and its truncation are Python's. */
static void set_rotary(const slip_rope_place *place, double factor, slip_attention *attention)
{
    attention->rotary_dim = (int32_t)((double)attention->head_dim * factor);
    if (attention->rotary_dim < 2 || attention->rotary_dim % 2 != 0) {
        char problem[112];
        snprintf(problem, sizeof problem, "%d rotated dimensions of a head of %d; an even number is needed", attention->rotary_dim,
                 attention->head_dim);
        slip_field_refuse(&place->fields, place->name, problem);
    }
}

/* One kind of layers: its part of rope_parameters, what rope_parameters says of all, and the top level. */
static void read_rotary(const slip_fields *top, const slip_fields *rope, const slip_fields *part, double fallback,
                        slip_attention *attention)
{
    static const char name[] = "partial_rotary_factor";
    const slip_rope_place places[] = {{*part, name}, {*rope, name}, {*top, name}};
    double factor = fallback;
    const slip_rope_place *place = slip_rope_number(places, 3, 0.0, 1.0, &factor);
    set_rotary(place != NULL ? place : &places[2], factor, attention);
}

typedef struct {
    slip_fields all, full, sliding;
} rope_parameters;

static rope_parameters open_rope(const slip_fields *fields)
{
    rope_parameters rope = {.all = slip_field_object(fields, "rope_parameters", "rope_parameters.")};
    slip_fields scaling = slip_field_object(fields, "rope_scaling", "rope_scaling.");
    rope.full = slip_field_object(&rope.all, "full_attention", "rope_parameters.full_attention.");
    rope.sliding = slip_field_object(&rope.all, "sliding_attention", "rope_parameters.sliding_attention.");
    slip_rope_check(&rope.all, true);
    slip_rope_check(&scaling, false);
    return rope;
}

/* ---- Xiaomi's dialect ---- */

/* What says a second time which layers have experts. */
static void check_experts(const slip_fields *fields, const slip_model *model)
{
    bool flags[SLIP_MAX_LAYERS] = {false}, names[SLIP_MAX_LAYERS] = {false};
    if (slip_field_given(fields, "moe_layer_freq")) {
        slip_field_flags(fields, "moe_layer_freq", model->layers, flags);
        bool same = memcmp(flags, model->is_moe, sizeof flags) == 0;
        slip_field_require(fields, "moe_layer_freq", same, "it contradicts mlp_layer_types, or n_routed_experts, which is not given");
    }
    if (slip_field_given(fields, "mlp_layer_types")) {
        slip_field_names(fields, "mlp_layer_types", "dense", "sparse", model->layers, names);
        slip_field_require(fields, "mlp_layer_types", memcmp(names, model->is_moe, sizeof names) == 0, "it contradicts moe_layer_freq");
    }
}

static void read_xiaomi_layers(const slip_fields *fields, slip_model *model)
{
    /* Absent means all global in the reference, not the published pattern. */
    if (slip_field_given(fields, "hybrid_layer_pattern"))
        slip_field_flags(fields, "hybrid_layer_pattern", model->layers, model->is_sliding);
    if (slip_field_given(fields, "n_routed_experts"))
        slip_field_flags(fields, "moe_layer_freq", model->layers, model->is_moe);
    check_experts(fields, model);
}

static int32_t xiaomi_window(const slip_fields *fields)
{
    if (!slip_field_given(fields, "sliding_window"))
        return slip_field_int(fields, "sliding_window_size", 1, SLIP_MAX_POSITIONS - 1) + 1;
    int32_t window = slip_field_int(fields, "sliding_window", 1, SLIP_MAX_POSITIONS);
    slip_field_refuse_other(fields, "sliding_window_size", fields, "sliding_window");
    return window;
}

static void read_xiaomi_rope(const slip_fields *fields, slip_model *model)
{
    rope_parameters rope = open_rope(fields);
    slip_fields scaling = slip_field_object(fields, "rope_scaling", "rope_scaling.");
    const slip_rope_place global[] = {
        {*fields, "rope_theta"}, {rope.all, "rope_theta"}, {rope.full, "rope_theta"}, {scaling, "rope_theta"}};
    const slip_rope_place sliding[] = {{*fields, "swa_rope_theta"}, {rope.sliding, "rope_theta"}};
    model->global.rope_theta = slip_rope_base(global, 4, 0);
    model->sliding.rope_theta = slip_rope_base(sliding, 2, model->global.rope_theta);
    read_rotary(fields, &rope.all, &rope.full, xiaomi_rotary_factor, &model->global);
    read_rotary(fields, &rope.all, &rope.sliding, xiaomi_rotary_factor, &model->sliding);
}

static void read_xiaomi_attention(const slip_fields *fields, slip_model *model)
{
    slip_attention *global = &model->global, *sliding = &model->sliding;
    sliding->heads = slip_field_int_or(fields, "swa_num_attention_heads", 1, SLIP_MAX_HEADS, global->heads);
    sliding->kv_heads = slip_field_int_or(fields, "swa_num_key_value_heads", 1, SLIP_MAX_HEADS, global->kv_heads);
    sliding->head_dim = slip_field_int_or(fields, "swa_head_dim", 1, SLIP_MAX_HEAD_DIM, global->head_dim);
    sliding->v_head_dim = slip_field_int_or(fields, "swa_v_head_dim", 1, SLIP_MAX_HEAD_DIM, global->v_head_dim);
    read_xiaomi_rope(fields, model);
    global->sinks = slip_field_bool_or(fields, "add_full_attention_sink_bias", false);
    sliding->sinks = slip_field_bool_or(fields, "add_swa_attention_sink_bias", false);
    if (any_layer(model, true))
        sliding->window = xiaomi_window(fields);
}

static void read_xiaomi_layout(const slip_fields *fields, slip_model *model)
{
    const char *layout = slip_field_string(fields, "attention_projection_layout");
    if (layout == NULL || strcmp(layout, "split") == 0 || strcmp(layout, "split_qkv") == 0)
        return;
    slip_field_require_string(fields, "attention_projection_layout", "fused_qkv");
    model->qkv_chunks = model->global.kv_heads;
    slip_field_require(fields, "swa_num_key_value_heads", model->sliding.kv_heads % model->qkv_chunks == 0,
                       "fused_qkv needs a multiple of num_key_value_heads");
    slip_field_require(fields, "swa_num_attention_heads", model->sliding.heads % model->qkv_chunks == 0,
                       "fused_qkv needs a multiple of num_key_value_heads");
}

/* ---- transformers' dialect ---- */

static void read_transformers_layers(const slip_fields *fields, slip_model *model)
{
    slip_field_names(fields, "layer_types", "full_attention", "sliding_attention", model->layers, model->is_sliding);
    slip_field_names(fields, "mlp_layer_types", "dense", "sparse", model->layers, model->is_moe);
    check_experts(fields, model);
    if (!slip_field_given(fields, "hybrid_layer_pattern"))
        return;
    bool pattern[SLIP_MAX_LAYERS] = {false};
    slip_field_flags(fields, "hybrid_layer_pattern", model->layers, pattern);
    slip_field_require(fields, "hybrid_layer_pattern", memcmp(pattern, model->is_sliding, sizeof pattern) == 0,
                       "it contradicts layer_types");
}

/* A number of Xiaomi's dialect that transformers does not read, but for `taken` whatever it says. */
static void check_unread(const slip_fields *fields, const char *name, int32_t taken)
{
    char problem[96];
    snprintf(problem, sizeof problem, "with layer_types, %d is what sliding layers have", taken);
    slip_field_require(fields, name, slip_field_int_or(fields, name, 0, SLIP_MAX_POSITIONS, taken) == taken, problem);
}

/* A Xiaomi config saved again by transformers keeps its members beside those that transformers derived. */
static void check_xiaomi_attention(const slip_fields *fields, const slip_model *model)
{
    const slip_attention *sliding = &model->sliding;
    const char *layout = slip_field_string(fields, "attention_projection_layout");
    slip_field_require(fields, "attention_projection_layout", layout == NULL || strncmp(layout, "split", 5) == 0,
                       "with layer_types, q, k and v are split");
    slip_field_require(fields, "add_full_attention_sink_bias", !slip_field_bool_or(fields, "add_full_attention_sink_bias", false),
                       "with layer_types, full_attention layers have no sinks");
    if (!any_layer(model, true))
        return;
    slip_field_require(fields, "add_swa_attention_sink_bias", slip_field_bool_or(fields, "add_swa_attention_sink_bias", true),
                       "with layer_types, sliding_attention layers have sinks");
    check_unread(fields, "swa_num_attention_heads", sliding->heads);
    check_unread(fields, "swa_num_key_value_heads", sliding->kv_heads);
    check_unread(fields, "swa_head_dim", sliding->head_dim);
    check_unread(fields, "swa_v_head_dim", sliding->v_head_dim);
}

static int32_t transformers_window(const slip_fields *fields)
{
    if (!slip_field_given(fields, "sliding_window_size"))
        return slip_field_int(fields, "sliding_window", 1, SLIP_MAX_POSITIONS);
    int32_t size = slip_field_int(fields, "sliding_window_size", 0, SLIP_MAX_POSITIONS - 1);
    if (slip_field_int_or(fields, "sliding_window", 1, SLIP_MAX_POSITIONS, size + 1) != size + 1)
        slip_field_refuse_other(fields, "sliding_window", fields, "sliding_window_size");
    return size + 1;
}

static void read_transformers_attention(const slip_fields *fields, slip_model *model)
{
    slip_attention *global = &model->global, *sliding = &model->sliding;
    rope_parameters rope = open_rope(fields);
    const slip_rope_place global_base[] = {{rope.full, "rope_theta"}, {rope.all, "rope_theta"}, {*fields, "rope_theta"}};
    const slip_rope_place sliding_base[] = {{rope.sliding, "rope_theta"}, {*fields, "swa_rope_theta"}};
    *sliding = *global;
    sliding->kv_heads = 2 * global->kv_heads;
    sliding->sinks = true;
    if (any_layer(model, true)) {
        sliding->rope_theta = slip_rope_base(sliding_base, 2, 0);
        read_rotary(fields, &rope.all, &rope.sliding, transformers_rotary_factor, sliding);
        sliding->window = transformers_window(fields);
    }
    if (any_layer(model, false)) {
        global->rope_theta = slip_rope_base(global_base, 3, 0);
        read_rotary(fields, &rope.all, &rope.full, transformers_rotary_factor, global);
    }
    check_xiaomi_attention(fields, model);
}

/* ---- both ---- */

static void check_heads(const slip_fields *fields, const char *kind, const slip_attention *attention)
{
    if (attention->heads % attention->kv_heads == 0)
        return;
    char problem[96];
    snprintf(problem, sizeof problem, "%d query heads of the %s layers are no multiple of their %d KV heads", attention->heads, kind,
             attention->kv_heads);
    slip_field_refuse(fields, "num_attention_heads", problem);
}

void slip_mimo_v2_parse(const slip_fields *fields, slip_model *model)
{
    bool transformers = slip_field_given(fields, "layer_types");
    refuse_unsupported(fields);
    slip_field_refuse_unknown(fields, members);
    read_sizes(fields, model);
    slip_settings_add_eos(fields, "eos_token_id", model);
    if (transformers) {
        read_transformers_layers(fields, model);
        read_transformers_attention(fields, model);
    } else {
        read_xiaomi_layers(fields, model);
        read_xiaomi_attention(fields, model);
        read_xiaomi_layout(fields, model);
    }
    read_mlp(fields, model);
    if (any_layer(model, false))
        check_heads(fields, "global", &model->global);
    if (any_layer(model, true))
        check_heads(fields, "sliding", &model->sliding);
}
