/* Answers taken apart: written-out cases, and every one of them cut in two at each place and fed byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ranks/model/mimo_v2/chat_answer.h"

static const char TOOLS[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},\"share\":{\"type\":\"number\"},\"fine\":{\"type\":\"boolean\"},"
    "\"at\":{\"type\":\"array\"},\"how\":{\"type\":\"object\"},\"maybe\":{\"type\":[\"string\",\"null\"]},"
    "\"either\":{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]},\"kind\":{\"enum\":[\"1\",\"2\"]}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

#define CALL(name, arguments) "<tool_call>\n<function=" name ">\n" arguments "</function>\n</tool_call>"
#define SET(key, value) "<parameter=" key ">" value "</parameter>\n"

typedef struct {
    const char *text, *reasoning, *content; /* reasoning NULL: none */
    const char *calls;                      /* "name arguments;..." */
} answer_case;

static const answer_case cases[] = {
    {"", NULL, "", ""},
    {"hello", NULL, "hello", ""},
    {"<think>why</think>so", "why", "so", ""},
    {"<think></think>", "", "", ""},
    {"<think>cut <sho", "cut <sho", "", ""},
    {"<think>a</thinkx</think>b</think>", "a</thinkx", "b</think>", ""},
    {"<thin", NULL, "<thin", ""},
    {" <think>a</think>", NULL, " <think>a</think>", ""},
    {"<think>" CALL("now", "") "</think>x", CALL("now", ""), "x", ""},
    {"Look.\n" CALL("get", SET("city", "Lyon")), NULL, "Look.\n", "get {\"city\": \"Lyon\"};"},
    {CALL("now", ""), NULL, "", "now {};"},
    {"<think>t</think>" CALL("now", "") CALL("now", ""), "t", "", "now {};now {};"},
    {CALL("now", "") "\n\n" CALL("now", "") "\n", NULL, "", "now {};now {};"},
    {CALL("now", "") "\n then " CALL("now", "") " x", NULL, "\n then  x", "now {};now {};"},
    {"<tool_call><function=now></function></tool_call>", NULL, "", "now {};"},
    {CALL("get", SET("days", "3") SET("share", "0.1") SET("fine", "True") SET("at", "[1, {\"a\": null}]") SET("how", "{}")), NULL, "",
     "get {\"days\": 3, \"share\": 0.1, \"fine\": true, \"at\": [1, {\"a\": null}], \"how\": {}};"},
    {CALL("get", SET("days", "three") SET("share", "NaN") SET("fine", "yes") SET("at", "{}") SET("how", "[")), NULL, "",
     "get {\"days\": \"three\", \"share\": \"NaN\", \"fine\": \"yes\", \"at\": \"{}\", \"how\": \"[\"};"},
    {CALL("get", SET("city", " a\n\"b\" ") SET("maybe", "None") SET("either", "null") SET("kind", "1") SET("other", "2")), NULL, "",
     "get {\"city\": \" a\\n\\\"b\\\" \", \"maybe\": null, \"either\": null, \"kind\": \"1\", \"other\": \"2\"};"},
    {CALL("get", SET("city", "a") SET("days", "1") SET("city", "<b></parameter")), NULL, "",
     "get {\"city\": \"<b></parameter\", \"days\": 1};"},
    {CALL("get", SET("days", "123456789012345678901234567890") SET("share", "1e-7")), NULL, "",
     "get {\"days\": \"123456789012345678901234567890\", \"share\": 1e-7};"},
    /* What is no call stays text. */
    {"a<tool_call>b", NULL, "a<tool_call>b", ""},
    {"<tool_call>", NULL, "<tool_call>", ""},
    {"a < b <tool", NULL, "a < b <tool", ""},
    {CALL("unknown", ""), NULL, CALL("unknown", ""), ""},
    {"<tool_call>\n<function=>\n</function>\n</tool_call>", NULL, "<tool_call>\n<function=>\n</function>\n</tool_call>", ""},
    {"<tool_call>\n{\"name\": \"now\"}\n</tool_call>", NULL, "<tool_call>\n{\"name\": \"now\"}\n</tool_call>", ""},
    {"<tool_call>\n<function=get>\n<parameter=city>Ly", NULL, "<tool_call>\n<function=get>\n<parameter=city>Ly", ""},
    {"<tool_call>\n<function=now>\n</function>\n", NULL, "<tool_call>\n<function=now>\n</function>\n", ""},
    {"<tool_call>\n<function=now>\nx</function>\n</tool_call>" CALL("now", ""), NULL,
     "<tool_call>\n<function=now>\nx</function>\n</tool_call>", "now {};"},
    {"<tool_call>" CALL("now", ""), NULL, "<tool_call>", "now {};"},
    {"<tool_call>\n<function=get>\n<parameter=a" CALL("now", ""), NULL, "<tool_call>\n<function=get>\n<parameter=a", "now {};"},
    {CALL("now", "") " \n<tool_call> x", NULL, " \n<tool_call> x", "now {};"},
    {"caf\xc3\xa9 <\xe2\x82\xac" CALL("get", SET("city", "\xc3\x89vry")), NULL, "caf\xc3\xa9 <\xe2\x82\xac",
     "get {\"city\": \"\xc3\x89vry\"};"},
};
enum { CASES = sizeof cases / sizeof *cases };

static json_t *tools;

static void check_text(const slip_text *text, const char *expected)
{
    assert_int_equal(text->size, strlen(expected));
    assert_memory_equal(text->size > 0 ? text->bytes : "", expected, text->size);
}

static void check_calls(const json_t *calls, const char *expected)
{
    char text[1024] = "";
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        const char *arguments = json_string_value(json_object_get(call, "arguments"));
        json_t *read = json_loads(arguments, JSON_REJECT_DUPLICATES, NULL);
        assert_true(json_is_object(read));
        json_decref(read);
        strcat(strcat(strcat(strcat(text, json_string_value(json_object_get(call, "name"))), " "), arguments), ";");
    }
    assert_string_equal(text, expected);
    assert_int_equal(calls != NULL, expected[0] != '\0');
}

static void finish_and_check(slip_chat_answer *answer, const answer_case *expected)
{
    slip_mimo_v2_answer_finish(answer);
    assert_false(answer->failed);
    check_text(&answer->content, expected->content);
    check_text(&answer->reasoning, expected->reasoning != NULL ? expected->reasoning : "");
    assert_int_equal(answer->reasons, expected->reasoning != NULL);
    if (expected->reasoning != NULL) {
        assert_int_equal(answer->reasoning_start, strlen("<think>"));
        assert_int_equal(answer->reasoning_end - answer->reasoning_start, strlen(expected->reasoning));
    }
    check_calls(answer->calls, expected->calls);
    slip_chat_answer_free(answer);
}

/* What has come out is never taken back. */
static void feed(slip_chat_answer *answer, const char *text, size_t size)
{
    size_t content = answer->content.size, reasoning = answer->reasoning.size, calls = json_array_size(answer->calls);
    char *before = content > 0 ? strndup(answer->content.bytes, content) : NULL;
    char *copy = malloc(size + 1); /* of just this size: sanitizers see a read behind it */
    memcpy(copy, text, size);
    slip_mimo_v2_answer_feed(answer, copy, size);
    free(copy);
    assert_true(answer->content.size >= content && answer->reasoning.size >= reasoning && json_array_size(answer->calls) >= calls);
    if (before != NULL)
        assert_memory_equal(answer->content.bytes, before, content);
    free(before);
}

static void in_any_pieces(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        size_t size = strlen(cases[i].text);
        for (size_t cut = 0; cut <= size; cut++) {
            slip_chat_answer answer = {.reading = {.tools = tools}};
            feed(&answer, cases[i].text, cut);
            feed(&answer, cases[i].text + cut, size - cut);
            finish_and_check(&answer, &cases[i]);
        }
        slip_chat_answer answer = {.reading = {.tools = tools}};
        for (size_t at = 0; at < size; at++)
            feed(&answer, cases[i].text + at, 1);
        finish_and_check(&answer, &cases[i]);
    }
}

/* A text goes out as soon as nothing of it can become markup. */
static void nothing_waits_without_need(void **state)
{
    (void)state;
    slip_chat_answer answer = {.reading = {.tools = tools}};
    feed(&answer, "<think>ab</th", 13);
    check_text(&answer.reasoning, "ab");
    feed(&answer, "ink>c < d <tool", 15);
    check_text(&answer.content, "c < d ");
    feed(&answer, "_c", 2);
    check_text(&answer.content, "c < d ");
    feed(&answer, "k", 1);
    check_text(&answer.content, "c < d <tool_ck");
    feed(&answer, CALL("now", ""), strlen(CALL("now", "")));
    assert_int_equal(json_array_size(answer.calls), 1);
    slip_chat_answer_free(&answer);
}

static void other_readings(void **state)
{
    (void)state;
    static const char two[] = "a" CALL("now", "") "b" CALL("now", "");
    slip_chat_answer plain = {0};
    feed(&plain, two, strlen(two));
    finish_and_check(&plain, &(answer_case){two, NULL, two, ""});
    slip_chat_answer one = {.reading = {.tools = tools, .one_call = true}};
    feed(&one, two, strlen(two));
    finish_and_check(&one, &(answer_case){two, NULL, "a", "now {};"});
    slip_chat_answer goes_on = {.reading = {.continues = true}};
    feed(&goes_on, "<think>a</think>", 16);
    finish_and_check(&goes_on, &(answer_case){"", NULL, "<think>a</think>", ""});
    slip_chat_answer left = {.reading = {.tools = tools}};
    feed(&left, "<tool_call><function=get><parameter=a>", 38);
    slip_chat_answer_free(&left);
}

int main(void)
{
    tools = json_loads(TOOLS, 0, NULL);
    assert_non_null(tools);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_any_pieces),
        cmocka_unit_test(nothing_waits_without_need),
        cmocka_unit_test(other_readings),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(tools);
    return failed;
}
