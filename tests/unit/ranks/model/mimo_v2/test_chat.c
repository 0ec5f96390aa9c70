/* The chat template against texts written out by hand, and the messages it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ranks/model/mimo_v2/chat.h"

#define DEFAULT "<|im_start|>system\nYou are MiMo, a helpful AI assistant engineered by Xiaomi.<|im_end|>"
#define USER(text) "<|im_start|>user\n" text "<|im_end|>"
#define ASSISTANT(text) "<|im_start|>assistant\n" text "<|im_end|>"
#define CUE "<|im_start|>assistant\n"

static json_t *json_of(const char *text)
{
    json_error_t error;
    json_t *value = text != NULL ? json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error) : NULL;
    if (text != NULL && value == NULL)
        fail_msg("%s in %s", error.text, text);
    return value;
}

static slip_status render(const char *messages, const char *tools, int thinking, char **text)
{
    size_t size = 0;
    json_t *list = json_of(messages), *functions = json_of(tools);
    slip_clear();
    slip_status status = slip_mimo_v2_chat(list, functions, thinking, SLIP_CHAT_CUE, text, &size);
    json_decref(list);
    json_decref(functions);
    if (status == SLIP_OK)
        assert_int_equal(strlen(*text), size);
    return status;
}

static void expect(const char *messages, const char *tools, int thinking, const char *expected)
{
    char *text = NULL;
    assert_int_equal(render(messages, tools, thinking, &text), SLIP_OK);
    assert_string_equal(text, expected);
    free(text);
}

/* The one prompt that is published together with its token ids. */
static void published_prompt(void **state)
{
    (void)state;
    expect("[{\"role\":\"user\",\"content\":\"Hello\"}]", NULL, 0,
           "<|im_start|>system\nYou are MiMo, a helpful AI assistant engineered by Xiaomi.<|im_end|>"
           "<|im_start|>user\nHello<|im_end|><|im_start|>assistant\n<think></think>");
}

static void turns_and_contents(void **state)
{
    (void)state;
    expect("[{\"role\":\"user\",\"content\":\"Hi\"}]", NULL, 1, DEFAULT USER("Hi") CUE);
    expect("[{\"role\":\"user\",\"content\":\"Hi\",\"name\":null}]", "[]", 1, DEFAULT USER("Hi") CUE);
    expect("[{\"role\":\"user\",\"content\":\"\"}]", "null", 1, DEFAULT USER("") CUE);
    expect("[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":["
           "{\"type\":\"text\",\"text\":\"a \"},{\"type\":\"text\",\"text\":\"b\\n\\u00e9\"}]},"
           "{\"role\":\"system\",\"content\":[]}]",
           NULL, 1, "<|im_start|>system\nBe brief.<|im_end|>" USER("a b\n\xc3\xa9") "<|im_start|>system\n<|im_end|>" CUE);
}

static void reasoning(void **state)
{
    (void)state;
    expect("[{\"role\":\"user\",\"content\":\"1\"},{\"role\":\"assistant\",\"content\":\"2\"},"
           "{\"role\":\"user\",\"content\":\"3\"}]",
           NULL, 1, DEFAULT USER("1") ASSISTANT("<think></think>2") USER("3") CUE);
    expect("[{\"role\":\"user\",\"content\":\"1\"},"
           "{\"role\":\"assistant\",\"content\":\"2\",\"reasoning_content\":\"why\\n\"}]",
           NULL, 1, DEFAULT USER("1") ASSISTANT("<think>why\n</think>2") CUE);
    expect("[{\"role\":\"user\",\"content\":\"1\"},"
           "{\"role\":\"assistant\",\"content\":\"<think>why</think>2\",\"reasoning_content\":null}]",
           NULL, 1, DEFAULT USER("1") ASSISTANT("<think>why</think>2") CUE);
    expect("[{\"role\":\"assistant\",\"content\":\"x<think>a<think>b</think>c</think>d\"}]", NULL, 1,
           DEFAULT ASSISTANT("<think>b</think>d") CUE);
}

static void tool_calls_and_results(void **state)
{
    (void)state;
    const char *expected = DEFAULT USER("weather?")
        ASSISTANT("<think>look</think><tool_call>\n<function=get>\n<parameter=city>Lyon</parameter>\n"
                  "<parameter=days>3</parameter>\n<parameter=fine>True</parameter>\n"
                  "<parameter=at>[1.5, null, \"\xc3\xa9\"]</parameter>\n</function>\n</tool_call>"
                  "<tool_call>\n<function=now>\n</function>\n</tool_call>") "<|im_start|>tool\n<tool_response>\n18 "
                                                                            "C\n</tool_response>\n<tool_response>\nnoon\n</tool_response>\n"
                                                                            "<|im_end|>" CUE;
    /* Arguments come as the text of a JSON object, or as the object itself. */
    expect("[{\"role\":\"user\",\"content\":\"weather?\"},{\"role\":\"assistant\",\"content\":null,"
           "\"reasoning_content\":\"look\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","
           "\"function\":{\"name\":\"get\","
           "\"arguments\":\"{\\\"city\\\":\\\"Lyon\\\","
           "\\\"days\\\":3,\\\"fine\\\":true,\\\"at\\\":[1.5,null,\\\"\\u00e9\\\"]}\"}},"
           "{\"id\":\"2\",\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":\"\"}}]},"
           "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"18 C\"},"
           "{\"role\":\"tool\",\"tool_call_id\":\"2\",\"content\":\"noon\"}]",
           NULL, 1, expected);
    expect("[{\"role\":\"user\",\"content\":\"weather?\"},{\"role\":\"assistant\",\"reasoning_content\":\"look\","
           "\"tool_calls\":[{\"function\":{\"name\":\"get\",\"arguments\":"
           "{\"city\":\"Lyon\",\"days\":3,\"fine\":true,\"at\":[1.5,null,\"\\u00e9\"]}}},"
           "{\"function\":{\"name\":\"now\"}}]},"
           "{\"role\":\"tool\",\"content\":\"18 C\"},{\"role\":\"tool\","
           "\"content\":\"noon\"}]",
           NULL, 1, expected);
    /* A number is what Python prints: the fewest digits, and an exponent only where it is long. */
    expect("[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":"
           "{\"a\":0.1,\"b\":1e-7,\"c\":1e16,\"d\":5.0,\"e\":-0.0,\"f\":123456789.125,\"g\":null,"
           "\"h\":{\"i\":[]}}}}]}]",
           NULL, 1,
           DEFAULT ASSISTANT("<think></think><tool_call>\n<function=f>\n<parameter=a>0.1</parameter>\n"
                             "<parameter=b>1e-07</parameter>\n<parameter=c>1e+16</parameter>\n"
                             "<parameter=d>5.0</parameter>\n<parameter=e>-0.0</parameter>\n"
                             "<parameter=f>123456789.125</parameter>\n<parameter=g>None</parameter>\n"
                             "<parameter=h>{\"i\": []}</parameter>\n</function>\n</tool_call>") CUE);
}

static void tools_in_the_system_turn(void **state)
{
    (void)state;
    char *text = NULL;
    static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"description\":\" Look it up.\\n\","
                                "\"parameters\":{"
                                "\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\",\"description\":\"Where\","
                                "\"enum\":[\"Lyon\",\"Rome\"]},"
                                "\"days\":{\"type\":[\"integer\",\"null\"],\"default\":1}},\"required\":[\"city\"],"
                                "\"additionalProperties\":false},"
                                "\"strict\":true}},{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";
    static const char beginning[] =
        "<|im_start|>system\nBe brief.\n\n# Tools\n\n"
        "You may call one or more functions to assist with the user query.\n\n"
        "You have access to the following functions:\n\n<tools>\n<function>\n<name>get</name>\n"
        "<description>Look it up.</description>\n<parameters>\n<parameter>\n<name>city</name>\n"
        "<type>string</type>\n"
        "<description>Where</description>\n<enum>[\"Lyon\", \"Rome\"]</enum>\n</parameter>\n<parameter>\n"
        "<name>days</name>\n"
        "<type>['integer', 'null']</type>\n<default>1</default>\n</parameter>\n<required>[\"city\"]</required>\n"
        "<additionalProperties>False</additionalProperties>\n</parameters>\n<strict>True</strict>\n</function>\n"
        "<function>\n<name>now</name>\n<parameters>\n</parameters>\n</function>\n</tools>\n\n"
        "For each function call, ";
    static const char end[] = "including newlines and spaces.\n</IMPORTANT><|im_end|>" USER("Hi") CUE;
    assert_int_equal(render("[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\","
                            "\"content\":\"Hi\"}]",
                            tools, 1, &text),
                     SLIP_OK);
    assert_memory_equal(text, beginning, strlen(beginning));
    assert_string_equal(text + strlen(text) - strlen(end), end);
    free(text);
}

static const struct {
    const char *messages, *tools, *words;
} refusals[] = {
    {"[]", NULL, "messages is not an array of at least one message"},
    {"{}", NULL, "messages is not an array"},
    {"[7]", NULL, "messages[0].role is none of"},
    {"[{\"content\":\"x\"}]", NULL, "messages[0].role is none of"},
    {"[{\"role\":\"developer\",\"content\":\"x\"}]", NULL, "messages[0].role is none of"},
    {"[{\"role\":\"user\"}]", NULL, "messages[0].content is neither"},
    {"[{\"role\":\"user\",\"content\":null}]", NULL, "messages[0].content is neither"},
    {"[{\"role\":\"user\",\"content\":5}]", NULL, "messages[0].content is neither"},
    {"[{\"role\":\"system\",\"content\":{}}]", NULL, "messages[0].content is neither"},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", NULL, "messages[0].content[0].type is \"image_url\""},
    {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", NULL, "messages[0].content[0] has no text"},
    {"[{\"role\":\"user\",\"content\":[\"x\"]}]", NULL, "messages[0].content[0] has no type"},
    {"[{\"role\":\"tool\",\"content\":\"x\"}]", NULL, "messages[0] is a tool's result"},
    {"[{\"role\":\"system\",\"content\":\"x\"},{\"role\":\"tool\",\"content\":\"x\"}]", NULL, "messages[1] is a tool's result"},
    {"[{\"role\":\"assistant\",\"reasoning_content\":[]}]", NULL, "messages[0].reasoning_content is not"},
    {"[{\"role\":\"assistant\",\"tool_calls\":{}}]", NULL, "messages[0].tool_calls is not"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{}]}]", NULL, "messages[0].tool_calls[0].function has no name"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}]", NULL,
     "messages[0].tool_calls[0].function has arguments that"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"id\\\":12345678901234567890}\"}}]}]",
     NULL, "messages[0].tool_calls[0].function has arguments that are not a JSON object: too big integer near '12345678901234567890'"},
    {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":[1]}}]}]", NULL,
     "messages[0].tool_calls[0].function has arguments that"},
    {"[{\"role\":\"user\",\"content\":\"x\"}]", "{}", "tools is not an array"},
    {"[{\"role\":\"user\",\"content\":\"x\"}]", "[{\"type\":\"web\"}]", "tools[0].type is not \"function\""},
    {"[{\"role\":\"user\",\"content\":\"x\"}]", "[{\"type\":\"function\"}]", "tools[0].function is not an object"},
    {"[{\"role\":\"user\",\"content\":\"x\"}]",
     "[{\"type\":\"function\","
     "\"function\":{}}]",
     "tools[0].function.name"},
    {"[{\"role\":\"user\",\"content\":\"x\"}]",
     "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{\"type\":5}}}}}]",
     "tools[0].function.parameters.properties.a.type is not"},
    {"[{\"role\":\"user\",\"content\":\"x\"}]",
     "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":true}}}}]",
     "tools[0].function.parameters.properties.a is not an object"},
    {"[{\"role\":\"user\",\"content\":\"x\"}]", "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":[]}}]",
     "tools[0].function.description is not"},
};

static void names_what_it_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char *text = NULL;
        assert_int_equal(render(refusals[i].messages, refusals[i].tools, 1, &text), SLIP_ERR_INPUT);
        assert_null(text);
        if (strstr(slip_cause(), refusals[i].words) != slip_cause())
            fail_msg("refusal %zu says \"%s\", not \"%s\"", i, slip_cause(), refusals[i].words);
    }
    slip_clear();
}

/* V2.6: what the published text makes of conversations is in tests/golden/chat; here what is refused, and one prompt to look at. */
static void v2_6(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"[]", NULL, "messages is not an array of at least one message"},
        {"[{\"role\":\"critic\",\"content\":\"x\"}]", NULL, "messages[0].role is none of system, developer"},
        {"[{\"role\":\"user\",\"content\":null}]", NULL, "messages[0].content is neither"},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":3}]", NULL, "messages[0].reasoning_content is not a string"},
        {"[{\"role\":\"assistant\",\"tool_calls\":{}}]", NULL, "messages[0].tool_calls is not an array"},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"[]\"}}]}]", NULL,
         "messages[0].tool_calls[0].function has arguments that are not a JSON object"},
        {"[{\"role\":\"user\",\"content\":\"x\"}]", "{}", "tools is not an array"},
        {"[{\"role\":\"user\",\"content\":\"x\"}]", "[{\"type\":\"web\"}]", "tools[0].type is not"},
        {"[{\"role\":\"user\",\"content\":\"x\"}]", "[{\"type\":\"function\",\"function\":{}}]", "tools[0].function.name"},
    };
    char *text = NULL;
    size_t size;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *messages = json_of(cases[i][0]), *tools = json_of(cases[i][1]);
        slip_clear();
        assert_int_equal(slip_mimo_v2_6_chat(messages, tools, true, SLIP_CHAT_CUE, &text, &size), SLIP_ERR_INPUT);
        if (strncmp(slip_cause(), cases[i][2], strlen(cases[i][2])) != 0)
            fail_msg("\"%s\", not \"%s\"", slip_cause(), cases[i][2]);
        json_decref(messages);
        json_decref(tools);
    }
    slip_clear();
    json_t *messages = json_of("[{\"role\":\"user\",\"content\":\"Hello\"}]");
    assert_int_equal(slip_mimo_v2_6_chat(messages, NULL, false, SLIP_CHAT_CUE, &text, &size), SLIP_OK);
    assert_string_equal(text, USER("Hello") CUE "<think></think>");
    free(text);
    json_decref(messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_prompt),
        cmocka_unit_test(turns_and_contents),
        cmocka_unit_test(reasoning),
        cmocka_unit_test(tool_calls_and_results),
        cmocka_unit_test(tools_in_the_system_turn),
        cmocka_unit_test(names_what_it_refuses),
        cmocka_unit_test(v2_6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
