/* What one rank alone can say of comm: sums, lockstep and errors of a world of one. More ranks: tests/mpi. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "comm/version.h"
#include "tiny_checkpoint.h"

static void test_world_of_one(void **state)
{
    slip_comm *comm = *state;
    assert_int_equal(slip_comm_rank(comm), 0);
    assert_int_equal(slip_comm_ranks(comm), 1);
    assert_true(strlen(slip_comm_host(comm, 0)) > 0);
    assert_int_equal(slip_comm_set_gpu(comm, (char[SLIP_GPU_NAME]){"0123456789abcdef"}), SLIP_OK);
    assert_true(slip_comm_ranks_here(comm) == 1 && slip_comm_rank_here(comm) == 0);
    assert_int_equal(slip_comm_set_sum_room(comm, 100), SLIP_OK);
}

/* Rounded once to f32, then added: the rounding of the sum itself shows where double would differ. */
static void test_sum(void **state)
{
    slip_comm *comm = *state;
    const double partial[] = {1.0 + 0x1p-30, 1e-9, -3.5, 0};
    float out[] = {0x1p-24f, 1, 2, 7};
    assert_int_equal(slip_comm_set_sum_room(comm, 4), SLIP_OK);
    assert_int_equal(slip_comm_sum(comm, partial, 4, true, out, "a sum"), SLIP_OK);
    assert_true(out[0] == 0x1p-24f + 1.0f && out[1] == 1.0f + 1e-9f && out[2] == -1.5f && out[3] == 7);
    assert_int_equal(slip_comm_sum(comm, partial, 4, false, out, "a sum"), SLIP_OK);
    assert_true(out[0] == 1 && out[1] == 1e-9f && out[2] == -3.5f && out[3] == 0);
}

static void test_lockstep(void **state)
{
    slip_comm *comm = *state;
    char data[] = "unchanged";
    slip_clear();
    assert_int_equal(slip_comm_agree(comm, SLIP_OK), SLIP_OK);
    assert_int_equal(slip_comm_agree(comm, slip_fail(SLIP_ERR_INPUT, "model.h5: torn")), SLIP_ERR_INPUT);
    assert_string_equal(slip_cause(), "model.h5: torn"); /* rank 0 needs no introduction */
    slip_clear();
    assert_int_equal(slip_comm_broadcast(comm, data, sizeof data), SLIP_OK);
    assert_int_equal(slip_comm_broadcast(comm, data, 0), SLIP_OK);
    assert_int_equal(slip_comm_post(comm, data, sizeof data, "a step"), SLIP_OK); /* to nobody */
    assert_string_equal(data, "unchanged");
}

/* Nobody will ever answer: the wait ends at the deadline, and the error says what was waited for and from whom. */
static void test_deadline(void **state)
{
    slip_comm *comm = *state;
    char data[8];
    size_t size = 0;
    slip_clear();
    assert_false(slip_comm_lost(comm));
    slip_comm_set_idle_deadline(comm, 0.25);
    assert_int_equal(slip_comm_receive_posted(comm, data, sizeof data, &size, "waiting for the step after step 17"), SLIP_ERR_FAILED);
    assert_non_null(strstr(slip_cause(), "after step 17"));
    assert_non_null(strstr(slip_cause(), "rank 0 ("));
    assert_true(slip_comm_lost(comm));
    assert_int_equal(size, 0);
    slip_clear();
}

/* Processes of one user that run side by side, without a launcher, would get in each other's way in Open MPI 4's folder of temporary files:
 * here there can be none. Newer ones are not told how to do without. */
static int start_without_folder(void **state)
{
    char version[SLIP_VERSION_TEXT];
    slip_mpi_version(version);
    if (strncmp(version, "Open MPI v4", strlen("Open MPI v4")) == 0)
        setenv("TMPDIR", "/dev/null/none", 1);
    return tiny_comm_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world_of_one), cmocka_unit_test(test_sum), cmocka_unit_test(test_lockstep),
        cmocka_unit_test(test_deadline), /* last: a receive stays open */
    };
    return cmocka_run_group_tests(tests, start_without_folder, tiny_comm_finish);
}
