#include "io/text/tokenizer.h"
#include "io/base/json.h"

#include <stdlib.h>
#include <string.h>

#include "io/text/nfc.h"
#include "io/text/tokenizer_json.h"
#include "io/base/utf8.h"

/* Positions within a piece are int32_t; a broken byte becomes three, and NFC makes UTF-8 at most three times as
 * long (Unicode annex 15, part 9.2). */
enum { TEXT_MAX = INT32_MAX / 9 };

slip_status slip_tokenizer_parse(const char *json, size_t size, const char *source, int32_t vocabulary, slip_tokenizer **tokenizer)
{
    json_error_t error;
    json_t *root = json_loadb(json, size, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return slip_json_refuse(source, "", &error);
    slip_tokenizer *made = calloc(1, sizeof *made);
    slip_status status = made != NULL ? slip_tokenizer_fill(made, root, source, vocabulary)
                                      : slip_fail(SLIP_ERR_FAILED, "out of memory for the tokenizer of %s", source);
    json_decref(root);
    if (status != SLIP_OK) {
        slip_tokenizer_free(made);
        return status;
    }
    *tokenizer = made;
    return SLIP_OK;
}

void slip_tokenizer_free(slip_tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    slip_splitter_free(tokenizer->splitter);
    slip_added_free(&tokenizer->raw);
    slip_added_free(&tokenizer->normalized);
    slip_bpe_free(&tokenizer->bpe);
    slip_vocab_free(&tokenizer->vocab);
    free(tokenizer);
}

/* Encoding goes through three stages, each a cut of what the one before leaves: added tokens in the raw text,
 * added tokens in its normalised parts, pieces of the pre-tokenizer. */
typedef struct {
    const slip_tokenizer *tokenizer;
    bool special; /* special tokens count */
    slip_bpe_work work;
} encoding;

typedef slip_status (*next_stage)(encoding *run, const char *text, size_t size);

static slip_status encode_piece(encoding *run, const char *piece, size_t size)
{
    const slip_tokenizer *tokenizer = run->tokenizer;
    int32_t whole = tokenizer->ignore_merges ? slip_vocab_find(&tokenizer->vocab, piece, size) : -1;
    if (whole >= 0)
        return slip_bpe_push(&run->work, whole);
    return slip_bpe_encode(&tokenizer->bpe, &run->work, piece, size);
}

static slip_status encode_pieces(encoding *run, const char *text, size_t size)
{
    size_t *ends, count;
    slip_status status = slip_splitter_cut(run->tokenizer->splitter, text, size, &ends, &count);
    if (status != SLIP_OK)
        return status;
    for (size_t i = 0, start = 0; i < count && status == SLIP_OK; start = ends[i++])
        status = encode_piece(run, text + start, ends[i] - start);
    free(ends);
    return status;
}

/* Take out the added tokens of one kind; what lies between them goes to the next stage. */
static slip_status cut_added(encoding *run, const slip_added *added, const char *text, size_t size, next_stage next)
{
    slip_status status = SLIP_OK;
    size_t done = 0;
    while (done < size && status == SLIP_OK) {
        size_t start = size;
        const slip_added_token *token = slip_added_find(added, text, size, done, run->special, &start);
        if (start > done)
            status = next(run, text + done, start - done);
        if (token != NULL && status == SLIP_OK)
            status = slip_bpe_push(&run->work, token->id);
        done = token != NULL ? start + token->size : size;
    }
    return status;
}

static slip_status encode_normalized(encoding *run, const char *text, size_t size)
{
    char *normal = NULL;
    slip_status status = run->tokenizer->nfc ? slip_nfc(text, size, &normal, &size) : SLIP_OK;
    if (status == SLIP_OK)
        status = cut_added(run, &run->tokenizer->normalized, normal != NULL ? normal : text, size, encode_pieces);
    free(normal);
    return status;
}

slip_status slip_tokenizer_encode(const slip_tokenizer *tokenizer, const char *text, size_t size, int special, int32_t **ids, size_t *count)
{
    encoding run = {.tokenizer = tokenizer, .special = special != 0};
    char *repaired = NULL;
    slip_status status = SLIP_OK;
    if (size > TEXT_MAX)
        return slip_fail(SLIP_ERR_INPUT, "a text of %zu bytes is too long to encode", size);
    if (slip_utf8_valid(text, size) != size)
        status = slip_utf8_repair(text, size, &repaired, &size);
    if (status == SLIP_OK)
        status = slip_bpe_reserve(&run.work, 1); /* an empty text has ids too: an array of none */
    if (status == SLIP_OK)
        status = cut_added(&run, &tokenizer->raw, repaired != NULL ? repaired : text, size, encode_normalized);
    free(repaired);
    if (status == SLIP_OK) {
        *ids = run.work.ids;
        *count = run.work.count;
        run.work.ids = NULL;
    }
    slip_bpe_work_free(&run.work);
    return status;
}

const char *slip_tokenizer_bytes(const slip_tokenizer *tokenizer, int32_t id, size_t *size)
{
    const slip_vocab *vocab = &tokenizer->vocab;
    const slip_token *token = id >= 0 && id < vocab->ids ? &vocab->tokens[id] : NULL;
    *size = token != NULL ? token->size : 0;
    return token != NULL ? token->bytes : NULL;
}

int slip_tokenizer_is_special(const slip_tokenizer *tokenizer, int32_t id)
{
    const slip_vocab *vocab = &tokenizer->vocab;
    return id >= 0 && id < vocab->ids && vocab->tokens[id].special;
}

static int32_t find_added(const slip_added *added, const char *content)
{
    for (size_t i = 0; i < added->count; i++)
        if (strcmp(added->tokens[i].content, content) == 0)
            return added->tokens[i].id;
    return -1;
}

int32_t slip_tokenizer_find(const slip_tokenizer *tokenizer, const char *content)
{
    int32_t id = find_added(&tokenizer->raw, content);
    return id >= 0 ? id : find_added(&tokenizer->normalized, content);
}
