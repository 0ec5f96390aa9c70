/* What must not reach a terminal: bytes of files in messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/base/printable.h"
#include "io/base/status.h"

static void test_bytes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80"},
        {"\x1b[31mred\a", "?[31mred?"},
        {"two\nlines\r\t.", "two?lines??."},
        {"\x7f\xc2\x9b"
         "0m",
         "???0m"}, /* DEL; C1's CSI */
        {"a\xe2\x80\xae"
         "b\xe2\x80\xa8",
         "a???b???"}, /* right-to-left override; line separator */
        {"\xff\xc3", "??"},
        {"\xe4\xb8", "??"}, /* cut inside of a character */
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[40];
        strcpy(text, cases[i][0]);
        slip_make_printable(text);
        assert_string_equal(text, cases[i][1]);
    }
}

static void test_every_ascii_byte(void **state)
{
    (void)state;
    for (int c = 1; c < 128; c++) {
        char text[2] = {(char)c, '\0'};
        slip_make_printable(text);
        assert_int_equal(text[0], c >= ' ' && c < 127 ? c : '?');
    }
}

static void test_messages(void **state)
{
    (void)state;
    slip_clear();
    assert_int_equal(slip_fail(SLIP_ERR_INPUT, "tensor \"%s\" is odd", "w\x1b]0;owned\a"), SLIP_ERR_INPUT);
    assert_string_equal(slip_cause(), "tensor \"w?]0;owned?\" is odd");
    slip_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_every_ascii_byte),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
