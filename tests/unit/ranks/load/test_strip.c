/* Strips against a loop over bytes: every byte of ours arrives, no other, whatever the runs, the columns and the size of reads; and reads are
 * whole blocks, in order, none twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/checksum.h"
#include "ranks/load/strip.h"

enum { BLOCK = SLIP_CHECKSUM_BLOCK };

typedef struct {
    slip_dataset dataset;
    unsigned char *data;
} array;

static array make(int64_t bytes)
{
    array a = {{.bytes = bytes}, malloc((size_t)bytes)};
    assert_non_null(a.data);
    for (int64_t i = 0; i < bytes; i++)
        a.data[i] = (unsigned char)(i * 31 + i / 1000 + i / BLOCK);
    return a;
}

/* Our byte (run, row, i), as the strip says where it is. */
static void check_places(const slip_strip *s, const array *a, const unsigned char *to)
{
    for (int64_t run = 0; run < s->runs; run++)
        for (int64_t row = 0; row < s->rows; row++)
            if (memcmp(to + run * s->to_run + row * s->to_row, a->data + s->first + run * s->stride + row * s->row_bytes + s->column,
                       (size_t)s->bytes) != 0)
                fail_msg("run %lld, row %lld: other bytes", (long long)run, (long long)row);
}

enum { PLACES = 8 };

/* A read as preadv does it: to its places, one behind the other. false: it has none, or too many. */
static bool fill_places(const slip_strip_read *read, const unsigned char *data, unsigned char *spare)
{
    struct iovec places[PLACES];
    int32_t count = slip_strip_places(read, spare, PLACES, places);
    size_t done = 0;
    for (int32_t i = 0; i < count; done += places[i++].iov_len)
        memcpy(places[i].iov_base, data + done, places[i].iov_len);
    assert_true(count == 0 || done == (size_t)read->bytes);
    return count > 0;
}

/* All reads of the strip, through a buffer that is no larger than they may be; `placed`: past it, where that can be. */
static int64_t read_all(const slip_strip *strip, const array *a, int64_t most, bool placed)
{
    slip_strip_cursor cursor = {.strips = strip, .count = 1};
    slip_strip_read read;
    unsigned char *buffer = malloc((size_t)most);
    int64_t behind = 0, total = 0;
    while (slip_strip_next(&cursor, most, &read)) {
        assert_ptr_equal(read.strip, strip);
        assert_true(read.first % BLOCK == 0 && read.first >= behind && read.bytes > 0 && read.bytes <= most);
        behind = read.first + read.bytes;
        assert_true(behind <= a->dataset.bytes && (behind % BLOCK == 0 || behind == a->dataset.bytes));
        if (!placed || !fill_places(&read, a->data + read.first, buffer)) {
            memcpy(buffer, a->data + read.first, (size_t)read.bytes);
            slip_strip_scatter(&read, buffer);
        }
        total += read.bytes;
    }
    free(buffer);
    return total;
}

/* `runs` runs of `rows` rows, each a part of an expert of `all_rows`, `bytes` of `row_bytes` of a row; nothing around ours is touched. */
static int64_t check_way(const array *a, int64_t first_run, int64_t runs, int64_t all_rows, int64_t first_row, int64_t rows,
                         int64_t row_bytes, int64_t column, int64_t bytes, int64_t most, bool placed)
{
    enum { GUARD = 64 };
    int64_t to_run = rows * bytes + 5, size = runs * to_run, total;
    unsigned char *to = malloc((size_t)size + 2 * GUARD);
    memset(to, 0xaa, (size_t)size + 2 * GUARD);
    const slip_strip strip = {.dataset = &a->dataset,
                              .first = (first_run * all_rows + first_row) * row_bytes,
                              .stride = all_rows * row_bytes,
                              .runs = runs,
                              .rows = rows,
                              .row_bytes = row_bytes,
                              .column = column,
                              .bytes = bytes,
                              .to = to + GUARD,
                              .to_run = to_run,
                              .to_row = bytes};
    assert_true(strip.first + (runs - 1) * strip.stride + rows * row_bytes <= a->dataset.bytes || rows == 0);
    total = read_all(&strip, a, most, placed);
    check_places(&strip, a, to + GUARD);
    for (int64_t run = 0; run < runs; run++)
        for (int64_t i = rows * bytes; i < to_run; i++)
            assert_int_equal(to[GUARD + run * to_run + i], 0xaa);
    for (int64_t i = 0; i < GUARD; i++)
        assert_true(to[i] == 0xaa && to[GUARD + size + i] == 0xaa);
    free(to);
    return total;
}

/* Sorted, and read in place: the same reads. */
static int64_t check(const array *a, int64_t first_run, int64_t runs, int64_t all_rows, int64_t first_row, int64_t rows, int64_t row_bytes,
                     int64_t column, int64_t bytes, int64_t most)
{
    int64_t sorted = check_way(a, first_run, runs, all_rows, first_row, rows, row_bytes, column, bytes, most, false);
    int64_t placed = check_way(a, first_run, runs, all_rows, first_row, rows, row_bytes, column, bytes, most, true);
    assert_int_equal(sorted, placed);
    return placed;
}

/* Which reads go to their places by themselves. */
static void test_places(void **state)
{
    (void)state;
    array a = make(2 * BLOCK);
    unsigned char *to = malloc(2 * (size_t)BLOCK), *spare = malloc(2 * (size_t)BLOCK);
    slip_strip strip = {.dataset = &a.dataset,
                        .first = 100,
                        .stride = 300,
                        .runs = 3,
                        .rows = 2,
                        .row_bytes = 100,
                        .bytes = 100,
                        .to = to,
                        .to_run = 200,
                        .to_row = 100};
    slip_strip_read read = {&strip, 0, 2 * BLOCK};
    struct iovec places[PLACES];
    assert_int_equal(slip_strip_places(&read, spare, PLACES, places), 7); /* what is before, and each run with what is behind */
    assert_true(places[0].iov_base == spare && places[0].iov_len == 100);
    assert_true(places[3].iov_base == to + 200 && places[3].iov_len == 200);
    assert_true(places[6].iov_base == spare + 900 && places[6].iov_len == 2 * BLOCK - 900);
    assert_int_equal(slip_strip_places(&read, spare, 6, places), 0); /* too many */
    strip.stride = 200;
    assert_int_equal(slip_strip_places(&read, spare, PLACES, places), 3); /* runs side by side here and there are one */
    assert_true(places[1].iov_base == to && places[1].iov_len == 600);
    strip.bytes = 50;
    assert_int_equal(slip_strip_places(&read, spare, PLACES, places), 0); /* rows are cut */
    free(spare);
    free(to);
    free(a.data);
}

static void test_whole_rows(void **state)
{
    (void)state;
    array a = make(10 * BLOCK + 77 * 3072); /* rows that do not end with blocks */
    int64_t rows = a.dataset.bytes / 3072;
    a.dataset.bytes = rows * 3072;
    for (int64_t most = BLOCK; most <= 16 * BLOCK; most *= 2) {
        assert_int_equal(check(&a, 0, 1, rows, 0, rows, 3072, 0, 3072, most), a.dataset.bytes); /* each block once, and no more */
        check(&a, 0, 1, rows, 100, rows - 100, 3072, 0, 3072, most);
        check(&a, 0, 1, rows, 1, 1, 3072, 0, 3072, most);
        check(&a, 0, 1, rows, rows - 1, 1, 3072, 0, 3072, most);
    }
    free(a.data);
}

static void test_experts(void **state)
{
    (void)state;
    enum { EXPERTS = 6, ROWS = 700, WIDTH = 1000 };
    array a = make((int64_t)EXPERTS * ROWS * WIDTH);
    for (int64_t most = BLOCK; most <= 8 * BLOCK; most *= 2) {
        assert_int_equal(check(&a, 0, EXPERTS, ROWS, 0, ROWS, WIDTH, 0, WIDTH, most), a.dataset.bytes); /* experts side by side: one read */
        assert_true(check(&a, 2, 3, ROWS, 0, ROWS, WIDTH, 0, WIDTH, most) <= 3 * ROWS * WIDTH + 2 * BLOCK);
        assert_true(check(&a, 0, EXPERTS, ROWS, 350, 10, WIDTH, 0, WIDTH, most) <= 2 * EXPERTS * BLOCK); /* slices far apart: gaps stay */
        check(&a, 1, 5, ROWS, 0, ROWS, WIDTH, 500, 125, most);
        check(&a, 0, EXPERTS, ROWS, 17, 300, WIDTH, 999, 1, most);
    }
    free(a.data);
}

static void test_small_and_nothing(void **state)
{
    (void)state;
    array a = make(300);
    assert_int_equal(check(&a, 0, 1, 1, 0, 1, 300, 0, 300, BLOCK), 300);
    assert_int_equal(check(&a, 1, 4, 3, 1, 2, 20, 7, 9, BLOCK), 300);
    assert_int_equal(check(&a, 0, 1, 3, 1, 0, 100, 0, 100, BLOCK), 0);
    assert_int_equal(check(&a, 0, 3, 1, 0, 1, 100, 0, 0, BLOCK), 0);
    free(a.data);
}

/* Several strips follow one another. */
static void test_walk(void **state)
{
    (void)state;
    array a = make(3 * BLOCK);
    unsigned char *to = malloc(3 * (size_t)BLOCK);
    slip_strip whole = {.dataset = &a.dataset, .runs = 1, .rows = 3, .row_bytes = BLOCK, .bytes = BLOCK, .to = to, .to_row = BLOCK};
    slip_strip none = whole, strips[4];
    none.rows = 0;
    memcpy(strips, (slip_strip[]){none, whole, none, whole}, sizeof strips);
    slip_strip_cursor cursor = {.strips = strips, .count = 4};
    slip_strip_read read;
    for (int i = 0; i < 4; i++) {
        assert_true(slip_strip_next(&cursor, 2 * BLOCK, &read));
        assert_ptr_equal(read.strip, &strips[i < 2 ? 1 : 3]);
        assert_int_equal(read.first, i % 2 * 2 * BLOCK);
        assert_int_equal(read.bytes, i % 2 ? BLOCK : 2 * BLOCK);
    }
    assert_false(slip_strip_next(&cursor, 2 * BLOCK, &read));
    free(to);
    free(a.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_whole_rows), cmocka_unit_test(test_experts),
                                       cmocka_unit_test(test_small_and_nothing), cmocka_unit_test(test_walk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
