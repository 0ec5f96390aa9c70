/* A request whose choices an earlier run began: what fits it is taken over, all else is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/task.h"

enum { CHOICES = 3, PROMPT = 2, MOST = 8, VOCABULARY = 100 };

static slip_status end(void *context, slip_task *task, const slip_answer *answers)
{
    (void)context;
    (void)task;
    (void)answers;
    return SLIP_OK;
}

static slip_task *make_task(void)
{
    static const char line[] = "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\","
                               "\"body\":{\"prompt\":\"x\",\"max_tokens\":8,\"n\":3}}";
    slip_request request;
    slip_task *task;
    assert_int_equal(slip_request_parse(line, sizeof line - 1, 1, NULL, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 0);
    slip_ready_prompt *prompts = calloc(1, sizeof *prompts);
    *prompts = (slip_ready_prompt){.ids = calloc(PROMPT, sizeof(int32_t)), .count = PROMPT, .max_tokens = MOST};
    assert_int_equal(slip_task_create(&request, prompts, end, NULL, &task), SLIP_OK);
    return task;
}

/* Choices of so many tokens; `reasons` NULL where they had not ended. */
static slip_begun begun_of(const int32_t *counts, const char *const *reasons, int32_t count)
{
    slip_begun begun = {.choices = calloc((size_t)count, sizeof(slip_answer)), .count = count};
    for (int32_t i = 0; i < count; i++) {
        int32_t *ids = calloc((size_t)counts[i] + 1, sizeof *ids);
        for (int32_t t = 0; t < counts[i]; t++)
            ids[t] = t;
        begun.choices[i] = (slip_answer){.text = strdup("so far"), .finish_reason = reasons[i], .completion_tokens = counts[i], .ids = ids};
    }
    return begun;
}

static const char *const going[CHOICES] = {NULL, NULL, NULL}, *const ended[CHOICES] = {"stop", NULL, "length"},
                         *const over[CHOICES] = {"stop", "stop", "length"};
static const int32_t some[CHOICES] = {5, 3, 8}, none[CHOICES] = {5, 0, 0}, many[CHOICES] = {5, 8, 0};

static bool fits(slip_begun begun)
{
    slip_task *task = make_task();
    bool taken = slip_task_resume(task, &begun, VOCABULARY);
    for (int i = 0; i < CHOICES; i++)
        assert_true(taken || slip_task_answers(task)[i].completion_tokens == 0);
    assert_true(slip_task_waits(task));
    slip_begun_free(&begun);
    slip_task_free(task);
    return taken;
}

static void test_what_fits(void **state)
{
    (void)state;
    assert_true(fits(begun_of(none, going, CHOICES)));
    assert_true(fits(begun_of(some, ended, CHOICES)));
    assert_false(fits(begun_of(some, ended, CHOICES - 1)));
    assert_false(fits(begun_of(some, over, CHOICES)));  /* it would have been answered */
    assert_false(fits(begun_of(many, going, CHOICES))); /* this choice would have ended */
    for (int i = 0; i < 2; i++) {
        slip_begun begun = begun_of(some, ended, CHOICES);
        ((int32_t *)begun.choices[1].ids)[2] = i == 0 ? VOCABULARY : -1;
        assert_false(fits(begun));
    }
}

static void test_taken_over(void **state)
{
    (void)state;
    slip_task *task = make_task();
    slip_begun begun = begun_of(some, ended, CHOICES);
    assert_true(slip_task_resume(task, &begun, VOCABULARY));
    for (int i = 0; i < CHOICES; i++) {
        const slip_answer *answer = &slip_task_answers(task)[i];
        assert_int_equal(answer->completion_tokens, some[i]);
        assert_int_equal(answer->prompt_tokens, PROMPT);
        assert_string_equal(answer->text, "so far");
        assert_null(begun.choices[i].text);
    }
    slip_begun_free(&begun);
    slip_task_free(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_fits), cmocka_unit_test(test_taken_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
