/* One writer a file, across processes, links and deaths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/base/file/leftover.h"
#include "io/base/file/lock.h"

static char folder[40], path[80], lock_path[90];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/slip_lock_XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/out", folder);
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    slip_clear();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    unlink(lock_path);
    slip_clear();
    return rmdir(folder);
}

static void assert_held(const char *name, const char *by)
{
    slip_lock *lock = NULL;
    slip_clear();
    assert_int_equal(slip_lock_take(name, &lock), SLIP_ERR_INPUT);
    assert_null(lock);
    if (strstr(slip_cause(), by) == NULL || strstr(slip_cause(), name) == NULL)
        fail_msg("%s", slip_cause());
    slip_clear();
}

static void test_twice(void **state)
{
    (void)state;
    slip_lock *lock;
    char process[40];
    setenv("SLURM_JOB_ID", "4711", 1);
    assert_int_equal(slip_lock_take(path, &lock), SLIP_OK);
    snprintf(process, sizeof process, "process %ld on ", (long)getpid());
    assert_held(path, process);
    assert_held(path, ", job 4711 since ");
    slip_lock_release(lock);
    unsetenv("SLURM_JOB_ID");
    assert_int_equal(access(lock_path, F_OK), -1);
    assert_int_equal(slip_lock_take(path, &lock), SLIP_OK);
    slip_lock_release(lock);
    slip_lock_release(NULL);
}

/* Two names of one file are one file. */
static void test_link(void **state)
{
    (void)state;
    slip_lock *lock;
    char link[100];
    snprintf(link, sizeof link, "%s/link", folder);
    fclose(fopen(path, "w"));
    assert_int_equal(symlink("out", link), 0);
    assert_int_equal(slip_lock_take(link, &lock), SLIP_OK);
    assert_held(path, "process");
    slip_lock_release(lock);
    unlink(link);
}

/* A process that is killed leaves its file behind, and no lock. */
static void test_killed(void **state)
{
    (void)state;
    int ends[2], ended;
    char byte;
    slip_lock *lock;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        byte = slip_lock_take(path, &lock) == SLIP_OK;
        (void)!write(ends[1], &byte, 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(byte, 1);
    assert_held(path, "process");
    kill(child, SIGKILL);
    waitpid(child, &ended, 0);
    assert_int_equal(access(lock_path, F_OK), 0);
    assert_int_equal(slip_lock_take(path, &lock), SLIP_OK);
    slip_lock_release(lock);
    close(ends[0]);
    close(ends[1]);
}

/* What somebody else keeps under the lock's name stays. */
static void test_foreign(void **state)
{
    (void)state;
    char text[10] = "";
    slip_lock *lock = NULL;
    FILE *file = fopen(lock_path, "w");
    fputs("results", file);
    fclose(file);
    assert_held(path, "is no lock");
    file = fopen(lock_path, "r");
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "results");
    assert_int_equal(truncate(lock_path, 4), 0);
    assert_held(path, "is no lock");
    assert_int_equal(truncate(lock_path, 0), 0);
    assert_int_equal(slip_lock_take(path, &lock), SLIP_OK);
    slip_lock_release(lock);
}

/* Many processes that want it at once: never two that have it. */
static void test_race(void **state)
{
    (void)state;
    enum { PROCESSES = 8, ROUNDS = 60 };
    pid_t children[PROCESSES];
    char inside[100];
    snprintf(inside, sizeof inside, "%s/inside", folder);
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] != 0)
            continue;
        for (int round = 0; round < ROUNDS; round++) {
            slip_lock *lock;
            if (slip_lock_take(path, &lock) != SLIP_OK)
                continue;
            if (mkdir(inside, 0700) != 0 || rmdir(inside) != 0)
                _exit(1);
            slip_lock_release(lock);
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int ended;
        assert_int_equal(waitpid(children[i], &ended, 0), children[i]);
        assert_int_equal(ended, 0);
    }
}

static void test_no_folder(void **state)
{
    (void)state;
    slip_lock *lock;
    assert_int_equal(slip_lock_take("no/such/folder/out", &lock), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "no/such/folder/out: cannot be written: No such file"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

/* A process that a signal ends takes its lock along; a lock that was given back is not its any more. */
static void test_leftover(void **state)
{
    (void)state;
    slip_lock *lock;
    assert_int_equal(slip_lock_take(path, &lock), SLIP_OK);
    assert_int_equal(access(lock_path, F_OK), 0);
    slip_leftover_remove();
    assert_int_equal(access(lock_path, F_OK), -1);
    slip_lock_release(lock);
    FILE *other = fopen(lock_path, "w");
    assert_non_null(other);
    fclose(other);
    slip_leftover_remove();
    assert_int_equal(unlink(lock_path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_twice), TEST(test_link),      TEST(test_foreign), TEST(test_killed),
                                       TEST(test_race),  TEST(test_no_folder), TEST(test_leftover)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
