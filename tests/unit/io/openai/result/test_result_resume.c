/* What resume makes of a file of results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "result_file.h"

static void test_never_overwrites(void **state)
{
    (void)state;
    slip_results *results = NULL;
    write_three();
    slip_clear();
    assert_int_equal(slip_results_open(path, false, RUN, input, &results), SLIP_ERR_INPUT);
    assert_null(results);
    assert_non_null(strstr(slip_cause(), "--resume"));
    slip_clear();
    assert_int_equal(slip_results_open("-", true, RUN, input, &results), SLIP_ERR_INPUT);
    slip_clear();
    assert_int_equal(slip_results_open("no/such/folder/r.jsonl", false, RUN, input, &results), SLIP_ERR_INPUT);
    slip_clear();
    assert_int_equal(slip_results_open("/dev/full", true, RUN, input, &results), SLIP_ERR_INPUT);
}

static void test_resume_skips_finished(void **state)
{
    (void)state;
    write_three();
    slip_results *results = open_results(true);
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(slip_results_has(results, i), i < 3);
    assert_int_equal(slip_results_answer(results, &requests[3], &plain), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(true);
    assert_true(slip_results_has(results, 3));
    assert_int_equal(slip_results_close(results), SLIP_OK);
    json_decref(read_line(3));
}

static void test_torn_at_every_byte(void **state)
{
    (void)state;
    size_t size, again;
    write_three();
    char *text = read_all(&size);
    size_t two = (size_t)((char *)memrchr(text, '\n', size - 1) + 1 - text); /* bytes of the first two lines */
    for (size_t cut = two; cut <= size; cut++) {
        write_all(text, cut);
        slip_results *results = open_results(true);
        assert_true(slip_results_has(results, 0) && slip_results_has(results, 1));
        assert_int_equal(slip_results_has(results, 2), cut == size);
        if (cut < size)
            assert_int_equal(slip_results_refuse(results, &requests[2]), SLIP_OK);
        assert_int_equal(slip_results_close(results), SLIP_OK);
        char *repaired = read_all(&again);
        assert_int_equal(again, size);
        assert_memory_equal(repaired, text, size);
        free(repaired);
    }
    free(text);
}

static void test_torn_into_zeros(void **state)
{
    (void)state;
    size_t size;
    write_three();
    char *text = read_all(&size);
    size_t two = (size_t)((char *)memrchr(text, '\n', size - 1) + 1 - text);
    for (int tail = 0; tail < 3; tail++) {
        char *copy = malloc(size);
        memcpy(copy, text, size);
        size_t from = tail == 0 ? two : two + 20;
        memset(copy + from, 0, size - from - (tail == 2)); /* the third keeps its newline */
        write_all(copy, size);
        free(copy);
        slip_results *results = open_results(true);
        assert_false(slip_results_has(results, 2));
        assert_int_equal(slip_results_close(results), SLIP_OK);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, two);
    }
    free(text);
}

static void test_never_ran_is_taken_out(void **state)
{
    (void)state;
    size_t size, before;
    slip_results *results = open_results(false);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(slip_results_never_ran(results, requests[0].custom_id, "interrupted", "the job was stopped"), SLIP_OK);
    assert_int_equal(slip_results_answer(results, &requests[1], &plain), SLIP_OK);
    assert_int_equal(slip_results_never_ran(results, requests[3].custom_id, "interrupted", "the job was stopped"), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char *text = read_all(&before);
    strcpy(text + before, "{\"id\":\"sl"); /* and torn as well */
    write_all(text, before + 9);
    results = open_results(true);
    assert_true(slip_results_has(results, 1));
    assert_false(slip_results_has(results, 0) || slip_results_has(results, 3));
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char *left = read_all(&size), *second = strchr(text, '\n') + 1;
    assert_int_equal(size, strchr(second, '\n') + 1 - second);
    assert_memory_equal(left, second, size);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    free(left);
    free(text);
}

static void test_resume_refuses_foreign_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *cause;
    } foreign[] = {
        {"my notes", "line 1 is not a result"},
        {"my notes\n", "line 1 is not a result"},
        {"{}\n", "line 1 is not a result"},
        {"{\"custom_id\":\"r0\",\"method\":\"POST\"}\n", "line 1 is not a result"},
        {"{\"id\":\"slip-\n{\"id\":\"slip-", "line 1 is damaged"},
        {"{\"id\":\"slip-1\",\"custom_id\":\"r0\",\"response\":{\"body\":{\"slipstream\":{\"request_hash\":"
         "\"0000000000000000\","
         "\"run_hash\":\"0000000000001234\"}}},\"error\":null}\n",
         "not in the input"},
        {"{\"id\":\"slip-1\",\"custom_id\":\"r0\",\"response\":{\"body\":{\"slipstream\":{\"request_hash\":"
         "\"0000000000000000\","
         "\"run_hash\":\"0000000000001235\"}}},\"error\":null}\n",
         "another model"},
    };
    size_t size;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        write_all(foreign[i].text, strlen(foreign[i].text));
        assert_input_error(foreign[i].cause);
        char *text = read_all(&size);
        assert_string_equal(text, foreign[i].text);
        free(text);
    }
}

static void test_changed_request(void **state)
{
    (void)state;
    write_three();
    change_input("{\"custom_id\":\"r0\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\",\"model\":\"m\"}}\n"
                 "{\"custom_id\":\"r1\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"z\"}}\n");
    assert_input_error("line 2 answers a request \"r1\" that is not in the input, or has changed");
}

/* Two runs that wrote one file answered requests twice: the first answer stays, and the caller learns of it. */
static void test_duplicates_are_taken_out(void **state)
{
    (void)state;
    size_t size, after;
    write_three();
    char *text = read_all(&size), *second = strchr(text, '\n') + 1, *both = malloc(2 * size);
    memcpy(both, text, size);
    memcpy(both + size, second, size - (size_t)(second - text)); /* r1 and r2 again */
    write_all(both, 2 * size - (size_t)(second - text));
    slip_results *results = open_results(true);
    const slip_resumed *resumed = slip_results_resumed(results);
    assert_int_equal(resumed->finished, 3);
    assert_int_equal(resumed->refused, 1);
    assert_int_equal(resumed->duplicates, 2);
    assert_int_equal(resumed->first_duplicate, 4);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char *left = read_all(&after);
    assert_int_equal(after, size);
    assert_memory_equal(left, text, size);
    free(left);
    free(both);
    free(text);
}

/* One writer a file, and the second is told who the first is. */
static void test_one_writer(void **state)
{
    (void)state;
    char process[40];
    slip_results *first = open_results(false), *second = NULL;
    snprintf(process, sizeof process, "process %ld on ", (long)getpid());
    slip_clear();
    assert_int_equal(slip_results_open(path, false, RUN, input, &second), SLIP_ERR_INPUT);
    assert_null(second);
    assert_non_null(strstr(slip_cause(), process));
    assert_non_null(strstr(slip_cause(), "that is this command: give its outputs different names"));
    slip_clear();
    assert_int_equal(slip_results_open(path, true, RUN, input, &second), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "is being written by"));
    slip_clear();
    assert_int_equal(slip_results_answer(first, &requests[0], &plain), SLIP_OK);
    assert_int_equal(slip_results_close(first), SLIP_OK);
    second = open_results(true);
    assert_true(slip_results_has(second, 0));
    assert_int_equal(slip_results_close(second), SLIP_OK);
}

/* An editor may have added blank lines: as many lines come out as requests went in. */
static void test_blank_lines_are_taken_out(void **state)
{
    (void)state;
    size_t size, after;
    write_three();
    char *text = read_all(&size), spaced[1 << 13];
    const char *second = strchr(text, '\n') + 1;
    int length = snprintf(spaced, sizeof spaced, "\n%.*s  \r\n%s\n", (int)(second - text), text, second);
    assert_true(length > 0 && (size_t)length < sizeof spaced);
    write_all(spaced, (size_t)length);
    slip_results *results = open_results(true);
    for (int i = 0; i < 3; i++)
        assert_true(slip_results_has(results, i));
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char *repaired = read_all(&after);
    assert_int_equal(after, size);
    assert_memory_equal(repaired, text, size);
    free(repaired);
    free(text);
}

static void test_resume_of_nothing(void **state)
{
    (void)state;
    slip_results *results = open_results(true); /* no file yet */
    assert_false(slip_results_has(results, 0));
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(true); /* an empty one */
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(false);
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

static void test_no_room_to_repair(void **state)
{
    (void)state;
    struct rlimit before, limit = {0};
    size_t size, after;
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &requests[1], &plain), SLIP_OK);
    assert_int_equal(slip_results_never_ran(results, requests[0].custom_id, "interrupted", "stopped"), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char *text = read_all(&size);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    slip_status status = slip_results_open(path, true, RUN, input, &results);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, SLIP_ERR_FAILED);
    assert_non_null(strstr(slip_cause(), ".partial: cannot be written: File too large"));
    char *same = read_all(&after);
    assert_int_equal(after, size);
    assert_memory_equal(same, text, size);
    free(same);
    free(text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, results_setup, results_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_never_overwrites),  TEST(test_resume_skips_finished),    TEST(test_torn_at_every_byte),
        TEST(test_torn_into_zeros),   TEST(test_never_ran_is_taken_out),   TEST(test_resume_refuses_foreign_files),
        TEST(test_changed_request),   TEST(test_duplicates_are_taken_out), TEST(test_one_writer),
        TEST(test_resume_of_nothing), TEST(test_no_room_to_repair),        TEST(test_blank_lines_are_taken_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
