/* Batch lines in: what is accepted, what is refused and why, and what the hash tells apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/openai/request.h"

#define TEXT_LINE(fields) "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{" fields "}}"
#define CHAT_LINE(fields) "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{" fields "}}"
#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]"

static slip_request parse(const char *line)
{
    slip_request request;
    assert_int_equal(slip_request_parse(line, strlen(line), 7, NULL, &request), SLIP_OK);
    assert_non_null(request.custom_id);
    return request;
}

static void assert_refused(const char *line, int status_code, const char *code, const char *param)
{
    slip_request request = parse(line);
    if (request.refusal.status_code != status_code || strcmp(request.refusal.code, code) != 0 ||
        strcmp(request.refusal.param, param) != 0 || request.refusal.message[0] == '\0')
        fail_msg("%s\n-> %d %s '%s': %s", line, request.refusal.status_code, request.refusal.code, request.refusal.param,
                 request.refusal.message);
    assert_string_equal(request.refusal.type, "invalid_request_error");
    slip_request_free(&request);
}

static void assert_accepted(const char *line)
{
    slip_request request = parse(line);
    if (request.refusal.status_code != 0)
        fail_msg("%s\n-> %s", line, request.refusal.message);
    slip_request_free(&request);
}

static void test_defaults(void **state)
{
    (void)state;
    slip_request request = parse(TEXT_LINE("\"prompt\":\"x = 1\""));
    assert_int_equal(request.refusal.status_code, 0);
    assert_string_equal(request.custom_id, "a");
    assert_string_equal(request.prompts->text, "x = 1");
    assert_string_equal(request.model, "slipstream");
    assert_int_equal(request.prompts->size, 5);
    assert_false(request.chat || request.echo);
    assert_int_equal(request.max_tokens, 0);
    assert_true(request.sampling.temperature == 1 && request.sampling.top_p == 1);
    assert_int_equal(request.stop_count, 0);
    slip_request_free(&request);
}

static void test_every_field(void **state)
{
    (void)state;
    slip_request request = parse(TEXT_LINE("\"model\":\"m\",\"prompt\":[\"\\u00e9\"],\"max_tokens\":9,"
                                           "\"temperature\":0.5,\"top_p\":0.25,\"top_k\":40,\"min_p\":0.05,\"seed\":-1,"
                                           "\"stop\":[\"a\",\"b\"],\"echo\":true,\"user\":\"someone\",\"n\":"
                                           "1,\"stream\":false,\"suffix\":null"));
    assert_int_equal(request.refusal.status_code, 0);
    assert_string_equal(request.model, "m");
    assert_string_equal(request.prompts->text, "\xc3\xa9");
    assert_int_equal(request.prompts->size, 2);
    assert_int_equal(request.max_tokens, 9);
    assert_true(request.sampling.temperature == 0.5 && request.sampling.top_p == 0.25 && request.echo);
    assert_true(request.sampling.top_k == 40 && request.sampling.min_p == 0.05);
    assert_true(request.sampling.seed == UINT64_MAX);
    assert_int_equal(request.stop_count, 2);
    assert_string_equal(request.stops[1], "b");
    slip_request_free(&request);
}

static void test_caller_defaults(void **state)
{
    (void)state;
    const slip_request_defaults defaults = {.max_tokens = 33, .sampling = {.temperature = 0, .top_p = 0.5, .seed = 4}};
    const char *line = TEXT_LINE("\"prompt\":\"x\",\"top_p\":1");
    slip_request request, plain = parse(line);
    assert_int_equal(slip_request_parse(line, strlen(line), 1, &defaults, &request), SLIP_OK);
    assert_int_equal(request.max_tokens, 33);
    assert_true(request.sampling.temperature == 0 && request.sampling.top_p == 1);
    assert_true(request.sampling.seed != plain.sampling.seed && request.hash != plain.hash);
    slip_request_free(&request);
    slip_request_free(&plain);
}

static void test_token_ids(void **state)
{
    (void)state;
    slip_request request = parse(TEXT_LINE("\"prompt\":[5,0,2147483647]"));
    assert_int_equal(request.refusal.status_code, 0);
    assert_null(request.prompts->text);
    assert_int_equal(request.prompts->id_count, 3);
    assert_int_equal(request.prompts->ids[2], INT32_MAX);
    slip_request_free(&request);
}

static void test_chat(void **state)
{
    (void)state;
    static const char cue[] = "<think></think>";
    slip_request request = parse(CHAT_LINE(HELLO ",\"max_completion_tokens\":4,\"max_tokens\":4"));
    assert_int_equal(request.refusal.status_code, 0);
    assert_true(request.chat);
    assert_non_null(strstr(request.prompts->text, "Hello"));
    assert_int_equal(request.prompts->size, strlen(request.prompts->text));
    assert_int_equal(request.max_tokens, 4);
    slip_request_free(&request);
    const char *quiet[] = {CHAT_LINE(HELLO ",\"enable_thinking\":false"),
                           CHAT_LINE(HELLO ",\"chat_template_kwargs\":{\"enable_thinking\":false}"),
                           CHAT_LINE(HELLO ",\"enable_thinking\":true,\"chat_template_kwargs\":{\"enable_thinking\":false}")};
    for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++) {
        request = parse(quiet[i]);
        assert_int_equal(request.refusal.status_code, 0);
        assert_true(request.prompts->size > sizeof cue);
        assert_string_equal(request.prompts->text + request.prompts->size - (sizeof cue - 1), cue);
        slip_request_free(&request);
    }
}

/* A model family that has no template. */
static void test_chat_without_template(void **state)
{
    (void)state;
    static const slip_family bare = {.parse = NULL};
    const slip_request_defaults defaults = {.sampling = {.temperature = 1, .top_p = 1}, .family = &bare};
    const char *chat = CHAT_LINE("\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"), *text = TEXT_LINE("\"prompt\":\"x\"");
    slip_request request;
    assert_int_equal(slip_request_parse(chat, strlen(chat), 1, &defaults, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 400);
    assert_string_equal(request.refusal.code, "unsupported");
    assert_non_null(strstr(request.refusal.message, "no chat template"));
    slip_request_free(&request);
    assert_int_equal(slip_request_parse(text, strlen(text), 1, &defaults, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 0);
    slip_request_free(&request);
}

static void test_refused_lines(void **state)
{
    (void)state;
    assert_refused("", 400, "invalid_json", "");
    assert_refused("{", 400, "invalid_json", "");
    assert_refused("[1,2]", 400, "invalid_json", "");
    assert_refused("\"x\"", 400, "invalid_json", "");
    assert_refused("null", 400, "invalid_json", "");
    assert_refused(TEXT_LINE("\"prompt\":\"x\"") " {}", 400, "invalid_json", "");
    assert_refused(TEXT_LINE("\"prompt\":\"\xff\""), 400, "invalid_json", "prompt");
    assert_refused(TEXT_LINE("\"prompt\":\"\\ud800\""), 400, "invalid_json", "prompt");
    assert_refused(TEXT_LINE("\"prompt\":\"a\\u0000b\""), 400, "invalid_json", "prompt");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"prompt\":\"y\""), 400, "invalid_json", "prompt");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"temperature\":1e999"), 400, "invalid_json", "temperature");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"seed\":99999999999999999999"), 400, "invalid_json", "seed");
    assert_refused("{\"method\":\"POST\"}", 400, "missing_field", "custom_id");
    assert_refused("{\"custom_id\":3}", 400, "invalid_value", "custom_id");
    assert_refused("{\"custom_id\":\"\"}", 400, "invalid_value", "custom_id");
    assert_refused("{\"custom_id\":\"a\"}", 400, "missing_field", "method");
    assert_refused("{\"custom_id\":\"a\",\"method\":\"GET\"}", 400, "invalid_value", "method");
    assert_refused("{\"custom_id\":\"a\",\"method\":\"POST\"}", 400, "missing_field", "url");
    assert_refused("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/embeddings\"}", 404, "unknown_url", "url");
    assert_refused("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\"}", 400, "missing_field", "body");
    assert_refused("{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":[]}", 400, "invalid_value", "body");
}

static void test_refused_values(void **state)
{
    (void)state;
    static const struct {
        const char *line, *param;
    } wrong[] = {
        {TEXT_LINE("\"prompt\":\"\""), "prompt"},
        {TEXT_LINE("\"prompt\":[]"), "prompt"},
        {TEXT_LINE("\"prompt\":3"), "prompt"},
        {TEXT_LINE("\"prompt\":[1,\"x\"]"), "prompt"},
        {TEXT_LINE("\"prompt\":[-1]"), "prompt"},
        {TEXT_LINE("\"prompt\":[2147483648]"), "prompt"},
        {TEXT_LINE("\"prompt\":\"x\",\"model\":1"), "model"},
        {TEXT_LINE("\"prompt\":\"x\",\"echo\":1"), "echo"},
        {TEXT_LINE("\"prompt\":\"x\",\"max_tokens\":0"), "max_tokens"},
        {TEXT_LINE("\"prompt\":\"x\",\"n\":0"), "n"},
        {TEXT_LINE("\"prompt\":\"x\",\"n\":129"), "n"},
        {TEXT_LINE("\"prompt\":\"x\",\"n\":1.5"), "n"},
        {TEXT_LINE("\"prompt\":\"x\",\"n\":\"1\""), "n"},
        {TEXT_LINE("\"prompt\":[\"x\",\"\"]"), "prompt"},
        {TEXT_LINE("\"prompt\":[\"x\",1]"), "prompt"},
        {TEXT_LINE("\"prompt\":[[1],[]]"), "prompt"},
        {TEXT_LINE("\"prompt\":\"x\",\"return_token_ids\":1"), "return_token_ids"},
        {TEXT_LINE("\"prompt\":\"x\",\"max_tokens\":2147483648"), "max_tokens"},
        {TEXT_LINE("\"prompt\":\"x\",\"max_tokens\":1.5"), "max_tokens"},
        {TEXT_LINE("\"prompt\":\"x\",\"max_tokens\":1,\"max_completion_tokens\":2"), "max_completion_tokens"},
        {TEXT_LINE("\"prompt\":\"x\",\"temperature\":-0.1"), "temperature"},
        {TEXT_LINE("\"prompt\":\"x\",\"temperature\":2.1"), "temperature"},
        {TEXT_LINE("\"prompt\":\"x\",\"temperature\":\"1\""), "temperature"},
        {TEXT_LINE("\"prompt\":\"x\",\"top_p\":0"), "top_p"},
        {TEXT_LINE("\"prompt\":\"x\",\"top_p\":1.01"), "top_p"},
        {TEXT_LINE("\"prompt\":\"x\",\"top_k\":-2"), "top_k"},
        {TEXT_LINE("\"prompt\":\"x\",\"top_k\":2147483648"), "top_k"},
        {TEXT_LINE("\"prompt\":\"x\",\"top_k\":5.0"), "top_k"},
        {TEXT_LINE("\"prompt\":\"x\",\"min_p\":-0.1"), "min_p"},
        {TEXT_LINE("\"prompt\":\"x\",\"min_p\":1.01"), "min_p"},
        {TEXT_LINE("\"prompt\":\"x\",\"min_p\":\"0\""), "min_p"},
        {TEXT_LINE("\"prompt\":\"x\",\"seed\":1.0"), "seed"},
        {TEXT_LINE("\"prompt\":\"x\",\"seed\":true"), "seed"},
        {TEXT_LINE("\"prompt\":\"x\",\"stop\":\"\""), "stop"},
        {TEXT_LINE("\"prompt\":\"x\",\"stop\":[\"a\",1]"), "stop"},
        {TEXT_LINE("\"prompt\":\"x\",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), "stop"},
        {CHAT_LINE("\"messages\":[]"), "messages"},
        {CHAT_LINE("\"messages\":\"hi\""), "messages"},
        {CHAT_LINE(HELLO ",\"enable_thinking\":1"), "enable_thinking"},
        {CHAT_LINE(HELLO ",\"chat_template_kwargs\":3"), "chat_template_kwargs"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i].line, 400, "invalid_value", wrong[i].param);
    assert_refused(TEXT_LINE("\"max_tokens\":3"), 400, "missing_field", "prompt");
    assert_refused(TEXT_LINE("\"prompt\":null"), 400, "missing_field", "prompt");
    assert_refused(CHAT_LINE("\"max_tokens\":3"), 400, "missing_field", "messages");
}

static void test_unsupported(void **state)
{
    (void)state;
    static const struct {
        const char *line, *param;
    } asked[] = {
        {TEXT_LINE("\"prompt\":\"x\",\"stream\":true"), "stream"},
        {TEXT_LINE("\"prompt\":\"x\",\"echo\":true,\"logprobs\":0"), "logprobs"},
        {TEXT_LINE("\"prompt\":\"x\",\"prompt_logprobs\":1"), "prompt_logprobs"},
        {TEXT_LINE("\"prompt\":\"x\",\"best_of\":3"), "best_of"},
        {TEXT_LINE("\"prompt\":\"x\",\"suffix\":\"y\""), "suffix"},
        {TEXT_LINE("\"prompt\":\"x\",\"tools\":[{}]"), "tools"},
        {TEXT_LINE("\"prompt\":\"x\",\"response_format\":{\"type\":\"json_object\"}"), "response_format"},
        {TEXT_LINE("\"prompt\":\"x\",\"response_format\":7"), "response_format"},
        {CHAT_LINE(HELLO ",\"echo\":true"), "echo"},
        {CHAT_LINE(HELLO ",\"tool_choice\":\"required\""), "tool_choice"},
        {CHAT_LINE(HELLO ",\"tool_choice\":{}"), "tool_choice"},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        assert_refused(asked[i].line, 400, "unsupported", asked[i].param);
    assert_accepted(TEXT_LINE("\"prompt\":\"x\",\"stream\":false,\"n\":1,\"logprobs\":null,\"suffix\":\"\",\"tools\":[],"
                              "\"logit_bias\":{},\"presence_penalty\":0.0,\"response_format\":{\"type\":\"text\"}"));
    assert_accepted(CHAT_LINE(HELLO ",\"logprobs\":false,\"tool_choice\":\"none\",\"something_else\":null"));
}

static void test_penalties_and_logprobs(void **state)
{
    (void)state;
    slip_request r =
        parse(TEXT_LINE("\"prompt\":\"x\",\"presence_penalty\":-0.5,\"frequency_penalty\":1,\"repetition_penalty\":1.5,\"logprobs\":3,"
                        "\"logit_bias\":{\"50\":-100,\"7\":2.5,\"9\":0}"));
    assert_int_equal(r.refusal.status_code, 0);
    assert_true(r.sampling.presence_penalty == -0.5 && r.sampling.frequency_penalty == 1 && r.sampling.repetition_penalty == 1.5);
    assert_true(r.logprobs && r.top_logprobs == 3 && r.bias_count == 3);
    assert_true(r.biases[0].token == 7 && r.biases[0].value == 2.5f && r.biases[2].token == 50 && r.biases[2].value == -100);
    slip_request_free(&r);
    r = parse(CHAT_LINE(HELLO ",\"logprobs\":true,\"top_logprobs\":20"));
    assert_true(r.refusal.status_code == 0 && r.logprobs && r.top_logprobs == 20);
    slip_request_free(&r);
    r = parse(TEXT_LINE("\"prompt\":\"x\",\"logprobs\":0"));
    assert_true(r.refusal.status_code == 0 && r.logprobs && r.top_logprobs == 0);
    slip_request_free(&r);
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logprobs\":21"), 400, "invalid_value", "logprobs");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logprobs\":true"), 400, "invalid_value", "logprobs");
    assert_refused(CHAT_LINE(HELLO ",\"top_logprobs\":2"), 400, "invalid_value", "top_logprobs");
    assert_refused(CHAT_LINE(HELLO ",\"logprobs\":3"), 400, "invalid_value", "logprobs");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"presence_penalty\":2.1"), 400, "invalid_value", "presence_penalty");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"repetition_penalty\":0"), 400, "invalid_value", "repetition_penalty");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logit_bias\":[1]"), 400, "invalid_value", "logit_bias");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logit_bias\":{\"x\":1}"), 400, "invalid_value", "logit_bias");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logit_bias\":{\"-1\":1}"), 400, "invalid_value", "logit_bias");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logit_bias\":{\"3\":101}"), 400, "invalid_value", "logit_bias");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logit_bias\":{\"3\":1,\"03\":1}"), 400, "invalid_value", "logit_bias");
    assert_refused(TEXT_LINE("\"prompt\":\"x\",\"logit_bias\":{\"4294967296\":1}"), 400, "invalid_value", "logit_bias");
}

static void test_long_and_deep_lines(void **state)
{
    (void)state;
    slip_request request;
    char *line = malloc((size_t)SLIP_REQUEST_LINE_MAX + 1);
    assert_non_null(line);
    memset(line, '[', (size_t)SLIP_REQUEST_LINE_MAX + 1);
    assert_int_equal(slip_request_parse(line, (size_t)SLIP_REQUEST_LINE_MAX + 1, 2, NULL, &request), SLIP_OK);
    assert_string_equal(request.refusal.code, "line_too_long");
    assert_string_equal(request.custom_id, "line-2");
    slip_request_free(&request);
    assert_int_equal(slip_request_parse(line, 100000, 2, NULL, &request), SLIP_OK);
    assert_string_equal(request.refusal.code, "invalid_json");
    slip_request_free(&request);
    free(line);
}

/* Spelling does not matter to the hash, every field does. */
static void test_hash(void **state)
{
    (void)state;
    static const char *same[] = {TEXT_LINE("\"prompt\":\"x\",\"temperature\":1"), TEXT_LINE("\"temperature\": 1.0, \"prompt\":\"\\u0078\""),
                                 TEXT_LINE("\"prompt\":[\"x\"],\"user\":\"u\",\"stop\":[]")};
    static const char *different[] = {
        TEXT_LINE("\"prompt\":\"x\""),
        TEXT_LINE("\"prompt\":\"y\""),
        TEXT_LINE("\"prompt\":[120]"),
        TEXT_LINE("\"prompt\":\"x\",\"max_tokens\":1"),
        TEXT_LINE("\"prompt\":\"x\",\"temperature\":0"),
        TEXT_LINE("\"prompt\":\"x\",\"top_p\":0.5"),
        TEXT_LINE("\"prompt\":\"x\",\"top_k\":5"),
        TEXT_LINE("\"prompt\":\"x\",\"min_p\":0.5"),
        TEXT_LINE("\"prompt\":\"x\",\"seed\":0"),
        TEXT_LINE("\"prompt\":\"x\",\"n\":2"),
        TEXT_LINE("\"prompt\":[\"x\",\"x\"]"),
        TEXT_LINE("\"prompt\":\"x\",\"return_token_ids\":true"),
        TEXT_LINE("\"prompt\":\"x\",\"stop\":\"a\""),
        TEXT_LINE("\"prompt\":\"x\",\"stop\":[\"a\",\"b\"]"),
        TEXT_LINE("\"prompt\":\"x\",\"stop\":\"ab\""),
        TEXT_LINE("\"prompt\":\"x\",\"echo\":true"),
        TEXT_LINE("\"prompt\":\"x\",\"model\":\"m\""),
        CHAT_LINE(HELLO),
        "{",
        "[",
    };
    enum { SAME = sizeof same / sizeof *same, DIFFERENT = sizeof different / sizeof *different };
    uint64_t seen[DIFFERENT];
    for (int i = 0; i < SAME; i++) {
        slip_request first = parse(same[0]), other = parse(same[i]);
        assert_true(first.hash == other.hash);
        slip_request_free(&first);
        slip_request_free(&other);
    }
    for (int i = 0; i < DIFFERENT; i++) {
        slip_request request = parse(different[i]);
        seen[i] = request.hash;
        slip_request_free(&request);
        for (int j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_field),
        cmocka_unit_test(test_caller_defaults),
        cmocka_unit_test(test_token_ids),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_chat_without_template),
        cmocka_unit_test(test_refused_lines),
        cmocka_unit_test(test_refused_values),
        cmocka_unit_test(test_unsupported),
        cmocka_unit_test(test_penalties_and_logprobs),
        cmocka_unit_test(test_long_and_deep_lines),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
