#include "io/text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

#include "io/text/nfc.h"

typedef struct {
    const char *source;
    int32_t vocabulary;
} reader;

/* "<source>: <field> is <value>; <only>", the value cut to a readable length. */
static slip_status refuse(const reader *in, const char *field, const json_t *value, const char *only)
{
    char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    const char *shown = value == NULL ? "missing" : text != NULL ? text : "too large";
    slip_status status = slip_fail(SLIP_ERR_INPUT, "%s: %s is %.80s; %s", in->source, field, shown, only);
    free(text);
    return status;
}

static bool type_is(const json_t *part, const char *name)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type != NULL && strcmp(type, name) == 0;
}

/* Absent, null, false or empty: a feature that is off. */
static bool is_off(const json_t *value)
{
    return value == NULL || json_is_null(value) || json_is_false(value) || (json_is_string(value) && json_string_length(value) == 0);
}

/* ---- the pipeline around the model ---- */

static slip_status read_normalizer(const reader *in, const json_t *root, bool *nfc)
{
    const json_t *part = json_object_get(root, "normalizer");
    if (!is_off(part) && !type_is(part, "NFC"))
        return refuse(in, "normalizer", part, "only NFC or null is supported");
    *nfc = !is_off(part);
    return SLIP_OK;
}

/* ByteLevel beside a splitter of its own or not: `use_regex` is what it must say (true where it says nothing). */
static slip_status check_byte_level(const reader *in, const char *field, const json_t *part, bool use_regex)
{
    const json_t *regex = json_object_get(part, "use_regex");
    if (!type_is(part, "ByteLevel"))
        return refuse(in, field, part, "only ByteLevel is supported here");
    if (!json_is_false(json_object_get(part, "add_prefix_space")))
        return refuse(in, field, part, "only add_prefix_space = false is supported");
    if ((regex == NULL || json_is_true(regex)) != use_regex)
        return refuse(in, field, part,
                      use_regex ? "alone, only use_regex = true is supported" : "behind Split, only use_regex = false is supported");
    return SLIP_OK;
}

static slip_status read_split(const reader *in, const json_t *split, slip_splitter **splitter)
{
    static const char field[] = "pre_tokenizer.pretokenizers[0]";
    const json_t *expression = json_object_get(json_object_get(split, "pattern"), "Regex");
    const char *behavior = json_string_value(json_object_get(split, "behavior"));
    if (!type_is(split, "Split") || !json_is_string(expression))
        return refuse(in, field, split, "only Split by a Regex is supported here");
    if (behavior == NULL || strcmp(behavior, "Isolated") != 0 || !is_off(json_object_get(split, "invert")))
        return refuse(in, field, split, "only behavior = Isolated, not inverted, is supported");
    return slip_splitter_create(json_string_value(expression), in->source, "pre_tokenizer.pretokenizers[0].pattern.Regex", splitter);
}

static slip_status read_pre_tokenizer(const reader *in, const json_t *root, slip_splitter **splitter)
{
    const json_t *part = json_object_get(root, "pre_tokenizer");
    const json_t *steps = json_object_get(part, "pretokenizers");
    if (type_is(part, "ByteLevel")) {
        slip_status status = check_byte_level(in, "pre_tokenizer", part, true);
        return status != SLIP_OK ? status : slip_splitter_create(SLIP_SPLIT_GPT2, in->source, "pre_tokenizer", splitter);
    }
    if (!type_is(part, "Sequence") || json_array_size(steps) != 2)
        return refuse(in, "pre_tokenizer", part, "only ByteLevel or a Sequence of Split and ByteLevel is supported");
    slip_status status = check_byte_level(in, "pre_tokenizer.pretokenizers[1]", json_array_get(steps, 1), false);
    return status != SLIP_OK ? status : read_split(in, json_array_get(steps, 0), splitter);
}

/* Parts that change nothing, or would change what we do not. */
static slip_status check_the_rest(const reader *in, const json_t *root)
{
    const json_t *post = json_object_get(root, "post_processor"), *decoder = json_object_get(root, "decoder");
    if (!is_off(post) && !type_is(post, "ByteLevel"))
        return refuse(in, "post_processor", post, "only ByteLevel or null is supported");
    if (!type_is(decoder, "ByteLevel"))
        return refuse(in, "decoder", decoder, "only ByteLevel is supported");
    static const char *const off[] = {"truncation", "padding"};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (!is_off(json_object_get(root, off[i])))
            return refuse(in, off[i], json_object_get(root, off[i]), "only null is supported");
    return SLIP_OK;
}

/* ---- the vocabulary ---- */

/* An id that is an integer in [0, vocabulary). */
static slip_status read_id(const reader *in, const char *what, const char *name, const json_t *value, int32_t *id)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number >= in->vocabulary) {
        char field[200];
        snprintf(field, sizeof field, "the id of %s \"%.100s\"", what, name);
        char only[80];
        snprintf(only, sizeof only, "it must be an integer below the vocabulary size, %d", (int)in->vocabulary);
        return refuse(in, field, value, only);
    }
    *id = (int32_t)number;
    return SLIP_OK;
}

static slip_status check_added_token(const reader *in, const char *field, const json_t *token)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
    const char *content = json_string_value(json_object_get(token, "content"));
    if (content == NULL || content[0] == '\0')
        return refuse(in, field, token, "an added token needs a content");
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (!is_off(json_object_get(token, flags[i])))
            return refuse(in, field, token, "single_word, lstrip and rstrip are not supported");
    if (!json_is_boolean(json_object_get(token, "special")) || !json_is_boolean(json_object_get(token, "normalized")))
        return refuse(in, field, token, "special and normalized must be true or false");
    return SLIP_OK;
}

/* Room for the ids and bytes of `model_vocab` and `added`, every entry checked on the way. */
static slip_status size_vocab(const reader *in, json_t *model_vocab, const json_t *added, slip_vocab *vocab)
{
    const char *spelling;
    json_t *value, *token;
    size_t i, bytes = 0;
    int32_t id = 0, ids = 0;
    slip_status status;
    json_object_foreach (model_vocab, spelling, value) {
        if ((status = read_id(in, "token", spelling, value, &id)) != SLIP_OK)
            return status;
        ids = id >= ids ? id + 1 : ids;
        bytes += strlen(spelling);
    }
    json_array_foreach (added, i, token) {
        char field[40];
        snprintf(field, sizeof field, "added_tokens[%zu]", i);
        if ((status = check_added_token(in, field, token)) != SLIP_OK)
            return status;
        const json_t *content = json_object_get(token, "content");
        status = read_id(in, "added token", json_string_value(content), json_object_get(token, "id"), &id);
        if (status != SLIP_OK)
            return status;
        ids = id >= ids ? id + 1 : ids;
        bytes += json_string_length(content);
    }
    return slip_vocab_init(vocab, ids, json_object_size(model_vocab), bytes);
}

static slip_status fill_vocab(const reader *in, json_t *model_vocab, slip_vocab *vocab)
{
    const char *spelling;
    json_t *value;
    json_object_foreach (model_vocab, spelling, value) {
        int32_t id = (int32_t)json_integer_value(value);
        if (vocab->tokens[id].bytes != NULL)
            return slip_fail(SLIP_ERR_INPUT, "%s: model.vocab gives id %d twice, to \"%.100s\" too", in->source, (int)id, spelling);
        slip_vocab_add(vocab, id, spelling, strlen(spelling));
    }
    return SLIP_OK;
}

/* An added token that the model lists too must have its id; another must have an id of its own. */
static slip_status fill_added_token(const reader *in, json_t *model_vocab, const json_t *token, slip_tokenizer *tokenizer)
{
    const json_t *text = json_object_get(token, "content");
    const char *content = json_string_value(text);
    size_t size = json_string_length(text);
    int32_t id = (int32_t)json_integer_value(json_object_get(token, "id"));
    bool special = json_is_true(json_object_get(token, "special"));
    const json_t *listed = json_object_get(model_vocab, content);
    if (listed != NULL ? json_integer_value(listed) != id : tokenizer->vocab.tokens[id].bytes != NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: added_tokens gives \"%.100s\" the id %d, which %s", in->source, content, (int)id,
                         listed != NULL ? "is another in model.vocab" : "belongs to another token");
    slip_vocab_add_literal(&tokenizer->vocab, id, content, size, special);
    if (!json_is_true(json_object_get(token, "normalized")))
        return slip_added_put(&tokenizer->raw, content, size, id, special);

    char *normal = NULL;
    slip_status status = tokenizer->nfc ? slip_nfc(content, size, &normal, &size) : SLIP_OK;
    if (status == SLIP_OK)
        status = slip_added_put(&tokenizer->normalized, normal != NULL ? normal : content, size, id, special);
    free(normal);
    return status;
}

static slip_status read_vocab(const reader *in, const json_t *root, json_t *model_vocab, slip_tokenizer *tokenizer)
{
    const json_t *added = json_object_get(root, "added_tokens");
    if (!json_is_object(model_vocab) || json_object_size(model_vocab) == 0)
        return refuse(in, "model.vocab", model_vocab, "it must be an object of tokens and ids");
    if (!is_off(added) && !json_is_array(added))
        return refuse(in, "added_tokens", added, "it must be an array");
    slip_status status = size_vocab(in, model_vocab, added, &tokenizer->vocab);
    if (status == SLIP_OK)
        status = fill_vocab(in, model_vocab, &tokenizer->vocab);
    for (size_t i = 0; i < json_array_size(added) && status == SLIP_OK; i++)
        status = fill_added_token(in, model_vocab, json_array_get(added, i), tokenizer);
    if (status != SLIP_OK)
        return status;
    const char *raw = slip_added_sort(&tokenizer->raw), *normalized = slip_added_sort(&tokenizer->normalized);
    const char *twice = raw != NULL ? raw : normalized;
    return twice == NULL ? SLIP_OK : slip_fail(SLIP_ERR_INPUT, "%s: added_tokens has \"%.100s\" twice", in->source, twice);
}

/* ---- the merges ---- */

/* A merge is "left right" (one space) or ["left", "right"]. Spellings hold no space: it is U+0120 in the
 * alphabet. */
static bool split_merge(const json_t *merge, const char *half[2], size_t size[2])
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *space = strchr(text, ' ');
        if (space == NULL || strchr(space + 1, ' ') != NULL)
            return false;
        half[0] = text;
        size[0] = (size_t)(space - text);
        half[1] = space + 1;
        size[1] = strlen(half[1]);
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *text = json_array_get(merge, i);
        half[i] = json_string_value(text);
        size[i] = json_string_length(text);
    }
    return json_array_size(merge) == 2 && half[0] != NULL && half[1] != NULL;
}

static slip_status read_merge(const reader *in, size_t index, const json_t *merge, slip_tokenizer *tokenizer)
{
    const char *half[2], *only = "it must be two tokens of model.vocab that make a third";
    size_t size[2];
    if (split_merge(merge, half, size)) {
        int32_t left = slip_vocab_find_spelled(&tokenizer->vocab, half[0], size[0]);
        int32_t right = slip_vocab_find_spelled(&tokenizer->vocab, half[1], size[1]);
        int32_t merged = left >= 0 && right >= 0 ? slip_vocab_find_joined(&tokenizer->vocab, left, right) : -1;
        if (merged >= 0) {
            slip_bpe_add(&tokenizer->bpe, left, right, merged);
            return SLIP_OK;
        }
    }
    char field[40];
    snprintf(field, sizeof field, "model.merges[%zu]", index);
    return refuse(in, field, merge, only);
}

/* Every byte that UTF-8 uses must have its token, or text would be lost. */
static slip_status check_bytes(const reader *in, const slip_bpe *bpe)
{
    for (int byte = 0; byte < 0xf5; byte++)
        if (bpe->byte_ids[byte] < 0 && byte != 0xc0 && byte != 0xc1)
            return slip_fail(SLIP_ERR_INPUT, "%s: model.vocab has no token for the byte 0x%02x", in->source, byte);
    return SLIP_OK;
}

static slip_status read_model(const reader *in, const json_t *root, slip_tokenizer *tokenizer)
{
    static const char *const off[] = {"model.dropout", "model.continuing_subword_prefix", "model.end_of_word_suffix"};
    const size_t model_prefix = strlen("model.");
    const json_t *model = json_object_get(root, "model"), *merges = json_object_get(model, "merges"), *merge;
    size_t i;
    if (!type_is(model, "BPE"))
        return refuse(in, "model.type", json_object_get(model, "type"), "only BPE is supported");
    for (i = 0; i < sizeof off / sizeof *off; i++)
        if (!is_off(json_object_get(model, off[i] + model_prefix)))
            return refuse(in, off[i], json_object_get(model, off[i] + model_prefix), "only null is supported");
    if (!json_is_array(merges) || json_array_size(merges) > INT32_MAX)
        return refuse(in, "model.merges", merges, "it must be an array");
    tokenizer->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    slip_status status = read_vocab(in, root, json_object_get(model, "vocab"), tokenizer);
    if (status == SLIP_OK)
        status = slip_bpe_init(&tokenizer->bpe, &tokenizer->vocab, json_array_size(merges));
    if (status == SLIP_OK)
        status = check_bytes(in, &tokenizer->bpe);
    json_array_foreach (merges, i, merge) {
        if (status != SLIP_OK)
            break;
        status = read_merge(in, i, merge, tokenizer);
    }
    return status;
}

slip_status slip_tokenizer_fill(slip_tokenizer *tokenizer, const json_t *root, const char *source, int32_t vocabulary)
{
    const reader in = {source, vocabulary};
    if (!json_is_object(root))
        return slip_fail(SLIP_ERR_INPUT, "%s: not a JSON object", source);
    slip_status status = check_the_rest(&in, root);
    if (status == SLIP_OK)
        status = read_normalizer(&in, root, &tokenizer->nfc);
    if (status == SLIP_OK)
        status = read_pre_tokenizer(&in, root, &tokenizer->splitter);
    return status == SLIP_OK ? read_model(&in, root, tokenizer) : status;
}
