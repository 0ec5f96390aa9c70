/* The two published backbones as data, for planning and benchmarks without a checkpoint. Sources: the config.json files of
 * XiaomiMiMo/MiMo-V2-Flash and MiMo-V2.5-Pro and of their dflash/ folders. */
#include <stdio.h>
#include <string.h>

#include "ranks/model/mimo_v2/mimo_v2.h"

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
        .block = 8,
        .layers = 5,
        .intermediate = 16384,
        .taps = 5,
        .mask_token = 151675,
        .mask_embedding = true,
        .norm_epsilon = 1e-5f,
        .value_scale = 0.612f,
        .attention = {.heads = model->global.heads,
                      .kv_heads = 8,
                      .head_dim = 128,
                      .v_head_dim = 128,
                      .rotary_dim = 64,
                      .window = 1024,
                      .rope_theta = 5e6,
                      .sinks = true},
    };
    memcpy(draft->tap_layer, taps, 5 * sizeof *taps);
}

static void set_common(slip_model *model, const char *name)
{
    snprintf(model->name, sizeof model->name, "%s", name);
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

static void make_flash(slip_model *model)
{
    static const int32_t global[] = {0, 5, 11, 17, 23, 29, 35, 41, 47}, taps[] = {0, 11, 23, 35, 47};
    set_common(model, "mimo_v2_flash");
    model->hidden = 4096;
    model->layers = 48;
    model->experts = 256;
    model->value_scale = 0.707f;
    model->max_positions = 262144;
    model->global = (slip_attention){.heads = 64, .kv_heads = 4, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64, .rope_theta = 5e6};
    model->sliding = (slip_attention){
        .heads = 64, .kv_heads = 8, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64, .window = 128, .rope_theta = 1e4, .sinks = true};
    set_layers(model, global, sizeof global / sizeof *global);
    set_draft(model, taps);
}

static void make_pro(slip_model *model)
{
    static const int32_t global[] = {0, 7, 15, 23, 31, 39, 47, 55, 62, 69}, taps[] = {0, 15, 31, 47, 69};
    set_common(model, "mimo_v2");
    model->hidden = 6144;
    model->layers = 70;
    model->experts = 384;
    model->value_scale = 0.612f;
    model->global = (slip_attention){.heads = 128, .kv_heads = 8, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64, .rope_theta = 1e7};
    model->sliding = (slip_attention){
        .heads = 128, .kv_heads = 8, .head_dim = 192, .v_head_dim = 128, .rotary_dim = 64, .window = 128, .rope_theta = 1e4, .sinks = true};
    model->qkv_chunks = 8;
    set_layers(model, global, sizeof global / sizeof *global);
    set_draft(model, taps);
}

const slip_shape slip_mimo_v2_shapes[] = {{"flash", make_flash}, {"pro", make_pro}, {NULL, NULL}};
