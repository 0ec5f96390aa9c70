#include "jobs/convert/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *weight; /* what follows "target/", "draft/" or "layers/N/" */
    const char *source; /* %lld is the expert */
} name_row;

static const name_row layer_names[] = {
    {"attn_norm", "input_layernorm.weight"},
    {"mlp_norm", "post_attention_layernorm.weight"},
    {"q", "self_attn.q_proj.weight"},
    {"k", "self_attn.k_proj.weight"},
    {"v", "self_attn.v_proj.weight"},
    {"qkv", "self_attn.qkv_proj.weight"},
    {"o", "self_attn.o_proj.weight"},
    {"q_norm", "self_attn.q_norm.weight"},
    {"k_norm", "self_attn.k_norm.weight"},
    {"sinks", "self_attn.attention_sink_bias"},
    {"gate", "mlp.gate_proj.weight"},
    {"up", "mlp.up_proj.weight"},
    {"down", "mlp.down_proj.weight"},
    {"router", "mlp.gate.weight"},
    {"router_bias", "mlp.gate.e_score_correction_bias"},
    {"experts/gate", "gate_proj.weight"},
    {"experts/up", "up_proj.weight"},
    {"experts/down", "down_proj.weight"},
};

static const name_row top_names[] = {
    {"target/embed", "model.embed_tokens.weight"}, {"target/head", "lm_head.weight"},
    {"target/norm", "model.norm.weight"},          {"draft/fc", "fc.weight"},
    {"draft/hidden_norm", "hidden_norm.weight"},   {"draft/norm", "norm.weight"},
    {"draft/mask_embedding", "mask_embedding"},
};

static const char *lookup(const name_row *rows, size_t count, const char *weight)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].weight, weight) == 0)
            return rows[i].source;
    return weight;
}

slip_status slip_convert_source_open(const char *path, bool draft, slip_convert_source *source)
{
    slip_convert_source opened = {.path = path, .draft = draft, .prefix = ""};
    slip_status status = slip_safetensors_open(path, &opened.folder);
    if (status != SLIP_OK)
        return status;
    opened.used = calloc(slip_safetensors_count(opened.folder) + 1, sizeof *opened.used);
    if (opened.used == NULL) {
        slip_safetensors_close(opened.folder);
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for its list of tensors", path);
    }
    if (draft && slip_safetensors_find(opened.folder, "model.fc.weight") != NULL)
        opened.prefix = "model.";
    *source = opened;
    return SLIP_OK;
}

void slip_convert_source_close(slip_convert_source *source)
{
    slip_safetensors_close(source->folder);
    free(source->used);
    memset(source, 0, sizeof *source);
}

void slip_convert_source_name(const slip_convert_source *source, const char *weight, int64_t expert,
                              const char *suffix, char name[SLIP_SOURCE_NAME])
{
    int layer = 0, tail = 0;
    if (sscanf(weight, "%*[a-z]/layers/%d/%n", &layer, &tail) != 1 || tail == 0) {
        const char *top = lookup(top_names, sizeof top_names / sizeof *top_names, weight);
        snprintf(name, SLIP_SOURCE_NAME, "%s%s%s", source->prefix, top, suffix);
        return;
    }
    const char *part = lookup(layer_names, sizeof layer_names / sizeof *layer_names, weight + tail);
    const char *stem = source->draft ? source->prefix : "model.";
    if (strncmp(weight + tail, "experts/", 8) == 0)
        snprintf(name, SLIP_SOURCE_NAME, "%slayers.%d.mlp.experts.%lld.%s%s", stem, layer, (long long)expert,
                 part, suffix);
    else
        snprintf(name, SLIP_SOURCE_NAME, "%slayers.%d.%s%s", stem, layer, part, suffix);
}

const slip_st_tensor *slip_convert_source_take(slip_convert_source *source, const char *name)
{
    const slip_st_tensor *tensor = slip_safetensors_find(source->folder, name);
    if (tensor != NULL)
        source->used[tensor - slip_safetensors_at(source->folder, 0)] = true;
    return tensor;
}

static bool starts(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Everything of a drafter is the model's; of a target, what the decoder and the head are made of. Precomputed
 * RoPE frequencies, which old checkpoints carry, are not weights. */
static bool belongs(const slip_convert_source *source, const char *name)
{
    size_t length = strlen(name);
    if (length >= 9 && strcmp(name + length - 9, ".inv_freq") == 0)
        return false;
    return source->draft || starts(name, "model.layers.") || starts(name, "model.embed_tokens.") ||
           starts(name, "model.norm.") || starts(name, "lm_head.");
}

slip_status slip_convert_source_check(const slip_convert_source *source, size_t *skipped)
{
    size_t left = 0;
    for (size_t i = 0; i < slip_safetensors_count(source->folder); i++) {
        const slip_st_tensor *tensor = slip_safetensors_at(source->folder, i);
        if (source->used[i])
            continue;
        if (belongs(source, tensor->name))
            return slip_fail(SLIP_ERR_INPUT, "%s: tensor %s is not one that the config asks for",
                             slip_safetensors_path(source->folder, tensor), tensor->name);
        left++;
    }
    *skipped = left;
    return SLIP_OK;
}
