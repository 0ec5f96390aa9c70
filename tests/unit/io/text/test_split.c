/* The pre-tokenizer by itself: where pieces end. That they end where Oniguruma ends them, test_tokenizer.c shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "io/text/split.h"

/* `expected` is the text with a '|' after each piece. */
static void check(const char *expression, const char *text, const char *expected)
{
    slip_splitter *splitter = NULL;
    size_t *ends, count, start = 0;
    char marked[200] = "";
    assert_int_equal(slip_splitter_create(expression, "x.json", "field", &splitter), SLIP_OK);
    assert_int_equal(slip_splitter_cut(splitter, text, strlen(text), &ends, &count), SLIP_OK);
    for (size_t i = 0; i < count; start = ends[i++]) {
        strncat(marked, text + start, ends[i] - start);
        strcat(marked, "|");
    }
    assert_int_equal(start, strlen(text));
    assert_string_equal(marked, expected);
    free(ends);
    slip_splitter_free(splitter);
}

static void matches_and_gaps_are_pieces(void **state)
{
    (void)state;
    check("b+", "", "");
    check("b+", "bb", "bb|");
    check("b+", "abbcb", "a|bb|c|b|");
    check("b+", "aca", "aca|");
    check("(?<=a)b|c", "abbc", "a|b|b|c|");
}

static void gpt2_expression(void **state)
{
    (void)state;
    check(SLIP_SPLIT_GPT2, "I'm 12,  it\n", "I|'m| 12|,| | it|\n|");
}

static void spaces_are_unicodes(void **state)
{
    (void)state;
    check("\\s+", "a\xc2\x85\xe2\x80\xa8\tb", "a|\xc2\x85\xe2\x80\xa8\t|b|");
    check("\\s+",
          "a\xe1\xa0\x8e"
          "b",
          "a\xe1\xa0\x8e"
          "b|"); /* U+180E is not one */
    check("\\S+", "a\xe1\xa0\x8e b", "a\xe1\xa0\x8e| |b|");
    check("[^\\sx]+", "a bx", "a| |b|x|");
    check("\\\\s", "a\\s s", "a|\\s| s|"); /* an escaped backslash is no space */
    check("\\w+", "\xc3\xa9t\xc3\xa9!", "\xc3\xa9t\xc3\xa9|!|");
    check("(?i:'s)", "a'\xc5\xbf", "a|'\xc5\xbf|"); /* U+017F is an s */
}

static void refuses(void **state)
{
    (void)state;
    slip_splitter *splitter = NULL;
    char *longest = malloc(5001);
    memset(longest, 'x', 5000);
    longest[5000] = '\0';
    const char *const wrong[][2] = {{"(", "missing closing parenthesis"}, {"a?", "empty string"}, {longest, "5000 bytes"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        slip_clear();
        assert_int_equal(slip_splitter_create(wrong[i][0], "x.json", "field", &splitter), SLIP_ERR_INPUT);
        assert_null(splitter);
        assert_non_null(strstr(slip_cause(), "x.json: field"));
        assert_non_null(strstr(slip_cause(), wrong[i][1]));
    }
    slip_clear();
    free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_and_gaps_are_pieces),
        cmocka_unit_test(gpt2_expression),
        cmocka_unit_test(spaces_are_unicodes),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
