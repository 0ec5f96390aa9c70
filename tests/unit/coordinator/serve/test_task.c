/* A request of several prompts, several answers each: which prompt and seed each choice gets, and where its answer ends up. The serving
 * core is replaced by one that remembers what is submitted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "coordinator/serve/admission.h"
#include "coordinator/serve/task.h"

enum { N = 3, CHOICES = 2 * N };

static slip_serve_request submitted[CHOICES];
static int count, ends;
static bool answered;

slip_status __wrap_slip_serve_submit(slip_serve *serve, const slip_serve_request *request, uint64_t *ticket);

const slip_tokenizer *__wrap_slip_serve_tokenizer(const slip_serve *serve);

const slip_tokenizer *__wrap_slip_serve_tokenizer(const slip_serve *serve)
{
    (void)serve;
    return NULL;
}

slip_status __wrap_slip_serve_submit(slip_serve *serve, const slip_serve_request *request, uint64_t *ticket)
{
    (void)serve, (void)ticket;
    assert_true(count < CHOICES);
    submitted[count++] = *request;
    return SLIP_OK;
}

/* The first prompt is token 1, the second tokens 2 and 3; choice i said "i" and one token, i. */
static slip_status check_answers(void *context, slip_task *task, const slip_answer *answers)
{
    (void)context, (void)task;
    ends++;
    answered = answers != NULL;
    for (int i = 0; answers && i < CHOICES; i++) {
        assert_true(answers[i].text_size == 1 && answers[i].text[0] == '0' + i && answers[i].ids[0] == i);
        assert_int_equal(answers[i].prompt_ids[0], i < N ? 1 : 2);
        assert_true(answers[i].prompt_tokens == (i < N ? 1 : 2) && answers[i].completion_tokens == 1);
    }
    return SLIP_OK;
}

static slip_task *make(void)
{
    static const char line[] = "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":"
                               "{\"prompt\":[[1],[2,3]],\"n\":3,\"seed\":7,\"max_tokens\":4,\"temperature\":1,\"return_token_ids\":true}}";
    slip_request request;
    slip_ready_prompt *prompts;
    slip_task *task;
    count = ends = 0;
    assert_int_equal(slip_request_parse(line, sizeof line - 1, 1, NULL, &request), SLIP_OK);
    assert_int_equal(slip_admission_prepare(NULL, 10, 100, &request, &prompts), SLIP_OK);
    assert_int_equal(slip_task_create(&request, prompts, check_answers, NULL, &task), SLIP_OK);
    while (slip_task_waits(task))
        assert_int_equal(slip_task_submit(task, NULL), SLIP_OK);
    assert_int_equal(count, CHOICES);
    return task;
}

static void end_choice(int i, const char *finish_reason)
{
    char text[2] = {(char)('0' + i)};
    int32_t token = i;
    const slip_completion completion = {.finish_reason = finish_reason,
                                        .text = text,
                                        .text_size = 1,
                                        .tokens = &token,
                                        .prompt_tokens = submitted[i].query.prompt_count,
                                        .completion_tokens = 1};
    assert_int_equal(submitted[i].sink.end(submitted[i].sink.context, &completion), SLIP_OK);
}

static void test_choices(void **state)
{
    (void)state;
    slip_task *task = make();
    for (int i = 0; i < CHOICES; i++) {
        const slip_query *query = &submitted[i].query;
        assert_true(query->prompt_count == (i < N ? 1 : 2) && query->prompt[0] == (i < N ? 1 : 2) && query->max_tokens == 4);
        for (int j = 0; j < i; j++) /* with a seed, the k-th answers of all prompts share theirs; those of one prompt do not */
            assert_int_equal(query->sampling.seed == submitted[j].query.sampling.seed, i % N == j % N);
    }
    assert_int_equal(submitted[0].query.sampling.seed, 7);
    for (int i = CHOICES - 1; i >= 0; i--) {
        assert_int_equal(ends, 0);
        end_choice(i, "length");
    }
    assert_true(ends == 1 && answered);
    slip_task_free(task);
}

/* One that is given up takes the answer with it, once the others have ended. */
static void test_given_up(void **state)
{
    (void)state;
    slip_task *task = make();
    for (int i = 0; i < CHOICES; i++) {
        assert_int_equal(ends, 0);
        end_choice(i, i == 2 ? NULL : "length");
    }
    assert_true(ends == 1 && !answered);
    slip_task_free(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choices), cmocka_unit_test(test_given_up)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
