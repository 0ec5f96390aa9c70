/* CRC-32C against the values of RFC 3720, B.4, and the instruction against the table at every length around its runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "io/base/hash/crc32c.h"

static void test_standard(void **state)
{
    (void)state;
    unsigned char bytes[32];
    assert_int_equal(slip_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(slip_crc32c("", 0), 0);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(slip_crc32c(bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 255, sizeof bytes);
    assert_int_equal(slip_crc32c(bytes, sizeof bytes), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(slip_crc32c(bytes, sizeof bytes), 0x46dd794e);
    assert_int_equal(slip_crc32c_portable(0, bytes, sizeof bytes), 0x46dd794e);
}

static void test_lengths(void **state)
{
    (void)state;
    static unsigned char bytes[40000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    for (size_t size = 0; size + 3 < sizeof bytes; size += size < 64 ? 1 : 509)
        assert_int_equal(slip_crc32c(bytes + 3, size), slip_crc32c_portable(0, bytes + 3, size));
    for (size_t size = 3 * 4096 - 2; size < 3 * 4096 + 3; size++)
        assert_int_equal(slip_crc32c(bytes, size), slip_crc32c_portable(0, bytes, size));
    for (size_t first = 0; first < sizeof bytes; first += 1733) /* in two parts */
        assert_int_equal(slip_crc32c_more(slip_crc32c(bytes, first), bytes + first, sizeof bytes - first),
                         slip_crc32c_portable(0, bytes, sizeof bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_standard), cmocka_unit_test(test_lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
