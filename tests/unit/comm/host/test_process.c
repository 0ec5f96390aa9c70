/* Which processes are stopped: the own one, a child before and behind SIGSTOP, one that is gone, one that is another's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/host/process.h"

static void test_self(void **state)
{
    (void)state;
    slip_process self = slip_process_self();
    assert_int_equal(self.pid, getpid());
    assert_true(self.start > 0);
    assert_false(slip_process_stopped(&self));
}

static void test_child(void **state)
{
    (void)state;
    int tube[2], status;
    slip_process child;
    assert_int_equal(pipe(tube), 0);
    pid_t pid = fork();
    if (pid == 0) {
        child = slip_process_self();
        _exit(write(tube[1], &child, sizeof child) == sizeof child && pause() ? 0 : 1);
    }
    assert_int_equal(read(tube[0], &child, sizeof child), sizeof child);
    assert_int_equal(child.pid, pid);
    assert_false(slip_process_stopped(&child));
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(slip_process_stopped(&child));
    slip_process other = {child.pid, child.start + 1}; /* the number was given anew */
    assert_false(slip_process_stopped(&other));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(slip_process_stopped(&child));
    close(tube[0]);
    close(tube[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_self), cmocka_unit_test(test_child)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
