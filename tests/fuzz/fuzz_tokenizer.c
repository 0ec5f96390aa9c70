/* Input: a tokenizer.json, a NUL, and a text to encode with it. Broken files must be refused with a sentence; a
 * good one must encode any text to known ids, and the decoded stream must not depend on its chunks.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/text/tokenizer.h"
#include "io/base/utf8.h"

enum { VOCABULARY = 65536, TEXT_MAX = 400 }; /* short texts: a hostile expression may use its limit on every byte */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void push(slip_utf8_stream *stream, const char *bytes, size_t size, char *out, size_t *total)
{
    size_t written;
    slip_utf8_push(stream, bytes, size, out + *total, &written);
    *total += written;
}

/* The bytes of all tokens go through one stream whole, and through another byte by byte. */
static void check_decoding(const slip_tokenizer *tokenizer, const int32_t *ids, size_t count)
{
    size_t bytes = 0, size, whole = 0, single = 0, written;
    for (size_t i = 0; i < count; i++) {
        require(slip_tokenizer_bytes(tokenizer, ids[i], &size) != NULL);
        bytes += size;
    }
    char *room = malloc(2 * SLIP_UTF8_ROOM(bytes)), *other = room + SLIP_UTF8_ROOM(bytes);
    slip_utf8_stream a = {0}, b = {0};
    for (size_t i = 0; i < count; i++) {
        const char *token = slip_tokenizer_bytes(tokenizer, ids[i], &size);
        push(&a, token, size, room, &whole);
        for (size_t j = 0; j < size; j++)
            push(&b, token + j, 1, other, &single);
    }
    slip_utf8_finish(&a, room + whole, &written);
    whole += written;
    slip_utf8_finish(&b, other + single, &written);
    require(whole == single + written && memcmp(room, other, whole) == 0 && slip_utf8_valid(room, whole) == whole);
    free(room);
}

static void check_encoding(const slip_tokenizer *tokenizer, const char *text, size_t size, int special)
{
    int32_t *ids = NULL;
    size_t count = 0;
    slip_clear();
    if (slip_tokenizer_encode(tokenizer, text, size, special, &ids, &count) != SLIP_OK) {
        require(slip_cause()[0] != '\0' && ids == NULL);
        return;
    }
    check_decoding(tokenizer, ids, count);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *json = (const char *)data, *end = size > 0 ? memchr(json, '\0', size) : NULL;
    size_t json_size = end != NULL ? (size_t)(end - json) : size;
    size_t text_size = end != NULL ? size - json_size - 1 : 0;
    slip_tokenizer *tokenizer = NULL;
    slip_clear();
    if (slip_tokenizer_parse(json, json_size, "fuzz", VOCABULARY, &tokenizer) != SLIP_OK) {
        require(slip_cause()[0] != '\0' && tokenizer == NULL);
        return 0;
    }
    text_size = text_size < TEXT_MAX ? text_size : TEXT_MAX;
    if (text_size > 0) {
        check_encoding(tokenizer, end + 1, text_size, 0);
        check_encoding(tokenizer, end + 1, text_size, 1);
    }
    slip_tokenizer_free(tokenizer);
    return 0;
}
