#include "coordinator/serve/detokenizer.h"

#include <stdlib.h>
#include <string.h>

void slip_detokenizer_start(slip_detokenizer *text, const slip_tokenizer *tokenizer, char *const *stops, int32_t stop_count)
{
    *text = (slip_detokenizer){.tokenizer = tokenizer, .stops = stops, .stop_count = stop_count};
}

void slip_detokenizer_free(slip_detokenizer *text)
{
    free(text->bytes);
    *text = (slip_detokenizer){0};
}

static slip_status make_room(slip_detokenizer *text, size_t more)
{
    if (text->room - text->size >= more)
        return SLIP_OK;
    size_t room = 2 * text->room + more;
    char *bytes = realloc(text->bytes, room);
    if (!bytes)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu bytes of text", room);
    text->bytes = bytes;
    text->room = room;
    return SLIP_OK;
}

/* The first stop string that is whole, searched from where none could begin before. */
static bool find_stop(slip_detokenizer *text)
{
    char *first = NULL;
    for (int32_t i = 0; i < text->stop_count; i++) {
        char *at = memmem(text->bytes + text->safe, text->size - text->safe, text->stops[i], strlen(text->stops[i]));
        if (at && (!first || at < first))
            first = at;
    }
    if (!first)
        return false;
    text->size = (size_t)(first - text->bytes);
    text->safe = text->size;
    text->stopped = true;
    return true;
}

/* The longest tail that begins a stop string must wait. */
static void advance_safe(slip_detokenizer *text)
{
    for (; text->safe < text->size; text->safe++) {
        size_t tail = text->size - text->safe;
        bool begins = false;
        for (int32_t i = 0; i < text->stop_count && !begins; i++)
            begins = tail < strlen(text->stops[i]) && memcmp(text->bytes + text->safe, text->stops[i], tail) == 0;
        if (begins)
            return;
    }
}

slip_status slip_detokenizer_push(slip_detokenizer *text, int32_t token)
{
    size_t size, written;
    const char *bytes = slip_tokenizer_bytes(text->tokenizer, token, &size);
    if (text->stopped || !bytes || (!text->special && slip_tokenizer_is_special(text->tokenizer, token)))
        return SLIP_OK;
    slip_status status = make_room(text, SLIP_UTF8_ROOM(size));
    if (status != SLIP_OK)
        return status;
    slip_utf8_push(&text->stream, bytes, size, text->bytes + text->size, &written);
    text->size += written;
    if (!find_stop(text))
        advance_safe(text);
    return SLIP_OK;
}

slip_status slip_detokenizer_finish(slip_detokenizer *text)
{
    size_t written = 0;
    if (text->stopped)
        return SLIP_OK;
    slip_status status = make_room(text, SLIP_UTF8_ROOM(0));
    if (status != SLIP_OK)
        return status;
    slip_utf8_finish(&text->stream, text->bytes + text->size, &written);
    text->size += written;
    if (!find_stop(text))
        text->safe = text->size;
    return SLIP_OK;
}

slip_status slip_detokenizer_count(const slip_tokenizer *tokenizer, bool special, const int32_t *tokens, int32_t count, size_t size,
                                   int32_t *needed)
{
    slip_detokenizer text;
    slip_status status = SLIP_OK;
    int32_t i = 0;
    slip_detokenizer_start(&text, tokenizer, NULL, 0);
    text.special = special;
    for (; i < count && text.size < size && status == SLIP_OK; i++)
        status = slip_detokenizer_push(&text, tokens[i]);
    slip_detokenizer_free(&text);
    *needed = i;
    return status;
}
