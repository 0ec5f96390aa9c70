/* The arena of the exchange between GPUs: nothing overlaps, one-shot and two-shot share a set, and epochs come round in step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "comm/exchange.h"

static void check_arena(int ranks, int rows, int hidden, size_t mail, size_t one_shot_bytes)
{
    slip_exchange_layout l = slip_exchange_plan(ranks, rows, hidden, mail, one_shot_bytes, 0);
    size_t set = l.set[1] - l.set[0], blocks = (size_t)rows * (size_t)l.row_blocks;
    assert_true(l.mail >= sizeof(slip_exchange_head));
    assert_true(l.set[0] >= l.mail + mail);
    assert_true(l.set[1] > l.set[0] && l.bytes - l.set[1] == set);
    assert_true(l.set[0] % 128 == 0 && set % 128 == 0 && l.sums % 128 == 0);
    assert_true(l.row_blocks * SLIP_EXCHANGE_COLUMNS >= hidden && (l.row_blocks - 1) * SLIP_EXCHANGE_COLUMNS < hidden);
    assert_true((size_t)l.one_shot_rows * (size_t)l.row_blocks * (size_t)ranks * SLIP_EXCHANGE_MESSAGE <= set);
    if (l.one_shot_rows < rows) {
        size_t last = blocks - 1, owner = last % (size_t)ranks;
        assert_true((last - owner + (size_t)ranks) * SLIP_EXCHANGE_MESSAGE <= l.sums);
        assert_true(l.sums + blocks * SLIP_EXCHANGE_MESSAGE <= set);
    }
}

static void test_arena(void **state)
{
    static const int hidden[] = {4, 128, 1028, 4096, 6144}, rows[] = {1, 8, 17, 512};
    (void)state;
    for (int ranks = 1; ranks <= SLIP_EXCHANGE_RANKS; ranks++)
        for (size_t h = 0; h < sizeof hidden / sizeof *hidden; h++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                check_arena(ranks, rows[r], hidden[h], 0, 0);
                check_arena(ranks, rows[r], hidden[h], 5000, SIZE_MAX);
                check_arena(ranks, rows[r], hidden[h], 5000, slip_exchange_one_shot_bytes(ranks));
            }
}

/* The Pro's shape on one node: large prompts are two-shot, so the arena does not grow with the ranks. */
static void test_choice(void **state)
{
    (void)state;
    slip_exchange_layout two = slip_exchange_plan(2, 512, 6144, 0, slip_exchange_one_shot_bytes(2), 0);
    slip_exchange_layout eight = slip_exchange_plan(8, 512, 6144, 0, slip_exchange_one_shot_bytes(8), 0);
    assert_int_equal(two.one_shot_rows, 512);
    assert_int_equal(eight.one_shot_rows, (int)(slip_exchange_one_shot_bytes(8) / (6144 * sizeof(float))));
    assert_true(eight.bytes < (size_t)110 << 20);
    assert_int_equal(slip_exchange_one_shot_bytes(9), 0);
}

/* Every column has a place in a message's lines, three to a line, and no message shares a cache line with another. */
static void test_message(void **state)
{
    int line[SLIP_EXCHANGE_LINES] = {0};
    (void)state;
    for (int column = 0; column < SLIP_EXCHANGE_COLUMNS; column++)
        line[column % 4 < 3 ? column / 4 : 32 + column / 12]++;
    for (int i = 0; i < SLIP_EXCHANGE_LINES; i++)
        assert_int_equal(line[i], i < SLIP_EXCHANGE_LINES - 1 ? 3 : 2);
    assert_true(SLIP_EXCHANGE_LINES * SLIP_EXCHANGE_LINE <= SLIP_EXCHANGE_MESSAGE);
    assert_int_equal(SLIP_EXCHANGE_MESSAGE % 128, 0);
}

static void test_epochs(void **state)
{
    (void)state;
    uint32_t epoch = UINT32_MAX - 5;
    for (int i = 0; i < 20; i++) {
        uint32_t next = slip_exchange_epoch_after(epoch, 1);
        assert_true(next >= SLIP_EXCHANGE_FIRST_EPOCH);
        assert_int_not_equal(next & 1, epoch & 1);
        assert_int_equal(slip_exchange_epoch_after(UINT32_MAX - 5, (uint32_t)i + 1), next);
        epoch = next;
    }
}

/* Every row group has one owner; a quad's place among its owner's is its own, and there is room for it. */
static void check_owners(int ranks, int rows)
{
    const slip_exchange_layout l = slip_exchange_plan(ranks, 1, 256, 0, 0, rows);
    const int groups = (rows + SLIP_SHARE_GROUP - 1) / SLIP_SHARE_GROUP, each = SLIP_SHARE_GROUP / SLIP_SHARE_ROWS;
    int owned_by[512], all = 0;
    assert_true(groups <= 512);
    for (int rank = 0; rank < ranks; rank++) {
        const int own = slip_share_groups(ranks, rank, groups);
        bool mine[512] = {false};
        for (int i = 0; i < own; i++) {
            owned_by[slip_share_own(ranks, rank, i)] = rank;
            mine[slip_share_own(ranks, rank, i)] = true;
        }
        for (int i = 0; ranks > 1 && i < groups - own; i++) {
            const int other = slip_share_other(ranks, rank, i);
            assert_true(other >= 0 && other < groups && !mine[other]);
            mine[other] = true;
        }
        for (int g = 0; ranks > 1 && g < groups; g++)
            assert_true(mine[g]);
        all += own;
    }
    assert_int_equal(all, groups);
    int places[SLIP_EXCHANGE_RANKS] = {0};
    for (int quad = 0; quad < groups * each; quad++) {
        const int owner = slip_share_owner(ranks, quad);
        assert_int_equal(owner, owned_by[quad / each]);
        assert_int_equal(slip_share_place(ranks, quad), places[owner]++);
    }
    for (int rank = 0; rank < ranks; rank++) {
        const size_t partials = (size_t)places[rank] * (size_t)l.row_blocks * (size_t)ranks;
        assert_true(partials * SLIP_SHARE_QUAD <= l.share_results);
        assert_true(l.share_sent + partials * sizeof(uint32_t) <= l.share_done);
    }
    const size_t results = (size_t)(groups * each) * (size_t)l.row_blocks;
    assert_true(l.share_results + results * SLIP_SHARE_QUAD <= l.share_sent);
    assert_true(l.share_set[0] >= l.set[1] && l.share_set[0] + l.share_done + results * sizeof(uint32_t) <= l.share_set[1]);
    assert_true(l.share_set[1] + l.share_done + results * sizeof(uint32_t) <= l.share_picks);
    assert_true(l.share_picks + (size_t)(groups * SLIP_SHARE_GROUP * SLIP_SHARE_PICKS * SLIP_EXCHANGE_LINE) <= l.bytes);
}

static void test_owners(void **state)
{
    static const int rows[] = {65, 72, 100, 512, 2047, 2048};
    (void)state;
    for (int ranks = 1; ranks <= SLIP_EXCHANGE_RANKS; ranks++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            check_owners(ranks, rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arena), cmocka_unit_test(test_choice), cmocka_unit_test(test_message),
                                       cmocka_unit_test(test_epochs), cmocka_unit_test(test_owners)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
