#include "ranks/model/config/known.h"

#include <string.h>

/* Members of published configs that no text depends on. */
static const char *const harmless[] = {
    /* who wrote it and with what */
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "torch_dtype",
    "transformers_version",
    /* training */
    "attention_dropout",
    "hidden_dropout",
    "initializer_range",
    "loss_decay_gamma",
    "num_anchors",
    "output_router_logits",
    "router_aux_loss_coef",
    "aux_loss_alpha",
    "seq_aux",
    /* how other programs run it */
    "use_cache",
    "ep_size",
    "moe_router_dtype",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "problem_type",
    "id2label",
    "label2id",
    /* chunks that no layer uses */
    "attention_chunk_size",
    /* tokens that the prompt's text brings along, or that only fill */
    "bos_token_id",
    "pad_token_id",
    "unk_token_id",
    /* multi-token prediction, vision and audio, whose tensors are left out */
    "num_nextn_predict_layers",
    "audio_config",
    "audio_token_id",
    "audio_start_token_id",
    "audio_end_token_id",
    "image_token_id",
    "processor_config",
    "video_token_id",
    "vision_config",
    "vision_start_token_id",
    "vision_end_token_id",
    "vision_model_type",
    "vision_token_id",
    NULL,
};

static bool is_among(const char *const *names, const char *name)
{
    for (; *names != NULL; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static bool asks_for_nothing(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return json_object_size(value) == 0;
    case JSON_ARRAY: return json_array_size(value) == 0;
    case JSON_STRING: return json_string_length(value) == 0;
    case JSON_INTEGER:
    case JSON_REAL: return json_number_value(value) == 0;
    case JSON_TRUE: return false;
    case JSON_FALSE:
    case JSON_NULL: return true;
    }
    return false;
}

void slip_field_refuse_unknown(const slip_fields *fields, const char *const *read)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)fields->object, name, value)
        if (!asks_for_nothing(value) && !is_among(read, name) && !is_among(harmless, name))
            slip_field_refuse(fields, name, "it is not known, and may change what the model says");
}
