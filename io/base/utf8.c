#include "io/base/utf8.h"

#include <stdlib.h>
#include <string.h>

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

/* Bytes of the character that `lead` begins, 0 for a byte that begins none. */
static size_t length_of(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if ((lead & 0xf0) == 0xe0)
        return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* Whether `next` may be the second byte: Unicode's table 3-7 leaves out overlong forms, surrogates and the
 * end. */
static int second_fits(unsigned char lead, unsigned char next)
{
    switch (lead) {
    case 0xe0: return next >= 0xa0 && next <= 0xbf;
    case 0xed: return next >= 0x80 && next <= 0x9f;
    case 0xf0: return next >= 0x90 && next <= 0xbf;
    case 0xf4: return next >= 0x80 && next <= 0x8f;
    }
    return next >= 0x80 && next <= 0xbf;
}

/* How far the character at the head of `bytes` goes as it should, 1 to *length bytes; a bad first byte goes 1. */
static size_t run_of(const unsigned char *bytes, size_t size, size_t *length)
{
    *length = length_of(bytes[0]);
    size_t run = 1;
    if (*length > 1 && size > 1 && second_fits(bytes[0], bytes[1]))
        for (run = 2; run < *length && run < size && (bytes[run] & 0xc0) == 0x80;)
            run++;
    return run;
}

static size_t ascii_run(const char *text, size_t size)
{
    size_t at = 0;
    for (uint64_t word; size - at >= sizeof word; at += sizeof word) {
        memcpy(&word, text + at, sizeof word);
        if (word & 0x8080808080808080u)
            break;
    }
    while (at < size && (unsigned char)text[at] < 0x80)
        at++;
    return at;
}

size_t slip_utf8_valid(const char *text, size_t size)
{
    size_t at = 0, length = 0;
    while ((at += ascii_run(text + at, size - at)) < size) {
        size_t run = run_of((const unsigned char *)text + at, size - at, &length);
        if (run != length)
            break;
        at += run;
    }
    return at;
}

/* Copy what is well-formed, replace what is not, stop where the text ends within a character. Returns how much of
 * the text is dealt with; the rest, at most 3 bytes, is such a beginning. */
static size_t transcribe(const char *text, size_t size, char *out, size_t *written)
{
    size_t at = 0;
    while (at < size) {
        size_t good = slip_utf8_valid(text + at, size - at), length;
        memcpy(out + *written, text + at, good);
        *written += good;
        at += good;
        if (at == size)
            break;
        size_t run = run_of((const unsigned char *)text + at, size - at, &length);
        if (at + run == size && run < length)
            break;
        memcpy(out + *written, REPLACEMENT, 3);
        *written += 3;
        at += run;
    }
    return at;
}

/* Finish the held character from the head of `bytes`: one byte at a time, at most 3. Returns the bytes used. */
static size_t finish_held(slip_utf8_stream *stream, const char *bytes, size_t size, char *out, size_t *written)
{
    size_t used = 0;
    while (stream->held_size > 0 && used < size) {
        size_t length, held = (size_t)stream->held_size;
        stream->held[held] = (unsigned char)bytes[used];
        size_t run = run_of(stream->held, held + 1, &length);
        if (run == held + 1) {
            used++;
            stream->held_size++;
            if (run < length)
                continue;
            memcpy(out + *written, stream->held, length);
            *written += length;
        } else {
            memcpy(out + *written, REPLACEMENT, 3); /* the new byte is looked at again, as a beginning */
            *written += 3;
        }
        stream->held_size = 0;
    }
    return used;
}

void slip_utf8_push(slip_utf8_stream *stream, const char *bytes, size_t size, char *out, size_t *written)
{
    size_t count = 0;
    size_t at = finish_held(stream, bytes, size, out, &count);
    if (at < size) {
        at += transcribe(bytes + at, size - at, out, &count);
        memcpy(stream->held, bytes + at, size - at);
        stream->held_size = (int32_t)(size - at);
    }
    *written = count;
}

void slip_utf8_finish(slip_utf8_stream *stream, char *out, size_t *written)
{
    *written = 0;
    if (stream->held_size > 0) {
        memcpy(out, REPLACEMENT, 3);
        *written = 3;
    }
    stream->held_size = 0;
}

slip_status slip_utf8_repair(const char *text, size_t size, char **repaired, size_t *repaired_size)
{
    size_t room, count = 0, tail = 0;
    char *copy = NULL;
    if (!__builtin_mul_overflow(size, 3, &room) && !__builtin_add_overflow(room, SLIP_UTF8_ROOM(0), &room))
        copy = malloc(room);
    if (copy == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu bytes of text", size);
    slip_utf8_stream stream = {0};
    slip_utf8_push(&stream, text, size, copy, &count);
    slip_utf8_finish(&stream, copy + count, &tail);
    *repaired = copy;
    *repaired_size = count + tail;
    return SLIP_OK;
}

size_t slip_utf8_put(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00 >> length) | c);
    return length;
}

size_t slip_utf8_get(const char *text, uint32_t *c)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = length_of(bytes[0]);
    uint32_t value = length == 1 ? bytes[0] : bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++)
        value = value << 6 | (bytes[i] & 0x3fu);
    *c = value;
    return length;
}
