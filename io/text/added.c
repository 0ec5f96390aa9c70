#include "io/text/added.h"

#include <stdlib.h>
#include <string.h>

slip_status slip_added_put(slip_added *added, const char *content, size_t size, int32_t id, bool special)
{
    if (added->count == added->room) {
        size_t room = added->room * 2 + 32;
        slip_added_token *tokens = realloc(added->tokens, room * sizeof *tokens);
        if (tokens == NULL)
            return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu added tokens", room);
        added->tokens = tokens;
        added->room = room;
    }
    char *copy = malloc(size + 1);
    if (copy == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for an added token of %zu bytes", size);
    memcpy(copy, content, size);
    copy[size] = '\0';
    added->tokens[added->count++] = (slip_added_token){copy, size, id, special};
    return SLIP_OK;
}

void slip_added_free(slip_added *added)
{
    for (size_t i = 0; i < added->count; i++)
        free(added->tokens[i].content);
    free(added->tokens);
    *added = (slip_added){0};
}

static unsigned char first_byte(const slip_added_token *token)
{
    return (unsigned char)token->content[0];
}

static int compare(const void *left, const void *right)
{
    const slip_added_token *a = left, *b = right;
    if (first_byte(a) != first_byte(b))
        return first_byte(a) < first_byte(b) ? -1 : 1;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return memcmp(a->content, b->content, a->size);
}

const char *slip_added_sort(slip_added *added)
{
    if (added->count > 0)
        qsort(added->tokens, added->count, sizeof *added->tokens, compare);
    size_t at = 0;
    for (int byte = 0; byte < 256; byte++) {
        added->first[byte] = at;
        while (at < added->count && first_byte(&added->tokens[at]) == byte)
            at++;
    }
    added->first[256] = at;
    for (size_t i = 1; i < added->count; i++)
        if (compare(&added->tokens[i - 1], &added->tokens[i]) == 0)
            return added->tokens[i].content;
    return NULL;
}

/* The longest token at the head of the text. */
static const slip_added_token *at_head(const slip_added *added, const char *text, size_t size)
{
    unsigned char byte = (unsigned char)text[0];
    for (size_t i = added->first[byte]; i < added->first[byte + 1]; i++) {
        const slip_added_token *token = &added->tokens[i];
        if (token->size <= size && memcmp(token->content, text, token->size) == 0)
            return token;
    }
    return NULL;
}

const slip_added_token *slip_added_find(const slip_added *added, const char *text, size_t size, size_t from, bool special, size_t *start)
{
    for (size_t at = from; at < size;) {
        const slip_added_token *token = at_head(added, text + at, size - at);
        if (token != NULL && (special || !token->special)) {
            *start = at;
            return token;
        }
        at += token != NULL ? token->size : 1;
    }
    return NULL;
}
