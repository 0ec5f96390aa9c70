/* What a signal does to a process: before there is anything to keep, while a run is driven, and when the run has come to its end. And an
 * alarm, when a job is being ended. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "comm/mpi_state.h"
#include "comm/signals.h"
#include "io/base/status.h"

static const slip_signal_words words = {": early", ": second"};
enum { OWN_STATUS = 3, SAID = 128 };

/* Let a child catch signals, go on by `prepare`, send itself SIGTERM and exit with OWN_STATUS. Returns how it exited; said: on stderr. */
static int end_of(void (*prepare)(void), char said[static SAID])
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        slip_signals_catch(&words);
        prepare();
        raise(SIGTERM);
        _exit(slip_signals_noted() == SIGTERM ? OWN_STATUS : 1);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t got; used < SAID - 1 && (got = read(ends[0], said + used, SAID - 1 - used)) > 0;)
        used += (size_t)got;
    said[used] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void nothing(void)
{
}

static void test_early(void **state)
{
    char said[SAID];
    (void)state;
    assert_int_equal(end_of(nothing, said), slip_exit_status(SLIP_ERR_INTERRUPTED));
    assert_string_equal(said, "slipstream: SIGTERM: early\n");
}

static void test_deferred(void **state)
{
    char said[SAID];
    (void)state;
    assert_int_equal(end_of(slip_signals_defer, said), OWN_STATUS);
    assert_string_equal(said, "");
}

/* A rank that ends first makes the launcher end the others: rank 0 has said why the run failed, and says nothing else. */
static void test_settled(void **state)
{
    char said[SAID];
    (void)state;
    assert_int_equal(end_of(slip_signals_settle, said), OWN_STATUS);
    assert_string_equal(said, "");
}

int __wrap_MPI_Abort(MPI_Comm comm, int status);

int __wrap_MPI_Abort(MPI_Comm comm, int status)
{
    (void)comm;
    raise(SIGALRM); /* the time that it has is over */
    return status;
}

/* A launcher that does not answer in time has no say in how a job exits. */
static void test_late_launcher(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        slip_comm_end_job(SLIP_ERR_INPUT);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), slip_exit_status(SLIP_ERR_INPUT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_early), cmocka_unit_test(test_deferred), cmocka_unit_test(test_settled),
                                       cmocka_unit_test(test_late_launcher)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
