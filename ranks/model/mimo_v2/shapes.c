/* The two published backbones as data, for planning and benchmarks without a checkpoint. Sources: the config.json files of
 * XiaomiMiMo/MiMo-V2-Flash and MiMo-V2.5-Pro and of their dflash/ folders. */
#include <string.h>

#include "ranks/plan.h"

static void set_layers(slip_model *model, const int32_t *global, int32_t globals)
{
    for (int32_t layer = 0; layer < model->layers; layer++) {
        model->is_sliding[layer] = true;
        model->is_moe[layer] = layer > 0;
    }
    for (int32_t i = 0; i < globals; i++)
        model->is_sliding[global[i]] = false;
}

static void set_draft(slip_model *model, const int32_t *taps)
{
    slip_draft_shape *draft = &model->draft;
    model->has_draft = true;
    *draft = (slip_draft_shape){
        .block = 8, .layers = 5, .intermediate = 16384, .taps = 5, .mask_token = 151675, .mask_embedding = true,
        .norm_epsilon = 1e-5f, .value_scale = 0.612f,
        .attention = {.heads = model->global.heads, .kv_heads = 8, .head_dim = 128, .v_head_dim = 128, .rotary_dim = 64,
                      .window = 1024, .rope_theta = 5e6, .sinks = true},
    };
    memcpy(draft->tap_layer, taps, 5 * sizeof *taps);
}

static void set_common(slip_model *model)
{
    model->vocabulary = 152576;
    model->norm_epsilon = 1e-5f;
    model->dense_intermediate = 16384;
    model->moe_intermediate = 2048;
    model->top_k = 8;
    model->norm_top_k = true;
    model->routed_scale = 1;
    model->max_positions = 1048576;
    model->eos[0] = 151645;
    model->eos_count = 1;
}

void slip_shape_flash(slip_model *model)
{
    static const int32_t global[] = {0, 5, 11, 17, 23, 29, 35, 41, 47}, taps[] = {0, 11, 23, 35, 47};
    *model = (slip_model){.name = "mimo_v2_flash", .hidden = 4096, .layers = 48, .experts = 256, .value_scale = 0.707f};
    set_common(model);
    model->max_positions = 262144;
    model->global = (slip_attention){.heads = 64, .kv_heads = 4, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64,
                                     .rope_theta = 5e6};
    model->sliding = (slip_attention){.heads = 64, .kv_heads = 8, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64,
                                      .window = 128, .rope_theta = 1e4, .sinks = true};
    set_layers(model, global, sizeof global / sizeof *global);
    set_draft(model, taps);
}

void slip_shape_pro(slip_model *model)
{
    static const int32_t global[] = {0, 7, 15, 23, 31, 39, 47, 55, 62, 69}, taps[] = {0, 15, 31, 47, 69};
    *model = (slip_model){.name = "mimo_v2", .hidden = 6144, .layers = 70, .experts = 384, .value_scale = 0.612f};
    set_common(model);
    model->global = (slip_attention){.heads = 128, .kv_heads = 8, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64,
                                     .rope_theta = 1e7};
    model->sliding = (slip_attention){.heads = 128, .kv_heads = 8, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64,
                                      .window = 128, .rope_theta = 1e4, .sinks = true};
    model->qkv_chunks = 8;
    set_layers(model, global, sizeof global / sizeof *global);
    set_draft(model, taps);
}

void slip_shape_cut(slip_model *model, int32_t layers)
{
    model->layers = layers;
    for (int32_t i = 0; i < model->draft.taps; i++)
        if (model->draft.tap_layer[i] >= layers)
            model->draft.tap_layer[i] = layers - 1;
}

slip_dtype slip_shape_dtype(const slip_tensor *tensor, const char *dataset)
{
    static const char *const narrow[] = {"/qkv", "/q", "/k", "/v", "/gate", "/up", "/down"};
    if (tensor->vector)
        return SLIP_F32;
    if (strncmp(dataset, "draft/", 6) == 0)
        return SLIP_BF16;
    if (strstr(dataset, "/experts/"))
        return SLIP_MXFP4;
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        if (strcmp(strrchr(dataset, '/'), narrow[i]) == 0)
            return SLIP_F8E4M3;
    return SLIP_BF16;
}
