/* Tokens to text: whole characters only, stop strings across tokens, nothing shown that a stop string could still take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/detokenizer.h"
#include "folder.h"

enum { VOCABULARY = 4096 };

static slip_tokenizer *tokenizer;
static int32_t token_of_byte[256];

static int load_tokenizer(void **state)
{
    (void)state;
    size_t size;
    char *json = folder_read("tests/golden/tokenizer/gpt2.json", &size);
    slip_status status = slip_tokenizer_parse(json, size, "gpt2.json", VOCABULARY, &tokenizer);
    free(json);
    for (int32_t id = 0; status == SLIP_OK && id < VOCABULARY; id++) {
        const char *bytes = slip_tokenizer_bytes(tokenizer, id, &size);
        if (bytes && size == 1)
            token_of_byte[(unsigned char)bytes[0]] = id;
    }
    return status == SLIP_OK ? 0 : -1;
}

static int free_tokenizer(void **state)
{
    (void)state;
    slip_tokenizer_free(tokenizer);
    return 0;
}

/* A byte a token; after each, `safe` must not go back and must not pass the size. */
static void push(slip_detokenizer *text, const char *bytes)
{
    for (; *bytes; bytes++) {
        size_t safe = text->safe;
        assert_int_equal(slip_detokenizer_push(text, token_of_byte[(unsigned char)*bytes]), SLIP_OK);
        assert_true(text->safe >= safe && text->safe <= text->size && text->size <= text->room);
    }
}

static void assert_text(const slip_detokenizer *text, const char *all, const char *safe)
{
    assert_int_equal(text->size, strlen(all));
    assert_memory_equal(text->bytes, all, text->size);
    assert_int_equal(text->safe, strlen(safe));
}

static void test_plain(void **state)
{
    (void)state;
    slip_detokenizer text;
    slip_detokenizer_start(&text, tokenizer, NULL, 0);
    push(&text, "def f(x):\n");
    assert_text(&text, "def f(x):\n", "def f(x):\n");
    assert_int_equal(slip_detokenizer_finish(&text), SLIP_OK);
    assert_text(&text, "def f(x):\n", "def f(x):\n");
    assert_false(text.stopped);
    slip_detokenizer_free(&text);
    assert_null(text.bytes);
}

static void test_characters_are_whole(void **state)
{
    (void)state;
    slip_detokenizer text;
    slip_detokenizer_start(&text, tokenizer, NULL, 0);
    push(&text, "a\xe2\x82");
    assert_text(&text, "a", "a");
    push(&text, "\xac");
    assert_text(&text, "a\xe2\x82\xac", "a\xe2\x82\xac");
    push(&text, "\xf0\x9f\x98");
    assert_text(&text, "a\xe2\x82\xac", "a\xe2\x82\xac");
    push(&text, "b"); /* it will never be whole */
    assert_text(&text,
                "a\xe2\x82\xac\xef\xbf\xbd"
                "b",
                "a\xe2\x82\xac\xef\xbf\xbd"
                "b");
    push(&text, "\xc3");
    assert_int_equal(slip_detokenizer_finish(&text), SLIP_OK);
    assert_text(&text,
                "a\xe2\x82\xac\xef\xbf\xbd"
                "b\xef\xbf\xbd",
                "a\xe2\x82\xac\xef\xbf\xbd"
                "b\xef\xbf\xbd");
    slip_detokenizer_free(&text);
}

static void test_stop_across_tokens(void **state)
{
    (void)state;
    char *stops[] = {"\n\n", "END"};
    slip_detokenizer text;
    slip_detokenizer_start(&text, tokenizer, stops, 2);
    push(&text, "x = 1\n");
    assert_text(&text, "x = 1\n", "x = 1"); /* the newline may be half a stop */
    push(&text, "y EN");
    assert_text(&text, "x = 1\ny EN", "x = 1\ny ");
    push(&text, "T");
    assert_text(&text, "x = 1\ny ENT", "x = 1\ny ENT");
    assert_false(text.stopped);
    push(&text, "END");
    assert_true(text.stopped);
    assert_text(&text, "x = 1\ny ENT", "x = 1\ny ENT");
    push(&text, "more"); /* nothing is added */
    assert_int_equal(slip_detokenizer_finish(&text), SLIP_OK);
    assert_text(&text, "x = 1\ny ENT", "x = 1\ny ENT");
    slip_detokenizer_free(&text);
}

/* A stop whose beginning repeats: "aab" in "aaab" begins at the second a. */
static void test_overlapping_beginnings(void **state)
{
    (void)state;
    char *stops[] = {"aab"};
    slip_detokenizer text;
    slip_detokenizer_start(&text, tokenizer, stops, 1);
    push(&text, "caaa");
    assert_text(&text, "caaa", "ca");
    push(&text, "b");
    assert_true(text.stopped);
    assert_text(&text, "ca", "ca");
    slip_detokenizer_free(&text);
}

/* Where two stops begin in one token, the first one counts; a held beginning is shown at the end. */
static void test_first_stop_and_finish(void **state)
{
    (void)state;
    char *stops[] = {"b", "ab"};
    slip_detokenizer text;
    slip_detokenizer_start(&text, tokenizer, stops, 2);
    push(&text, "xab");
    assert_true(text.stopped);
    assert_text(&text, "x", "x");
    slip_detokenizer_free(&text);
    slip_detokenizer_start(&text, tokenizer, stops + 1, 1);
    push(&text, "xa");
    assert_text(&text, "xa", "x");
    assert_int_equal(slip_detokenizer_finish(&text), SLIP_OK);
    assert_text(&text, "xa", "xa");
    assert_false(text.stopped);
    slip_detokenizer_free(&text);
}

/* A broken character becomes U+FFFD only at the end, and that may complete a stop string. */
static void test_stop_at_the_end(void **state)
{
    (void)state;
    char *stops[] = {"\xef\xbf\xbd"};
    slip_detokenizer text;
    slip_detokenizer_start(&text, tokenizer, stops, 1);
    push(&text, "ok\xe2");
    assert_false(text.stopped);
    assert_int_equal(slip_detokenizer_finish(&text), SLIP_OK);
    assert_true(text.stopped);
    assert_text(&text, "ok", "ok");
    slip_detokenizer_free(&text);
}

static void test_special_and_unknown_tokens(void **state)
{
    (void)state;
    slip_detokenizer text;
    int32_t special = slip_tokenizer_find(tokenizer, "<|endoftext|>");
    assert_true(special >= 0 && slip_tokenizer_is_special(tokenizer, special));
    slip_detokenizer_start(&text, tokenizer, NULL, 0);
    push(&text, "a");
    assert_int_equal(slip_detokenizer_push(&text, special), SLIP_OK);
    assert_int_equal(slip_detokenizer_push(&text, VOCABULARY - 1), SLIP_OK);
    push(&text, "b");
    assert_text(&text, "ab", "ab");
    slip_detokenizer_free(&text);
    slip_detokenizer_start(&text, tokenizer, NULL, 0);
    text.special = true;
    push(&text, "a");
    assert_int_equal(slip_detokenizer_push(&text, special), SLIP_OK);
    assert_text(&text, "a<|endoftext|>", "a<|endoftext|>");
    slip_detokenizer_free(&text);
}

/* Tokens up to a place in their text; a special one between them counts where it is text. */
static void test_count(void **state)
{
    (void)state;
    int32_t tokens[3], *ids, needed;
    size_t count;
    tokens[1] = slip_tokenizer_find(tokenizer, "<|endoftext|>");
    for (int i = 0; i < 3; i += 2) {
        assert_int_equal(slip_tokenizer_encode(tokenizer, "a", 1, 0, &ids, &count), SLIP_OK);
        assert_int_equal(count, 1);
        tokens[i] = ids[0];
        free(ids);
    }
    static const struct {
        size_t size;
        bool special;
        int32_t needed;
    } cases[] = {{0, false, 0}, {1, false, 1}, {2, false, 3}, {9, false, 3}, {1, true, 1}, {2, true, 2}, {14, true, 2}, {15, true, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(slip_detokenizer_count(tokenizer, cases[i].special, tokens, 3, cases[i].size, &needed), SLIP_OK);
        assert_int_equal(needed, cases[i].needed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_characters_are_whole),
        cmocka_unit_test(test_stop_across_tokens),
        cmocka_unit_test(test_overlapping_beginnings),
        cmocka_unit_test(test_first_stop_and_finish),
        cmocka_unit_test(test_stop_at_the_end),
        cmocka_unit_test(test_special_and_unknown_tokens),
        cmocka_unit_test(test_count),
    };
    return cmocka_run_group_tests(tests, load_tokenizer, free_tokenizer);
}
