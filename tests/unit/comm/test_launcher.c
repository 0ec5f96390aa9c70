/* A process that a foreign launcher started beside others must not take itself for all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "comm/launcher.h"

static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"};

static int clear(void **state)
{
    (void)state;
    slip_clear();
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    return 0;
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        clear(NULL);
        setenv(variables[i], "4", 1);
        assert_int_equal(slip_launcher_check(4), SLIP_OK);
        assert_int_equal(slip_launcher_check(1), SLIP_ERR_INPUT);
        assert_non_null(strstr(slip_cause(), variables[i]));
        assert_non_null(strstr(slip_cause(), "started 4 processes"));
    }
    assert_non_null(strstr(slip_cause(), "srun --mpi=pmix"));
}

/* Alone on purpose: in no launcher at all, in an allocation's shell, as a step of one task, as mpirun's only process. */
static void test_alone(void **state)
{
    (void)state;
    assert_int_equal(slip_launcher_check(1), SLIP_OK);
    setenv("SLURM_NTASKS", "4", 1);
    assert_int_equal(slip_launcher_check(1), SLIP_OK);
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    assert_int_equal(slip_launcher_check(1), SLIP_OK);
    setenv("SLURM_STEP_NUM_TASKS", "4", 1); /* of the daemons that mpirun started on four nodes */
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    assert_int_equal(slip_launcher_check(1), SLIP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_refused, clear), cmocka_unit_test_setup(test_alone, clear)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
