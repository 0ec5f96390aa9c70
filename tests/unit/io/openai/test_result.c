/* Batch lines out: their form, what a full disk does to them, and what resume makes of a file. */
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

#include "io/openai/result.h"

enum { RUN = 0x1234, REQUESTS = 4 };

static char folder[64], path[96];
static slip_request requests[REQUESTS]; /* 0: completion, 1: chat, 2: refused, 3: completion */

static const slip_answer plain = {.text = "a\n\xc3\xa9\0z",
                                  .text_size = 6,
                                  .finish_reason = "stop",
                                  .prompt_tokens = 3,
                                  .completion_tokens = 4,
                                  .spec_steps = 2,
                                  .accepted_draft_tokens = 3,
                                  .draft_tokens = 14,
                                  .time_to_first_token_ms = 1.5,
                                  .total_ms = 20};

static slip_answer say(const char *text)
{
    slip_answer answer = plain;
    answer.text = text;
    answer.text_size = strlen(text);
    return answer;
}

static int setup(void **state)
{
    (void)state;
    static const struct {
        const char *url, *body;
    } lines[REQUESTS] = {
        {"/v1/completions", "\"prompt\":\"x\""},
        {"/v1/chat/completions", "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"},
        {"/v1/nothing", "\"prompt\":\"x\""},
        {"/v1/completions", "\"prompt\":\"y\""},
    };
    strcpy(folder, "/tmp/slip_result_XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/results.jsonl", folder);
    for (int i = 0; i < REQUESTS; i++) {
        char line[400];
        int size = snprintf(line, sizeof line,
                            "{\"custom_id\":\"r%d\",\"method\":\"POST\",\"url\":\"%s\",\"body\":"
                            "{\"model\":\"m\",%s}}",
                            i, lines[i].url, lines[i].body);
        if (slip_request_parse(line, (size_t)size, i + 1, NULL, &requests[i]) != SLIP_OK)
            return -1;
    }
    return requests[2].refusal.status_code == 404 && requests[1].refusal.status_code == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char partial[120];
    snprintf(partial, sizeof partial, "%s.partial", path);
    int stale = access(partial, F_OK) == 0; /* nothing may be left behind */
    unlink(partial);
    unlink(path);
    rmdir(folder);
    for (int i = 0; i < REQUESTS; i++)
        slip_request_free(&requests[i]);
    slip_clear();
    return stale ? -1 : 0;
}

static char *read_all(size_t *size)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = malloc(1 << 16);
    *size = fread(text, 1, (1 << 16) - 1, file);
    text[*size] = '\0';
    fclose(file);
    return text;
}

static void write_all(const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

static slip_results *open_results(bool resume)
{
    slip_results *results;
    if (slip_results_open(path, resume, RUN, requests, REQUESTS, &results) != SLIP_OK)
        fail_msg("%s", slip_cause());
    return results;
}

/* Lines of requests 0, 1 and 2, the last one refused. */
static void write_three(void)
{
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &requests[0], &plain), SLIP_OK);
    assert_int_equal(slip_results_answer(results, &requests[1], &plain), SLIP_OK);
    assert_int_equal(slip_results_refuse(results, &requests[2]), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

static void assert_input_error(const char *cause)
{
    slip_results *results = NULL;
    slip_clear();
    assert_int_equal(slip_results_open(path, true, RUN, requests, REQUESTS, &results), SLIP_ERR_INPUT);
    assert_null(results);
    if (strstr(slip_cause(), cause) == NULL || strstr(slip_cause(), path) == NULL)
        fail_msg("cause: %s", slip_cause());
    slip_clear();
}

/* Line `number` (from 0) of the output, parsed. */
static json_t *read_line(int number)
{
    size_t size;
    char *text = read_all(&size), *line = text;
    while (number-- > 0)
        line = strchr(line, '\n') + 1;
    json_t *json = json_loadb(line, strcspn(line, "\n"), JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(json);
    free(text);
    return json;
}

static void test_completion(void **state)
{
    (void)state;
    write_three();
    json_t *line = read_line(0);
    const char *id, *custom_id, *request_id, *object, *text, *reason, *model;
    size_t size;
    int code, prompt, completion, total;
    double mean;
    json_t *error;
    assert_int_equal(json_unpack(line,
                                 "{s:s, s:s, s:{s:i, s:s, s:{s:s, s:s, s:[{s:s%, s:s}], s:{s:i, s:i, s:i},"
                                 "s:{s:{s:f}}}}, s:o}",
                                 "id", &id, "custom_id", &custom_id, "response", "status_code", &code,
                                 "request_id", &request_id, "body", "object", &object, "model", &model,
                                 "choices", "text", &text, &size, "finish_reason", &reason, "usage",
                                 "prompt_tokens", &prompt, "completion_tokens", &completion, "total_tokens",
                                 &total, "slipstream", "acceptance", "mean_acceptance_length", &mean, "error",
                                 &error),
                     0);
    assert_int_equal(strncmp(id, "slip-", 5), 0);
    assert_string_equal(custom_id, "r0");
    assert_string_equal(object, "text_completion");
    assert_string_equal(model, "m");
    assert_int_equal(size, plain.text_size);
    assert_memory_equal(text, plain.text, size);
    assert_int_equal(code, 200);
    assert_true(prompt == 3 && completion == 4 && total == 7 && mean == 2.5);
    assert_true(json_is_null(error));
    json_decref(line);
}

static void test_refused_and_never_ran(void **state)
{
    (void)state;
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_refuse(results, &requests[2]), SLIP_OK);
    assert_int_equal(slip_results_never_ran(results, &requests[0], "rank_lost", "rank 1 of \xff died"),
                     SLIP_OK);
    slip_request_refuse(&requests[3], 400, "context_length_exceeded", "", "caf%s", "\xc3\xa9 \xc3");
    assert_int_equal(slip_results_refuse(results, &requests[3]), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    const char *message, *code;
    int status_code;
    json_t *line = read_line(0), *response, *error, *param;
    assert_int_equal(json_unpack(line, "{s:{s:i, s:{s:{s:s, s:s, s:s, s:s}}}, s:n}", "response",
                                 "status_code", &status_code, "body", "error", "message", &message, "type",
                                 &code, "param", &code, "code", &code, "error"),
                     0);
    assert_int_equal(status_code, 404);
    assert_string_equal(code, "unknown_url");
    json_decref(line);
    line = read_line(1);
    assert_int_equal(json_unpack(line, "{s:o, s:{s:s, s:s}}", "response", &response, "error", "code", &code,
                                 "message", &message),
                     0);
    assert_true(json_is_null(response));
    assert_string_equal(message, "rank 1 of ? died");
    json_decref(line);
    line = read_line(2);
    assert_int_equal(json_unpack(line, "{s:{s:{s:{s:s, s:o}}}, s:o}", "response", "body", "error", "message",
                                 &message, "param", &param, "error", &error),
                     0);
    assert_string_equal(message, "caf\xc3\xa9 ?");
    assert_true(json_is_null(param));
    json_decref(line);
}

static void test_reasoning(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reasoning, *content;
    } cases[] = {
        {"hello", NULL, "hello"},
        {"<think>why</think>so", "why", "so"},
        {"<think></think>so", "", "so"},
        {"<think>cut sho", "cut sho", ""},
        {"a <think>b</think>", NULL, "a <think>b</think>"},
        {"", NULL, ""},
    };
    enum { CASES = sizeof cases / sizeof *cases };
    slip_results *results = open_results(false);
    for (int i = 0; i < CASES; i++) {
        slip_answer answer = say(cases[i].text);
        assert_int_equal(slip_results_answer(results, &requests[1], &answer), SLIP_OK);
    }
    assert_int_equal(slip_results_close(results), SLIP_OK);
    for (int i = 0; i < CASES; i++) {
        json_t *line = read_line(i), *message;
        assert_int_equal(
            json_unpack(line, "{s:{s:{s:[{s:o}]}}}", "response", "body", "choices", "message", &message), 0);
        const char *reasoning = json_string_value(json_object_get(message, "reasoning_content"));
        assert_string_equal(json_string_value(json_object_get(message, "content")), cases[i].content);
        assert_int_equal(reasoning != NULL, cases[i].reasoning != NULL);
        if (reasoning != NULL)
            assert_string_equal(reasoning, cases[i].reasoning);
        json_decref(line);
    }
}

static void test_never_overwrites(void **state)
{
    (void)state;
    slip_results *results = NULL;
    write_three();
    slip_clear();
    assert_int_equal(slip_results_open(path, false, RUN, requests, REQUESTS, &results), SLIP_ERR_INPUT);
    assert_null(results);
    assert_non_null(strstr(slip_cause(), "--resume"));
    slip_clear();
    assert_int_equal(slip_results_open("-", true, RUN, requests, REQUESTS, &results), SLIP_ERR_INPUT);
    slip_clear();
    assert_int_equal(slip_results_open("no/such/folder/r.jsonl", false, RUN, requests, REQUESTS, &results),
                     SLIP_ERR_INPUT);
    slip_clear();
    assert_int_equal(slip_results_open("/dev/full", true, RUN, requests, REQUESTS, &results), SLIP_ERR_INPUT);
}

static void test_resume_skips_finished(void **state)
{
    (void)state;
    write_three();
    slip_results *results = open_results(true);
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(slip_results_has(results, &requests[i]), i < 3);
    assert_int_equal(slip_results_answer(results, &requests[3], &plain), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(true);
    assert_true(slip_results_has(results, &requests[3]));
    assert_int_equal(slip_results_close(results), SLIP_OK);
    json_decref(read_line(3));
}

/* Cut the last line at every byte: what was whole before it stays, the rest is done again. */
static void test_torn_at_every_byte(void **state)
{
    (void)state;
    size_t size, again;
    write_three();
    char *text = read_all(&size);
    size_t two =
        (size_t)((char *)memrchr(text, '\n', size - 1) + 1 - text); /* bytes of the first two lines */
    for (size_t cut = two; cut <= size; cut++) {
        write_all(text, cut);
        slip_results *results = open_results(true);
        assert_true(slip_results_has(results, &requests[0]) && slip_results_has(results, &requests[1]));
        assert_int_equal(slip_results_has(results, &requests[2]), cut == size);
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

/* A crash can leave zeros in place of bytes that the disk had not taken yet. */
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
        assert_false(slip_results_has(results, &requests[2]));
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
    assert_int_equal(slip_results_never_ran(results, &requests[0], "interrupted", "the job was stopped"),
                     SLIP_OK);
    assert_int_equal(slip_results_answer(results, &requests[1], &plain), SLIP_OK);
    assert_int_equal(slip_results_never_ran(results, &requests[3], "interrupted", "the job was stopped"),
                     SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char *text = read_all(&before);
    strcpy(text + before, "{\"id\":\"sl"); /* and torn as well */
    write_all(text, before + 9);
    results = open_results(true);
    assert_true(slip_results_has(results, &requests[1]));
    assert_false(slip_results_has(results, &requests[0]) || slip_results_has(results, &requests[3]));
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

/* Whatever is not provably this run's is refused, and not a byte of it is touched. */
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
    requests[1].hash++;
    assert_input_error("\"r1\" that is not in the input, or has changed");
}

static void test_resume_of_nothing(void **state)
{
    (void)state;
    slip_results *results = open_results(true); /* no file yet */
    assert_false(slip_results_has(results, &requests[0]));
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(true); /* an empty one */
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(false);
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

static void test_full_device(void **state)
{
    (void)state;
    slip_results *results;
    assert_int_equal(slip_results_open("/dev/full", false, RUN, requests, REQUESTS, &results), SLIP_OK);
    assert_int_equal(slip_results_answer(results, &requests[0], &plain), SLIP_ERR_FAILED);
    assert_non_null(strstr(slip_cause(), "/dev/full"));
    assert_non_null(strstr(slip_cause(), "No space left"));
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

/* A line that fits only in part is cut off again, at every length that the file may have. */
static void test_file_limit(void **state)
{
    (void)state;
    struct rlimit before, limit;
    size_t size;
    write_three();
    free(read_all(&size));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t room = 0; room < 300; room += 37) {
        slip_results *results = open_results(true);
        limit = (struct rlimit){.rlim_cur = size + room, .rlim_max = before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        slip_clear();
        slip_status status = slip_results_answer(results, &requests[3], &plain);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(status, SLIP_ERR_FAILED);
        assert_non_null(strstr(slip_cause(), path));
        assert_non_null(strstr(slip_cause(), "File too large"));
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_size, size);
        assert_int_equal(slip_results_close(results), SLIP_OK);
    }
    signal(SIGXFSZ, SIG_DFL);
}

/* What was written before the disk filled up stays, and the run may go on when there is room again. */
static void test_full_after_success(void **state)
{
    (void)state;
    struct rlimit before;
    size_t size, after;
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &requests[0], &plain), SLIP_OK);
    char *text = read_all(&size);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit limit = {.rlim_cur = size + 50, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    slip_status status = slip_results_answer(results, &requests[1], &plain);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, SLIP_ERR_FAILED);
    char *same = read_all(&after);
    assert_int_equal(after, size);
    assert_memory_equal(same, text, size);
    free(same);
    free(text);
    slip_clear();
    assert_int_equal(slip_results_answer(results, &requests[1], &plain), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(true);
    assert_true(slip_results_has(results, &requests[0]) && slip_results_has(results, &requests[1]));
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

/* No room for the repaired copy: the file stays as it was. */
static void test_no_room_to_repair(void **state)
{
    (void)state;
    struct rlimit before, limit = {0};
    size_t size, after;
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &requests[1], &plain), SLIP_OK);
    assert_int_equal(slip_results_never_ran(results, &requests[0], "interrupted", "stopped"), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char *text = read_all(&size);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    slip_status status = slip_results_open(path, true, RUN, requests, REQUESTS, &results);
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

static void test_broken_text(void **state)
{
    (void)state;
    slip_answer broken = say("\xff");
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &requests[0], &broken), SLIP_ERR_FAILED);
    slip_clear();
    assert_int_equal(slip_results_answer(results, &requests[0], &plain), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_completion),
        TEST(test_refused_and_never_ran),
        TEST(test_reasoning),
        TEST(test_never_overwrites),
        TEST(test_resume_skips_finished),
        TEST(test_torn_at_every_byte),
        TEST(test_torn_into_zeros),
        TEST(test_never_ran_is_taken_out),
        TEST(test_resume_refuses_foreign_files),
        TEST(test_changed_request),
        TEST(test_resume_of_nothing),
        TEST(test_full_device),
        TEST(test_file_limit),
        TEST(test_full_after_success),
        TEST(test_no_room_to_repair),
        TEST(test_broken_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
