/* How many CPUs fall to a rank, for the ways in which launchers bind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "comm/host/cpus.h"

static slip_cpus mask(int first, int count)
{
    slip_cpus cpus = {0};
    for (int cpu = first; cpu < first + count; cpu++)
        cpus.word[cpu / 64] |= (uint64_t)1 << cpu % 64;
    return cpus;
}

static void test_shares(void **state)
{
    (void)state;
    slip_cpus ranks[8];
    for (int r = 0; r < 8; r++)
        ranks[r] = mask(0, 128);
    assert_int_equal(slip_cpus_share(ranks, 8, 3), 16); /* not bound */
    for (int r = 0; r < 8; r++)
        ranks[r] = mask(r, 1);
    assert_int_equal(slip_cpus_share(ranks, 8, 3), 1); /* a core each */
    for (int r = 0; r < 8; r++)
        ranks[r] = mask(r / 4 * 64, 64);
    assert_int_equal(slip_cpus_share(ranks, 8, 7), 16); /* a socket for four */
    ranks[0] = mask(0, 4);
    assert_int_equal(slip_cpus_share(ranks, 8, 0), 4); /* never more than its own */
    for (int r = 0; r < 8; r++)
        ranks[r] = mask(0, 2);
    assert_int_equal(slip_cpus_share(ranks, 8, 0), 1); /* more ranks than CPUs */
    assert_int_equal(slip_cpus_share(ranks, 1, 0), 2);
    for (int r = 4; r < 8; r++)
        ranks[r] = mask(0, 0);
    for (int r = 0; r < 4; r++)
        ranks[r] = mask(1000, 24);
    assert_int_equal(slip_cpus_share(ranks, 8, 2), 6); /* four others on another host */
    assert_int_equal(slip_cpus_share(ranks, 8, 5), 1); /* nothing is known of this one */
}

static void test_self(void **state)
{
    (void)state;
    slip_cpus self = slip_cpus_self();
    assert_true(slip_cpus_share(&self, 1, 0) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_self)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
