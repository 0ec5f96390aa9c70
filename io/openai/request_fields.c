#include "io/openai/request_fields.h"

#include <stdio.h>
#include <string.h>

#include "io/openai/request_names.h"

/* What is done with a field; the kinds from NEVER on say which value asks for nothing. */
typedef enum { SERVED, HARMLESS, ELSEWHERE, NEVER, FALSE, TRUE, EITHER, EMPTY, NUMBER, WORD, TEXT_LIST, TEXT_FORMAT } kind;

enum { CHAT = 1, TEXT = 2, BOTH = CHAT | TEXT };

typedef struct {
    const char *name;
    int urls;
    kind kind;
    double number;    /* NUMBER */
    const char *word; /* WORD; ELSEWHERE: what to say instead */
} field;

/* Sources: the types of OpenAI's Python client 3.57 (tests/golden/openai), the protocols of vLLM (2026-02) and SGLang (2026-07), and
 * the sampling options of llama.cpp's server and of text-generation-webui. */
#define SAMPLING(name, ...) {#name, BOTH, SERVED, 0, NULL},

static const field fields[] = {
    SLIP_SAMPLING_FIELDS(SAMPLING){"model", BOTH, SERVED, 0, NULL},
    {"messages", CHAT, SERVED, 0, NULL},
    {"prompt", TEXT, SERVED, 0, NULL},
    {"max_tokens", BOTH, SERVED, 0, NULL},
    {"max_completion_tokens", BOTH, SERVED, 0, NULL},
    {"seed", BOTH, SERVED, 0, NULL},
    {"stop", BOTH, SERVED, 0, NULL},
    {"n", BOTH, SERVED, 0, NULL},
    {"best_of", BOTH, SERVED, 0, NULL},
    {"echo", TEXT, SERVED, 0, NULL},
    {"return_token_ids", BOTH, SERVED, 0, NULL},
    {"logit_bias", BOTH, SERVED, 0, NULL},
    {"logprobs", BOTH, SERVED, 0, NULL},
    {"top_logprobs", CHAT, SERVED, 0, NULL},
    {"tools", CHAT, SERVED, 0, NULL},
    {"tool_choice", CHAT, SERVED, 0, NULL},
    {"parallel_tool_calls", CHAT, SERVED, 0, NULL},
    {"enable_thinking", CHAT, SERVED, 0, NULL},
    {"thinking", CHAT, SERVED, 0, NULL},
    {"reasoning_effort", CHAT, SERVED, 0, NULL},
    {"chat_template_kwargs", CHAT, SERVED, 0, NULL},
    {"add_generation_prompt", CHAT, SERVED, 0, NULL},
    {"continue_final_message", CHAT, SERVED, 0, NULL},
    {"skip_special_tokens", BOTH, SERVED, 0, NULL},

    {"user", BOTH, HARMLESS, 0, NULL},
    {"metadata", BOTH, HARMLESS, 0, NULL},
    {"store", BOTH, HARMLESS, 0, NULL},
    {"service_tier", BOTH, HARMLESS, 0, NULL},
    {"safety_identifier", BOTH, HARMLESS, 0, NULL},
    {"prompt_cache_key", BOTH, HARMLESS, 0, NULL},
    {"prompt_cache_options", BOTH, HARMLESS, 0, NULL},
    {"prompt_cache_retention", BOTH, HARMLESS, 0, NULL},
    {"prediction", CHAT, HARMLESS, 0, NULL}, /* a guess that makes an answer come sooner, not another one */
    {"request_id", BOTH, HARMLESS, 0, NULL},
    {"rid", BOTH, HARMLESS, 0, NULL},
    {"session_id", BOTH, HARMLESS, 0, NULL},
    {"cache_salt", BOTH, HARMLESS, 0, NULL},
    {"extra_key", BOTH, HARMLESS, 0, NULL},
    {"custom_labels", BOTH, HARMLESS, 0, NULL},
    {"priority", BOTH, HARMLESS, 0, NULL},
    {"cache_prompt", BOTH, HARMLESS, 0, NULL},

    {"stream", BOTH, FALSE, 0, NULL},
    {"stream_options", BOTH, NEVER, 0, NULL},
    {"prompt_logprobs", BOTH, NEVER, 0, NULL},
    {"return_tokens_as_token_ids", BOTH, FALSE, 0, NULL},
    {"return_hidden_states", BOTH, FALSE, 0, NULL},
    {"return_routed_experts", BOTH, FALSE, 0, NULL},
    {"return_cached_tokens_details", BOTH, FALSE, 0, NULL},
    {"return_prompt_token_ids", BOTH, FALSE, 0, NULL},
    {"return_meta_info", BOTH, FALSE, 0, NULL},
    {"repeat_penalty", BOTH, NUMBER, 1, NULL},
    {"length_penalty", BOTH, NUMBER, 1, NULL},
    {"no_repeat_ngram_size", BOTH, NUMBER, 0, NULL},
    {"typical_p", BOTH, NUMBER, 1, NULL},
    {"mirostat", BOTH, NUMBER, 0, NULL},
    {"mirostat_mode", BOTH, NUMBER, 0, NULL},
    {"dry_multiplier", BOTH, NUMBER, 0, NULL},
    {"xtc_probability", BOTH, NUMBER, 0, NULL},
    {"dynatemp_range", BOTH, NUMBER, 0, NULL},
    {"dynamic_temperature", BOTH, FALSE, 0, NULL},
    {"smoothing_factor", BOTH, NUMBER, 0, NULL},
    {"top_a", BOTH, NUMBER, 0, NULL},
    {"top_n_sigma", BOTH, NUMBER, -1, NULL},
    {"tfs", BOTH, NUMBER, 1, NULL},
    {"tfs_z", BOTH, NUMBER, 1, NULL},
    {"epsilon_cutoff", BOTH, NUMBER, 0, NULL},
    {"eta_cutoff", BOTH, NUMBER, 0, NULL},
    {"guidance_scale", BOTH, NUMBER, 1, NULL},
    {"samplers", BOTH, EMPTY, 0, NULL},
    {"temperature_last", BOTH, FALSE, 0, NULL},
    {"do_sample", BOTH, TRUE, 0, NULL},
    {"use_beam_search", BOTH, FALSE, 0, NULL},
    {"num_beams", BOTH, NUMBER, 1, NULL},
    {"min_tokens", BOTH, NUMBER, 0, NULL},
    {"min_new_tokens", BOTH, NUMBER, 0, NULL},
    {"ignore_eos", BOTH, FALSE, 0, NULL},
    {"stop_token_ids", BOTH, EMPTY, 0, NULL},
    {"stop_regex", BOTH, EMPTY, 0, NULL},
    {"include_stop_str_in_output", BOTH, FALSE, 0, NULL},
    {"no_stop_trim", BOTH, FALSE, 0, NULL},
    {"spaces_between_special_tokens", BOTH, EITHER, 0, NULL}, /* byte-level tokenizers put none anywhere */
    {"add_special_tokens", BOTH, EITHER, 0, NULL},            /* the family's tokenizers add none; tokenizers that would are not read */
    {"truncate_prompt_tokens", BOTH, NEVER, 0, NULL},
    {"bad_words", BOTH, EMPTY, 0, NULL},
    {"allowed_token_ids", BOTH, EMPTY, 0, NULL},
    {"n_probs", BOTH, NUMBER, 0, NULL},
    {"max_repetition_pattern_size", BOTH, NUMBER, 0, NULL},
    {"min_repetition_pattern_size", BOTH, NUMBER, 0, NULL},
    {"repetition_min_count", BOTH, NUMBER, 0, NULL},
    {"thinking_token_budget", BOTH, NEVER, 0, NULL},
    {"verbosity", BOTH, WORD, 0, "medium"},
    {"reasoning", BOTH, EMPTY, 0, NULL},
    {"reasoning_effort", TEXT, WORD, 0, "none"},
    {"include_reasoning", BOTH, TRUE, 0, NULL},
    {"separate_reasoning", BOTH, TRUE, 0, NULL},
    {"stream_reasoning", BOTH, EITHER, 0, NULL},

    {"response_format", BOTH, TEXT_FORMAT, 0, NULL},
    {"guided_json", BOTH, EMPTY, 0, NULL},
    {"guided_regex", BOTH, EMPTY, 0, NULL},
    {"guided_choice", BOTH, EMPTY, 0, NULL},
    {"guided_grammar", BOTH, EMPTY, 0, NULL},
    {"guided_decoding_backend", BOTH, EMPTY, 0, NULL},
    {"guided_whitespace_pattern", BOTH, EMPTY, 0, NULL},
    {"structural_tag", BOTH, EMPTY, 0, NULL},
    {"structured_outputs", BOTH, EMPTY, 0, NULL},
    {"json_schema", BOTH, EMPTY, 0, NULL},
    {"regex", BOTH, EMPTY, 0, NULL},
    {"ebnf", BOTH, EMPTY, 0, NULL},
    {"grammar", BOTH, EMPTY, 0, NULL},
    {"logits_processors", BOTH, EMPTY, 0, NULL},
    {"custom_logit_processor", BOTH, EMPTY, 0, NULL},
    {"custom_params", BOTH, EMPTY, 0, NULL},
    {"vllm_xargs", BOTH, EMPTY, 0, NULL},
    {"lora_path", BOTH, EMPTY, 0, NULL},
    {"session_params", BOTH, EMPTY, 0, NULL},
    {"kv_transfer_params", BOTH, EMPTY, 0, NULL},
    {"prompt_embeds", BOTH, EMPTY, 0, NULL},
    {"input_ids", BOTH, EMPTY, 0, NULL},
    {"suffix", TEXT, EMPTY, 0, NULL},
    {"echo", CHAT, FALSE, 0, NULL},
    {"functions", BOTH, EMPTY, 0, NULL},
    {"function_call", BOTH, WORD, 0, "none"},
    {"tools", TEXT, EMPTY, 0, NULL},
    {"tool_choice", TEXT, WORD, 0, "none"},
    {"parallel_tool_calls", TEXT, EITHER, 0, NULL},
    {"chat_template", CHAT, EMPTY, 0, NULL},
    {"documents", BOTH, EMPTY, 0, NULL},
    {"mm_processor_kwargs", BOTH, EMPTY, 0, NULL},
    {"images_config", BOTH, EMPTY, 0, NULL},
    {"modalities", BOTH, TEXT_LIST, 0, NULL},
    {"audio", BOTH, NEVER, 0, NULL},
    {"moderation", BOTH, NEVER, 0, NULL},
    {"web_search_options", BOTH, NEVER, 0, NULL},

    {"max_new_tokens", BOTH, ELSEWHERE, 0, "max_tokens"},
    {"max_length", BOTH, ELSEWHERE, 0, "max_tokens"},
    {"max_output_tokens", BOTH, ELSEWHERE, 0, "max_tokens"},
    {"n_predict", BOTH, ELSEWHERE, 0, "max_tokens"},
    {"num_predict", BOTH, ELSEWHERE, 0, "max_tokens"},
    {"stop_sequences", BOTH, ELSEWHERE, 0, "stop"},
    {"stop_strings", BOTH, ELSEWHERE, 0, "stop"},
    {"random_seed", BOTH, ELSEWHERE, 0, "seed"},
    {"system", BOTH, ELSEWHERE, 0, "a message of role system"},
    {"input", BOTH, ELSEWHERE, 0, "messages or prompt"},
    {"prompt", CHAT, ELSEWHERE, 0, "messages, or the url /v1/completions"},
    {"messages", TEXT, ELSEWHERE, 0, "prompt, or the url /v1/chat/completions"},
    {"enable_thinking", TEXT, ELSEWHERE, 0, "the url /v1/chat/completions: a completion has no template"},
    {"thinking", TEXT, ELSEWHERE, 0, "the url /v1/chat/completions: a completion has no template"},
    {"chat_template_kwargs", TEXT, ELSEWHERE, 0, "the url /v1/chat/completions: a completion has no template"},
};

static const field *find(const char *name, bool chat)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if ((fields[i].urls & (chat ? CHAT : TEXT)) != 0 && strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

slip_field slip_request_field(const char *name, bool chat)
{
    const field *found = find(name, chat);
    if (found == NULL)
        return SLIP_FIELD_UNKNOWN;
    return found->kind == SERVED ? SLIP_FIELD_SERVED : found->kind == HARMLESS ? SLIP_FIELD_HARMLESS : SLIP_FIELD_INERT;
}

static bool is_word(const json_t *value, const char *word)
{
    return json_is_string(value) && strcmp(json_string_value(value), word) == 0;
}

static bool is_empty(const json_t *value)
{
    return (json_is_string(value) && json_string_length(value) == 0) || (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* Does the value ask for nothing? *hint says which would. */
static bool is_inert(const field *row, const json_t *value, char hint[static 128])
{
    switch (row->kind) {
    case SERVED:
    case HARMLESS: return true;
    case FALSE: snprintf(hint, 128, "only false is served"); return json_is_false(value);
    case TRUE: snprintf(hint, 128, "only true is served"); return json_is_true(value);
    case EITHER: snprintf(hint, 128, "must be true or false"); return json_is_boolean(value);
    case EMPTY: snprintf(hint, 128, "only an empty value is served"); return is_empty(value);
    case WORD: snprintf(hint, 128, "only \"%s\" is served", row->word); return is_word(value, row->word);
    case NUMBER:
        snprintf(hint, 128, "only %g is served", row->number);
        return json_is_number(value) && json_number_value(value) == row->number;
    case TEXT_LIST:
        snprintf(hint, 128, "only [\"text\"] is served");
        return json_array_size(value) == 1 && is_word(json_array_get(value, 0), "text");
    case TEXT_FORMAT: snprintf(hint, 128, "only {\"type\": \"text\"} is served"); return is_word(json_object_get(value, "type"), "text");
    case ELSEWHERE: snprintf(hint, 128, "is not read here; use %s", row->word); return false;
    case NEVER: break;
    }
    snprintf(hint, 128, "it is not served");
    return false;
}

/* The served or known field that is spelt most nearly so, NULL where none is near. */
static const field *nearest(const char *name, int urls)
{
    const field *best = NULL;
    int least = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        int distance = (fields[i].urls & urls) != 0 ? slip_name_distance(name, fields[i].name) : -1;
        if (distance >= 0 && (best == NULL || distance < least)) {
            best = &fields[i];
            least = distance;
        }
    }
    return best;
}

const char *slip_request_misplaced(const char *name)
{
    const field *meant = nearest(name, BOTH);
    return meant != NULL && meant->kind != HARMLESS ? meant->name : NULL;
}

slip_status slip_request_check_field(slip_request *request, const char *name, const json_t *value)
{
    const field *found = find(name, request->chat);
    char hint[128];
    if (json_is_null(value) || (found != NULL && is_inert(found, value, hint)))
        return SLIP_OK;
    if (found != NULL)
        return slip_request_refuse(request, 400, "unsupported", name, "%s: %s", name, hint);
    const field *near = nearest(name, request->chat ? CHAT : TEXT);
    const char *meant = near != NULL ? near->name : NULL;
    return slip_request_refuse(request, 400, "unsupported", name, "\"%.80s\" is not a field that is known here%s%s%s", name,
                               meant != NULL ? "; did you mean \"" : "", meant != NULL ? meant : "", meant != NULL ? "\"?" : "");
}
