/* Broken UTF-8, in one piece and in chunks, against Python's decoder; and normalisation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
#include "io/text/nfc.h"
#include "io/text/tokenizer.h"
#include "io/base/utf8.h"

enum { TEXT_ROOM = 256, FILE_MAX = 1 << 20 };

static const unsigned char *take_bytes(const unsigned char **at, size_t *size)
{
    const unsigned char *bytes = *at + 1;
    *size = **at;
    *at = bytes + *size;
    return bytes;
}

/* tests/golden/tokenizer/make_golden.py describes the file. */
static void stream_equals_python(void **state)
{
    (void)state;
    char *data = NULL;
    size_t size, records = 0;
    assert_int_equal(slip_file_read("tests/golden/tokenizer/stream.bin", FILE_MAX, &data, &size), SLIP_OK);
    const unsigned char *at = (const unsigned char *)data, *end = at + size;
    for (; at < end; records++) {
        slip_utf8_stream stream = {0};
        for (int chunks = *at++; chunks > 0; chunks--) {
            size_t given_size, expected_size, written;
            char out[TEXT_ROOM];
            const unsigned char *given = take_bytes(&at, &given_size), *expected = take_bytes(&at, &expected_size);
            assert_true(SLIP_UTF8_ROOM(given_size) <= sizeof out);
            if (chunks > 1)
                slip_utf8_push(&stream, (const char *)given, given_size, out, &written);
            else
                slip_utf8_finish(&stream, out, &written);
            assert_int_equal(written, expected_size);
            assert_memory_equal(out, expected, written);
        }
    }
    assert_ptr_equal(at, end);
    assert_int_equal(records, 3000);
    free(data);
}

static uint32_t next(uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    return *random >> 16;
}

/* However the bytes are cut into chunks, the text is the same, well-formed, and what slip_utf8_repair() makes. */
static void chunks_do_not_matter(void **state)
{
    (void)state;
    static const unsigned char pool[] = {'a', 0x80, 0xbf, 0xa0, 0x90, 0x8f, 0xc2, 0xe0, 0xe2, 0xed, 0xf0, 0xf4, 0xf5, 0xff};
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        char text[24], whole[TEXT_ROOM], *repaired;
        size_t size = next(&random) % sizeof text, total = 0, written, repaired_size;
        for (size_t i = 0; i < size; i++)
            text[i] = (char)pool[next(&random) % sizeof pool];
        slip_utf8_stream stream = {0};
        for (size_t at = 0, chunk; at < size; at += chunk) {
            chunk = 1 + next(&random) % (size - at);
            slip_utf8_push(&stream, text + at, chunk, whole + total, &written);
            total += written;
        }
        slip_utf8_finish(&stream, whole + total, &written);
        total += written;
        assert_int_equal(slip_utf8_repair(text, size, &repaired, &repaired_size), SLIP_OK);
        assert_int_equal(repaired_size, total);
        assert_memory_equal(repaired, whole, total);
        assert_int_equal(slip_utf8_valid(repaired, total), total);
        free(repaired);
    }
}

static void code_points_survive(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c += c == 0xd7ff ? 0x801 : 1) {
        char text[4];
        uint32_t back;
        size_t size = slip_utf8_put(c, text);
        assert_int_equal(slip_utf8_valid(text, size), size);
        assert_int_equal(slip_utf8_get(text, &back), size);
        assert_int_equal(back, c);
    }
}

static void check_nfc(const char *text, const char *expected)
{
    char *normal = NULL;
    size_t size;
    assert_int_equal(slip_nfc(text, strlen(text), &normal, &size), SLIP_OK);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(normal != NULL ? normal : text, expected, size);
    free(normal);
}

static void normalises(void **state)
{
    (void)state;
    check_nfc("", "");
    check_nfc("plain", "plain");
    check_nfc("e\xcc\x81", "\xc3\xa9");                                /* e, acute */
    check_nfc("a\xcc\x81\xcc\xa3", "\xe1\xba\xa1\xcc\x81");            /* the dot below goes first */
    check_nfc("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"); /* Hangul L V T */
    check_nfc("\xea\xb0\x80\xe1\x86\xa7", "\xea\xb0\x80\xe1\x86\xa7"); /* U+11A7 is no trailing consonant */
    check_nfc("\xe1\x86\xa7", "\xe1\x86\xa7");
    check_nfc("\xe2\x84\xa6", "\xce\xa9");     /* the ohm sign is an omega */
    check_nfc("\xef\xac\x81", "\xef\xac\x81"); /* a ligature is not canonical */
}

/* 200,000 marks in the worst order: seconds at most, where a bubble sort would take minutes. */
static void orders_long_runs_of_marks(void **state)
{
    (void)state;
    enum { MARKS = 200000 };
    char *text = malloc(2 * MARKS), *normal = NULL;
    size_t size;
    for (size_t i = 0; i < MARKS; i++)
        memcpy(text + 2 * i, i < MARKS / 2 ? "\xcd\x85" : "\xcc\xa3", 2); /* U+0345 class 240, U+0323 class 220 */
    assert_int_equal(slip_nfc(text, 2 * MARKS, &normal, &size), SLIP_OK);
    assert_int_equal(size, 2 * MARKS);
    for (size_t i = 0; i < MARKS; i++)
        assert_memory_equal(normal + 2 * i, i < MARKS / 2 ? "\xcc\xa3" : "\xcd\x85", 2);
    free(text);
    free(normal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_equals_python), cmocka_unit_test(chunks_do_not_matter),      cmocka_unit_test(code_points_survive),
        cmocka_unit_test(normalises),           cmocka_unit_test(orders_long_runs_of_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
