/* Batch lines out: their form, and what a full disk does to them. */
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

#include "io/base/file/leftover.h"
#include "result_file.h"

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
                                 "id", &id, "custom_id", &custom_id, "response", "status_code", &code, "request_id", &request_id, "body",
                                 "object", &object, "model", &model, "choices", "text", &text, &size, "finish_reason", &reason, "usage",
                                 "prompt_tokens", &prompt, "completion_tokens", &completion, "total_tokens", &total, "slipstream",
                                 "acceptance", "mean_acceptance_length", &mean, "error", &error),
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
    assert_int_equal(slip_results_never_ran(results, requests[0].custom_id, "rank_lost", "rank 1 of \xff died"), SLIP_OK);
    slip_request_refuse(&requests[3], 400, "context_length_exceeded", "", "caf%s", "\xc3\xa9 \xc3");
    assert_int_equal(slip_results_refuse(results, &requests[3]), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    const char *message, *code;
    int status_code;
    json_t *line = read_line(0), *response, *error, *param;
    assert_int_equal(json_unpack(line, "{s:{s:i, s:{s:{s:s, s:s, s:s, s:s}}}, s:n}", "response", "status_code", &status_code, "body",
                                 "error", "message", &message, "type", &code, "param", &code, "code", &code, "error"),
                     0);
    assert_int_equal(status_code, 404);
    assert_string_equal(code, "unknown_url");
    json_decref(line);
    line = read_line(1);
    assert_int_equal(json_unpack(line, "{s:o, s:{s:s, s:s}}", "response", &response, "error", "code", &code, "message", &message), 0);
    assert_true(json_is_null(response));
    assert_string_equal(message, "rank 1 of ? died");
    json_decref(line);
    line = read_line(2);
    assert_int_equal(json_unpack(line, "{s:{s:{s:{s:s, s:o}}}, s:o}", "response", "body", "error", "message", &message, "param", &param,
                                 "error", &error),
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
        {"<think>cut sho", "cut sho", NULL},
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
        assert_int_equal(json_unpack(line, "{s:{s:{s:[{s:o}]}}}", "response", "body", "choices", "message", &message), 0);
        const char *reasoning = json_string_value(json_object_get(message, "reasoning_content"));
        const char *content = json_string_value(json_object_get(message, "content"));
        assert_true(json_object_get(message, "content") != NULL);
        assert_int_equal(content != NULL, cases[i].content != NULL);
        if (content != NULL)
            assert_string_equal(content, cases[i].content);
        assert_int_equal(reasoning != NULL, cases[i].reasoning != NULL);
        if (reasoning != NULL)
            assert_string_equal(reasoning, cases[i].reasoning);
        json_decref(line);
    }
}

/* The answer of a chat with tools: {reason} of the choice and its message, dropped with *line. */
static json_t *answer_tools(const char *fields, const char *text, const char *reason, json_t **line, const char **finished)
{
    char body[400];
    slip_request chat;
    slip_answer answer = say(text);
    answer.finish_reason = reason;
    answer.reasoning_tokens = 2;
    snprintf(body, sizeof body,
             "{\"custom_id\":\"t\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":[{\"role\":\"user\","
             "\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]%s}}",
             fields);
    assert_int_equal(slip_request_parse(body, strlen(body), 1, NULL, &chat), SLIP_OK);
    assert_int_equal(chat.refusal.status_code, 0);
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &chat, &answer), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    slip_request_free(&chat);
    *line = read_line(0);
    assert_int_equal(unlink(path), 0);
    json_t *message;
    assert_int_equal(
        json_unpack(*line, "{s:{s:{s:[{s:o, s:s}]}}}", "response", "body", "choices", "message", &message, "finish_reason", finished), 0);
    return message;
}

#define CALL_F "<tool_call>\n<function=f>\n<parameter=a>1</parameter>\n</function>\n</tool_call>"

static void test_tool_calls(void **state)
{
    (void)state;
    json_t *line;
    const char *id, *other, *type, *name, *arguments, *reason;
    int reasoning;
    json_t *message = answer_tools("", "<think>w</think>" CALL_F CALL_F, "stop", &line, &reason);
    assert_string_equal(reason, "tool_calls");
    assert_true(json_is_null(json_object_get(message, "content")));
    assert_string_equal(json_string_value(json_object_get(message, "reasoning_content")), "w");
    assert_int_equal(json_unpack(message, "{s:[{s:s, s:s, s:{s:s, s:s}}, {s:s}!]}", "tool_calls", "id", &id, "type", &type, "function",
                                 "name", &name, "arguments", &arguments, "id", &other),
                     0);
    assert_true(strncmp(id, "call_", 5) == 0 && strcmp(id, other) != 0);
    assert_string_equal(type, "function");
    assert_string_equal(name, "f");
    assert_string_equal(arguments, "{\"a\": \"1\"}");
    assert_int_equal(json_unpack(line, "{s:{s:{s:{s:{s:i}}}}}", "response", "body", "usage", "completion_tokens_details",
                                 "reasoning_tokens", &reasoning),
                     0);
    assert_int_equal(reasoning, 2);
    json_decref(line);
    message = answer_tools("", "x" CALL_F "<tool_call>", "length", &line, &reason);
    assert_string_equal(reason, "length"); /* a call more may be missing */
    assert_string_equal(json_string_value(json_object_get(message, "content")), "x<tool_call>");
    json_decref(line);
    message = answer_tools(",\"parallel_tool_calls\":false", CALL_F CALL_F, "stop", &line, &reason);
    assert_int_equal(json_array_size(json_object_get(message, "tool_calls")), 1);
    json_decref(line);
    message = answer_tools(",\"tool_choice\":\"none\"", CALL_F, "stop", &line, &reason);
    assert_string_equal(reason, "stop");
    assert_null(json_object_get(message, "tool_calls"));
    assert_string_equal(json_string_value(json_object_get(message, "content")), CALL_F);
    json_decref(line);
}

/* A prompt list with two answers each: four choices, prompts counted once, ids where vLLM puts them. */
static void test_choices(void **state)
{
    (void)state;
    static const char line[] = "{\"custom_id\":\"many\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":[\"a\",[5,6]],"
                               "\"n\":2,\"return_token_ids\":true}}";
    static const int32_t prompt_ids[] = {5, 6, 7}, ids[] = {9, 10, 11, 12};
    slip_request many;
    slip_answer answers[4];
    assert_int_equal(slip_request_parse(line, sizeof line - 1, 1, NULL, &many), SLIP_OK);
    assert_int_equal(slip_request_choices(&many), 4);
    for (int i = 0; i < 4; i++) {
        answers[i] = plain;
        answers[i].prompt_ids = prompt_ids;
        answers[i].prompt_tokens = i < 2 ? 1 : 3;
        answers[i].ids = ids;
        answers[i].completion_tokens = i + 1;
        answers[i].total_ms = 10 * i;
    }
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &many, answers), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    json_t *answer = read_line(0), *choices, *first, *last;
    const char *fingerprint;
    int prompt, completion, index;
    double total;
    assert_int_equal(json_unpack(answer, "{s:{s:{s:o, s:s, s:{s:i, s:i}, s:{s:F}}}}", "response", "body", "choices", &choices,
                                 "system_fingerprint", &fingerprint, "usage", "prompt_tokens", &prompt, "completion_tokens", &completion,
                                 "slipstream", "total_ms", &total),
                     0);
    assert_string_equal(fingerprint, "fp_0000000000001234");
    assert_int_equal(json_array_size(choices), 4);
    assert_int_equal(prompt, 4);
    assert_int_equal(completion, 10);
    assert_true(total == 30);
    assert_int_equal(
        json_unpack(json_array_get(choices, 3), "{s:i, s:o, s:o}", "index", &index, "prompt_token_ids", &first, "token_ids", &last), 0);
    assert_int_equal(index, 3);
    assert_int_equal(json_array_size(first), 3);
    assert_int_equal(json_array_size(last), 4);
    assert_int_equal(json_integer_value(json_array_get(last, 3)), 12);
    json_decref(answer);
    slip_request_free(&many);
}

/* Many requests that never ran make one write, and are there once the file is closed. */
static void test_never_ran_together(void **state)
{
    (void)state;
    size_t size;
    slip_results *results = open_results(false);
    for (int i = 0; i < 100; i++)
        assert_int_equal(slip_results_never_ran(results, requests[i % REQUESTS].custom_id, "interrupted", "stopped"), SLIP_OK);
    free(read_all(&size));
    assert_int_equal(size, 0);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    json_decref(read_line(99));
}

/* A FIFO without a reader is an error to report, not something to wait for. */
static void test_fifo(void **state)
{
    (void)state;
    slip_results *results;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(slip_results_open(path, false, RUN, input, &results), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "nobody reads"));
    slip_clear();
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    results = open_results(false);
    assert_int_equal(slip_results_refuse(results, &requests[2]), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    char line[400];
    assert_true(read(reader, line, sizeof line) > 0);
    close(reader);
}

static void test_full_device(void **state)
{
    (void)state;
    slip_results *results;
    assert_int_equal(slip_results_open("/dev/full", false, RUN, input, &results), SLIP_OK);
    assert_int_equal(slip_results_answer(results, &requests[0], &plain), SLIP_ERR_FAILED);
    assert_non_null(strstr(slip_cause(), "/dev/full"));
    assert_non_null(strstr(slip_cause(), "No space left"));
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

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
    assert_true(slip_results_has(results, 0) && slip_results_has(results, 1));
    assert_int_equal(slip_results_close(results), SLIP_OK);
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

int __real_open(const char *name, int flags, ...);
int __wrap_open(const char *name, int flags, mode_t mode);
static bool ends; /* by a signal, as soon as the results are made */

int __wrap_open(const char *name, int flags, mode_t mode)
{
    int file = __real_open(name, flags, mode);
    if (ends && strcmp(name, path) == 0)
        slip_leftover_remove();
    return file;
}

/* A signal that comes in the moment in which the file is made leaves none; one that comes to a run that goes on leaves what is there. */
static void test_signal_at_once(void **state)
{
    (void)state;
    ends = true;
    slip_results *results = open_results(false);
    ends = false;
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    write_three();
    ends = true;
    results = open_results(true);
    ends = false;
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, results_setup, results_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_completion), TEST(test_refused_and_never_ran), TEST(test_reasoning),   TEST(test_tool_calls),
        TEST(test_choices),    TEST(test_never_ran_together),    TEST(test_fifo),        TEST(test_full_device),
        TEST(test_file_limit), TEST(test_full_after_success),    TEST(test_broken_text), TEST(test_signal_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
