/* Pieces of large allocations lie on cache lines, apart from each other, whatever their sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "io/base/memory/large.h"

static void test_pieces(void **state)
{
    const size_t sizes[] = {1, 63, 64, 65, 5 << 20, 20 << 20, 12 << 20, 40 << 20, 100};
    enum { PIECES = sizeof sizes / sizeof *sizes };
    slip_large_pieces pieces = {0};
    unsigned char *piece[PIECES];
    (void)state;
    for (int i = 0; i < PIECES; i++) {
        piece[i] = slip_large_piece(&pieces, sizes[i]);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 64, 0);
        for (size_t rest = sizes[i]; rest % 64 != 0; rest++)
            assert_int_equal(piece[i][rest], 0);
        memset(piece[i], i + 1, sizes[i]);
    }
    for (int i = 0; i < PIECES; i++)
        for (size_t at = 0; at < sizes[i]; at += sizes[i] < 1000 ? 1 : 4093)
            assert_int_equal(piece[i][at], i + 1);
    slip_large_free_pieces(&pieces);
    assert_null(pieces.block);
    slip_large_free_pieces(&pieces);
}

static void test_too_large(void **state)
{
    slip_large_pieces pieces = {0};
    (void)state;
    assert_null(slip_large_piece(&pieces, PTRDIFF_MAX));
    assert_null(slip_large_piece(&pieces, SIZE_MAX));
    assert_non_null(slip_large_piece(&pieces, 1));
    slip_large_free_pieces(&pieces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_too_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
