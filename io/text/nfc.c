#include "io/text/nfc.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "io/base/utf8.h"

enum { CLASSES = 256, SHORT_RUN = 16 };

static int class_of(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

static void sort_short(int32_t *marks, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int32_t mark = marks[i];
        size_t at = i;
        for (; at > 0 && class_of(marks[at - 1]) > class_of(mark); at--)
            marks[at] = marks[at - 1];
        marks[at] = mark;
    }
}

static void sort_long(int32_t *marks, size_t count, int32_t *spare)
{
    size_t start[CLASSES + 1] = {0};
    for (size_t i = 0; i < count; i++)
        start[class_of(marks[i]) + 1]++;
    for (size_t i = 1; i <= CLASSES; i++)
        start[i] += start[i - 1];
    for (size_t i = 0; i < count; i++)
        spare[start[class_of(marks[i])]++] = marks[i];
    memcpy(marks, spare, count * sizeof *marks);
}

/* Canonical ordering: each run of marks stably by combining class. utf8proc's own is a bubble sort, which a
 * hostile run of 100,000 marks turns into minutes; hence counting. `spare` has room for `count`. */
static void order_marks(int32_t *points, size_t count, int32_t *spare)
{
    for (size_t at = 0; at < count;) {
        if (class_of(points[at]) == 0) {
            at++;
            continue;
        }
        size_t end = at;
        while (end < count && class_of(points[end]) != 0)
            end++;
        if (end - at <= SHORT_RUN)
            sort_short(points + at, end - at);
        else
            sort_long(points + at, end - at, spare);
        at = end;
    }
}

/* Decompose into `points` (room `room`); returns how many code points that takes, which may be more than the
 * room. */
static size_t decompose(const char *text, size_t size, int32_t *points, size_t room)
{
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        uint32_t c;
        at += slip_utf8_get(text + at, &c);
        size_t left = count < room ? room - count : 0;
        int boundary = 0;
        count += (size_t)utf8proc_decompose_char((int32_t)c, left > 0 ? points + count : NULL, (utf8proc_ssize_t)left,
                                                 UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
    }
    return count;
}

static size_t compose_part(int32_t *points, size_t count, char *out)
{
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    size_t written = 0;
    for (utf8proc_ssize_t i = 0; i < composed; i++)
        written += slip_utf8_put((uint32_t)points[i], out + written);
    return written;
}

/* utf8proc (2.8) takes U+11A7, the vowel just before the trailing consonants of Hangul, for one of them, and
 * drops it after a syllable. It composes with nothing, so that the text may be composed in parts, each begun by
 * one. */
static size_t compose(int32_t *points, size_t count, char *out)
{
    size_t written = 0, start = 0;
    for (size_t at = 1; at <= count; at++)
        if (at == count || points[at] == 0x11a7) {
            written += compose_part(points + start, at - start, out + written);
            start = at;
        }
    return written;
}

static int is_ascii(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] >= 0x80)
            return 0;
    return 1;
}

slip_status slip_nfc(const char *text, size_t size, char **normal, size_t *normal_size)
{
    if (is_ascii(text, size)) {
        *normal = NULL;
        *normal_size = size;
        return SLIP_OK;
    }
    size_t count = decompose(text, size, NULL, 0);
    int32_t *points = count <= SIZE_MAX / 16 ? malloc(2 * count * sizeof *points) : NULL;
    char *out = count <= SIZE_MAX / 16 ? malloc(4 * count) : NULL;
    if (points == NULL || out == NULL) {
        free(points);
        free(out);
        return slip_fail(SLIP_ERR_FAILED, "out of memory to normalise %zu bytes of text", size);
    }
    decompose(text, size, points, count);
    order_marks(points, count, points + count);
    *normal_size = compose(points, count, out);
    *normal = out;
    free(points);
    return SLIP_OK;
}
