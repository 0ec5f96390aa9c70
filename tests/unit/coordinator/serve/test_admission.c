/* What a request must be to run: its prompt as tokens of this model, and room for its answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/admission.h"
#include "folder.h"

enum { VOCABULARY = 4096, CONTEXT = 20 };

static slip_tokenizer *tokenizer;
static slip_request request;
static slip_ready_prompt *prompts;

static void prepare(const char *body)
{
    char line[512];
    int size = snprintf(line, sizeof line, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{%s}}", body);
    assert_int_equal(slip_request_parse(line, (size_t)size, 1, NULL, &request), SLIP_OK);
    assert_int_equal(slip_admission_prepare(tokenizer, VOCABULARY, CONTEXT, &request, &prompts), SLIP_OK);
}

static void release(void)
{
    slip_admission_free(prompts, request.prompt_count);
    slip_request_free(&request);
}

static void assert_refused(const char *body, const char *code, const char *param)
{
    prepare(body);
    assert_int_equal(request.refusal.status_code, 400);
    assert_string_equal(request.refusal.code, code);
    assert_string_equal(request.refusal.param, param);
    assert_null(prompts);
    release();
}

static void test_accepted(void **state)
{
    (void)state;
    prepare("\"prompt\":\"def\",\"max_tokens\":3");
    assert_true(request.refusal.status_code == 0 && prompts && prompts->count > 0 && prompts->max_tokens == 3);
    release();
    prepare("\"prompt\":[5,6,4095]");
    assert_int_equal(prompts->count, 3);
    assert_memory_equal(prompts->ids, ((int32_t[]){5, 6, 4095}), 3 * sizeof(int32_t));
    assert_int_equal(prompts->max_tokens, CONTEXT - 3); /* all that is left */
    release();
    prepare("\"prompt\":[[5,6],[7]]");
    assert_int_equal(prompts[0].max_tokens, CONTEXT - 2);
    assert_int_equal(prompts[1].max_tokens, CONTEXT - 1);
    release();
    prepare("\"prompt\":[1,2],\"max_tokens\":18");
    assert_int_equal(request.refusal.status_code, 0);
    release();
}

/* As vLLM reads them: markup in a completion's prompt is tokens. */
static void test_special_tokens(void **state)
{
    (void)state;
    int32_t end = slip_tokenizer_find(tokenizer, "<|endoftext|>");
    assert_true(end >= 0 && slip_tokenizer_is_special(tokenizer, end));
    prepare("\"prompt\":\"<|endoftext|>\",\"max_tokens\":3");
    assert_true(request.refusal.status_code == 0 && prompts->count == 1 && prompts->ids[0] == end);
    release();
}

static void test_refused(void **state)
{
    (void)state;
    assert_refused("\"prompt\":[5,4096]", "invalid_value", "prompt");
    assert_refused("\"prompt\":[[5],[5,4096]]", "invalid_value", "prompt"); /* the line as a whole */
    assert_refused("\"prompt\":[5],\"echo\":true", "unsupported", "echo");
    assert_refused("\"prompt\":[1,2],\"max_tokens\":19", "context_length_exceeded", "max_tokens");
    assert_refused("\"prompt\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]", "context_length_exceeded", "prompt");
    assert_refused("\"prompt\":[1],\"temperature\":9", "invalid_value", "temperature"); /* as it was parsed */
}

static int open_tokenizer(void **state)
{
    (void)state;
    size_t size;
    char *json = folder_read("tests/golden/tokenizer/gpt2.json", &size);
    slip_status status = slip_tokenizer_parse(json, size, "gpt2.json", VOCABULARY, &tokenizer);
    free(json);
    return status == SLIP_OK ? 0 : -1;
}

static int close_tokenizer(void **state)
{
    (void)state;
    slip_tokenizer_free(tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accepted), cmocka_unit_test(test_special_tokens),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
