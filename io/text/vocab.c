#include "io/text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/utf8.h"

enum { SMALL = 256 }; /* bytes of a token that is looked up without the heap */

/* The byte that a character of the byte alphabet stands for, -1 for other characters. The visible characters of
 * Latin-1 stand for themselves; the other 68 bytes, in order, are U+0100 .. U+0143 (GPT-2's bytes_to_unicode). */
static int byte_of(uint32_t c)
{
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff))
        return (int)c;
    if (c >= 0x100 && c <= 0x120)
        return (int)c - 0x100;
    if (c >= 0x121 && c <= 0x142)
        return (int)c - 0x121 + 0x7f;
    return c == 0x143 ? 0xad : -1;
}

/* Write the bytes that a spelling stands for, at most `size`; false when it leaves the alphabet. */
static bool unspell(const char *spelling, size_t size, char *bytes, size_t *count)
{
    *count = 0;
    for (size_t at = 0; at < size;) {
        uint32_t c;
        at += slip_utf8_get(spelling + at, &c);
        int byte = byte_of(c);
        if (byte < 0)
            return false;
        bytes[(*count)++] = (char)byte;
    }
    return true;
}

slip_status slip_vocab_init(slip_vocab *vocab, int32_t ids, size_t tokens, size_t bytes)
{
    slip_vocab made = {.ids = ids, .room = bytes + 1};
    made.tokens = calloc((size_t)ids + 1, sizeof *made.tokens);
    made.arena = malloc(made.room);
    slip_status status = SLIP_OK;
    if (made.tokens == NULL || made.arena == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "out of memory for a vocabulary of %d ids", (int)ids);
    else
        status = slip_map_init(&made.by_bytes, tokens);
    if (status != SLIP_OK) {
        free(made.tokens);
        free(made.arena);
        return status;
    }
    *vocab = made;
    return SLIP_OK;
}

void slip_vocab_free(slip_vocab *vocab)
{
    slip_map_free(&vocab->by_bytes);
    free(vocab->tokens);
    free(vocab->arena);
    *vocab = (slip_vocab){0};
}

static slip_token *store(slip_vocab *vocab, int32_t id, size_t size)
{
    slip_token *token = &vocab->tokens[id];
    token->bytes = vocab->arena + vocab->used;
    token->size = (uint32_t)size;
    vocab->used += size;
    return token;
}

void slip_vocab_add(slip_vocab *vocab, int32_t id, const char *spelling, size_t size)
{
    size_t count;
    if (!unspell(spelling, size, vocab->arena + vocab->used, &count)) {
        slip_vocab_add_literal(vocab, id, spelling, size, false);
        return;
    }
    const slip_token *token = store(vocab, id, count);
    slip_map_put(&vocab->by_bytes, token->bytes, token->size, id);
}

void slip_vocab_add_literal(slip_vocab *vocab, int32_t id, const char *content, size_t size, bool special)
{
    memcpy(vocab->arena + vocab->used, content, size);
    store(vocab, id, size)->special = special;
}

int32_t slip_vocab_find(const slip_vocab *vocab, const void *bytes, size_t size)
{
    return size <= UINT32_MAX ? slip_map_find(&vocab->by_bytes, bytes, (uint32_t)size) : -1;
}

int32_t slip_vocab_find_spelled(const slip_vocab *vocab, const char *spelling, size_t size)
{
    char small[SMALL], *bytes = size <= SMALL ? small : malloc(size);
    size_t count;
    int32_t id = -1;
    if (bytes != NULL && unspell(spelling, size, bytes, &count))
        id = slip_vocab_find(vocab, bytes, count);
    if (bytes != small)
        free(bytes);
    return id;
}

int32_t slip_vocab_find_joined(const slip_vocab *vocab, int32_t left, int32_t right)
{
    const slip_token *head = &vocab->tokens[left], *tail = &vocab->tokens[right];
    size_t size = (size_t)head->size + tail->size;
    char small[SMALL], *bytes = size <= SMALL ? small : malloc(size);
    int32_t id = -1;
    if (bytes != NULL) {
        memcpy(bytes, head->bytes, head->size);
        memcpy(bytes + head->size, tail->bytes, tail->size);
        id = slip_vocab_find(vocab, bytes, size);
    }
    if (bytes != small)
        free(bytes);
    return id;
}
