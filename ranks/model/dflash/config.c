/* The config.json of a DFlash drafter: parsed, and checked against its target's. */
#include "ranks/model/dflash/dflash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/config/field.h"
#include "ranks/model/config/known.h"
#include "ranks/model/config/limits.h"
#include "ranks/model/config/rope.h"

/* Every member that this file reads, at the top and in dflash_config; those of the second list say nothing of our program. */
static const char *const members[] = {
    "attention_bias",
    "attention_sink_bias",
    "attention_value_scale",
    "backbone_rotary_base",
    "block_size",
    "causal",
    "dflash_config",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "is_causal",
    "layer_types",
    "markov",
    "mask_token_id",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "partial_rotary_factor",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "swa_window_size",
    "target_layer_ids",
    "use_swa",
    "v_head_dim",
    "vocab_size",
    /* the target's, or what qwen3 would need them for */
    "eos_token_id",
    "max_position_embeddings",
    "max_window_layers",
    "model_type",
    "num_target_layers",
    "tie_word_embeddings",
    "use_sliding_window",
    NULL,
};

/* Blank every comma with only white space between it and a closing bracket. Strings are left alone. */
static void strip_trailing_commas(char *json, size_t size)
{
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        if (in_string && json[i] == '\\')
            i++;
        else if (json[i] == '"')
            in_string = !in_string;
        else if (!in_string && json[i] == ',') {
            size_t next = i + 1;
            while (next < size && strchr(" \t\r\n", json[next]) != NULL && json[next] != '\0')
                next++;
            if (next < size && (json[next] == '}' || json[next] == ']'))
                json[i] = ' ';
            i = next - 1;
        }
    }
}

/* dflash_config's member where it has one, else the top level's; where both have it, they agree. */
static const slip_fields *where(const slip_fields *dflash, const slip_fields *top, const char *name)
{
    slip_field_refuse_other(dflash, name, top, name);
    return slip_field_given(dflash, name) ? dflash : top;
}

static void read_taps(const slip_fields *fields, const slip_model *model, slip_draft_shape *draft)
{
    const json_t *list = slip_field_list(fields, "target_layer_ids", 1, SLIP_MAX_TAPS);
    int64_t previous = -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        int64_t layer = json_integer_value(value);
        if (!json_is_integer(value) || layer <= previous || layer >= model->layers) {
            slip_field_refuse(fields, "target_layer_ids", "its entries must be layers of the target, ascending");
            return;
        }
        draft->tap_layer[draft->taps++] = (int32_t)layer;
        previous = layer;
    }
}

static void read_heads(const slip_fields *fields, slip_attention *attention)
{
    attention->heads = slip_field_int(fields, "num_attention_heads", 1, SLIP_MAX_HEADS);
    attention->kv_heads = slip_field_int(fields, "num_key_value_heads", 1, SLIP_MAX_HEADS);
    if (attention->heads % attention->kv_heads != 0)
        slip_field_refuse(fields, "num_attention_heads", "it is no multiple of num_key_value_heads");
    attention->head_dim = slip_field_int(fields, "head_dim", 1, SLIP_MAX_HEAD_DIM);
    attention->v_head_dim = slip_field_int_or(fields, "v_head_dim", 1, SLIP_MAX_HEAD_DIM, attention->head_dim);
}

static void read_rotary(const slip_fields *dflash, const slip_fields *rope, const slip_fields *top, slip_attention *attention)
{
    static const char name[] = "partial_rotary_factor";
    const slip_rope_place places[] = {{*top, name}, {*rope, name}, {*dflash, name}};
    double factor = 1.0;
    const slip_rope_place *place = slip_rope_number(places, 3, 0.0, 1.0, &factor);
    attention->rotary_dim = (int32_t)((double)attention->head_dim * factor);
    if (attention->rotary_dim < 2 || attention->rotary_dim % 2 != 0)
        slip_field_refuse(place != NULL ? &place->fields : top, name, "it does not give an even number of rotated dimensions");
}

/* Queries and keys must share a base, or their rotation would not be relative; the published rope_theta (1e4)
 * is not the one that the drafters were trained with. */
static void read_rope(const slip_fields *dflash, const slip_fields *top, slip_attention *attention)
{
    slip_fields rope = slip_field_object(top, "rope_parameters", "rope_parameters.");
    slip_fields scaling = slip_field_object(top, "rope_scaling", "rope_scaling.");
    const slip_rope_place bases[] = {{*top, "rope_theta"}, {rope, "rope_theta"}, {scaling, "rope_theta"}};
    const slip_fields *backbone = where(dflash, top, "backbone_rotary_base");
    slip_rope_check(&rope, false);
    slip_rope_check(&scaling, false);
    if (slip_rope_number(bases, 3, 1.0, 1e12, &attention->rope_theta) == NULL && !slip_field_given(backbone, "backbone_rotary_base"))
        attention->rope_theta = slip_field_number(top, "rope_theta", 1.0, 1e12);
    if (slip_field_given(backbone, "backbone_rotary_base"))
        attention->rope_theta = slip_field_number(backbone, "backbone_rotary_base", 1.0, 1e12);
    read_rotary(dflash, &rope, top, attention);
}

/* Every layer slides. Without use_swa, a layer list must say so. */
static void read_window(const slip_fields *dflash, const slip_fields *top, int32_t layers, slip_attention *attention)
{
    bool use_swa = slip_field_bool_or(where(dflash, top, "use_swa"), "use_swa", false);
    if (slip_field_given(top, "layer_types")) {
        const json_t *list = slip_field_list(top, "layer_types", (size_t)layers, (size_t)layers);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *kind = json_string_value(json_array_get(list, i));
            if (kind == NULL || strcmp(kind, "sliding_attention") != 0)
                slip_field_refuse(top, "layer_types", "only drafters of sliding_attention layers are supported");
        }
    } else if (!use_swa) {
        slip_field_refuse(where(dflash, top, "use_swa"), "use_swa", "only sliding-window drafters are supported");
    }
    const slip_fields *given = where(dflash, top, "swa_window_size");
    if (slip_field_given(given, "swa_window_size")) {
        attention->window = slip_field_int(given, "swa_window_size", 1, SLIP_MAX_POSITIONS);
        slip_field_refuse_other(given, "swa_window_size", top, "sliding_window");
    } else {
        attention->window = slip_field_int(where(dflash, top, "sliding_window"), "sliding_window", 1, SLIP_MAX_POSITIONS);
    }
    /* The block attends both ways: use_swa means so by itself, a layer list does only with is_causal or
     * causal false. */
    const char *causal = slip_field_given(dflash, "causal") ? "causal" : "is_causal";
    if (slip_field_bool_or(where(dflash, top, causal), causal, !use_swa))
        slip_field_refuse(where(dflash, top, causal), causal, "only drafters that are not causal are supported");
}

/* A size that drafter and target share. */
static void require_same(const slip_fields *top, const char *name, int32_t is, int32_t targets)
{
    char problem[64];
    snprintf(problem, sizeof problem, "it differs from the target's, which is %d", targets);
    slip_field_require(top, name, is == targets, problem);
}

/* The in-block head's rows are tokens of the target's vocabulary, of which drafts are made. */
static void read_markov(const slip_fields *dflash, const slip_fields *top, const slip_model *model, slip_draft_shape *draft)
{
    const slip_fields *given = where(dflash, top, "markov");
    const json_t *value = slip_field_given(given, "markov") ? json_object_get(given->object, "markov") : NULL;
    json_int_t rank = json_integer_value(value);
    char problem[64];
    snprintf(problem, sizeof problem, "it must be a multiple of %d from 0 to %d", SLIP_MARKOV_UNIT, SLIP_MAX_MARKOV);
    slip_field_require(given, "markov",
                       (value == NULL || json_is_integer(value)) && rank >= 0 && rank <= SLIP_MAX_MARKOV && rank % SLIP_MARKOV_UNIT == 0,
                       problem);
    draft->markov = *top->status == SLIP_OK ? (int32_t)rank : 0;
    if (draft->markov > 0)
        require_same(top, "vocab_size", draft->vocabulary, model->vocabulary);
}

static void read_draft(const slip_fields *top, const slip_model *model, slip_draft_shape *draft)
{
    slip_fields dflash = slip_field_object(top, "dflash_config", "dflash_config.");
    slip_field_refuse_unknown(top, members);
    slip_field_refuse_unknown(&dflash, members);
    require_same(top, "hidden_size", slip_field_int(top, "hidden_size", 1, SLIP_MAX_WIDTH), model->hidden);
    draft->vocabulary = slip_field_int_or(top, "vocab_size", 1, SLIP_MAX_VOCABULARY, model->vocabulary);
    if (slip_field_bool_or(top, "attention_bias", false))
        slip_field_refuse(top, "attention_bias", "biases of the attention projections are not supported");
    const char *activation = slip_field_string(top, "hidden_act");
    if (activation != NULL && strcmp(activation, "silu") != 0)
        slip_field_refuse(top, "hidden_act", "only silu is supported");
    draft->block = slip_field_int(where(&dflash, top, "block_size"), "block_size", 2, SLIP_MAX_BLOCK);
    draft->layers = slip_field_int(top, "num_hidden_layers", 1, SLIP_MAX_LAYERS);
    draft->intermediate = slip_field_int(top, "intermediate_size", 1, SLIP_MAX_WIDTH);
    draft->norm_epsilon = (float)slip_field_number(top, "rms_norm_eps", 1e-12, 0.1);
    draft->value_scale = (float)slip_field_number_or(where(&dflash, top, "attention_value_scale"), "attention_value_scale", 1e-6, 1e6, 1.0);
    draft->mask_token = slip_field_int(where(&dflash, top, "mask_token_id"), "mask_token_id", 0, model->vocabulary - 1);
    require_same(top, "num_target_layers", slip_field_int_or(top, "num_target_layers", 1, SLIP_MAX_LAYERS, model->layers), model->layers);
    read_taps(where(&dflash, top, "target_layer_ids"), model, draft);
    read_heads(top, &draft->attention);
    draft->attention.sinks = slip_field_bool_or(where(&dflash, top, "attention_sink_bias"), "attention_sink_bias", false);
    read_rope(&dflash, top, &draft->attention);
    read_window(&dflash, top, draft->layers, &draft->attention);
    read_markov(&dflash, top, model, draft);
}

slip_status slip_dflash_parse(const char *json, size_t size, const char *source, slip_model *model)
{
    char *text = malloc(size + 1);
    if (text == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for %zu bytes", source, size);
    memcpy(text, json, size);
    strip_trailing_commas(text, size);
    json_t *root;
    slip_status status = slip_config_json(text, size, source, &root);
    free(text);
    if (status != SLIP_OK)
        return status;
    slip_draft_shape parsed = {0};
    slip_fields fields = {root, source, "", &status};
    read_draft(&fields, model, &parsed);
    json_decref(root);
    if (status != SLIP_OK)
        return status;
    model->draft = parsed;
    model->has_draft = true;
    return SLIP_OK;
}
