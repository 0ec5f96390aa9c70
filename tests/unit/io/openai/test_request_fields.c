/* Every name a body may have: known ones are served, refused or passed over for a reason; the others are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/openai/request.h"
#include "io/openai/request_fields.h"
#include "io/openai/request_names.h"

/* A body with the field beside what every request needs. */
static slip_request parse(bool chat, const char *field)
{
    char line[1000];
    slip_request request;
    int size = snprintf(line, sizeof line,
                        chat ? "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{%s%s\"messages\":"
                               "[{\"role\":\"user\",\"content\":\"hi\"}]}}"
                             : "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{%s%s\"prompt\":\"x\"}}",
                        field, field[0] != '\0' ? "," : "");
    assert_int_equal(slip_request_parse(line, (size_t)size, 1, NULL, &request), SLIP_OK);
    return request;
}

static void assert_passes(bool chat, const char *field)
{
    slip_request request = parse(chat, field);
    if (request.refusal.status_code != 0)
        fail_msg("%s\n-> %s: %s", field, request.refusal.param, request.refusal.message);
    slip_request_free(&request);
}

static void assert_refused(bool chat, const char *field, const char *code, const char *param, const char *words)
{
    slip_request request = parse(chat, field);
    if (request.refusal.status_code != 400 || strcmp(request.refusal.code, code) != 0 || strcmp(request.refusal.param, param) != 0 ||
        strstr(request.refusal.message, words) == NULL)
        fail_msg("%s\n-> %d %s %s: %s", field, request.refusal.status_code, request.refusal.code, request.refusal.param,
                 request.refusal.message);
    slip_request_free(&request);
}

/* No field of OpenAI's client is a stranger. */
static void test_client(void **state)
{
    (void)state;
    char line[200], url[8], name[100];
    int fields = 0;
    FILE *file = fopen("tests/golden/openai/fields.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%7s %99s", url, name) != 2 || url[0] == '#')
            continue;
        fields++;
        if (slip_request_field(name, strcmp(url, "chat") == 0) == SLIP_FIELD_UNKNOWN)
            fail_msg("%s: %s is not known", url, name);
    }
    fclose(file);
    assert_true(fields > 50);
}

static void test_harmless(void **state)
{
    (void)state;
    assert_passes(false, "\"metadata\":{\"id\":123456789012345678901234567890,\"k\":1,\"k\":2},\"user\":\"\\ud800\"");
    assert_passes(true, "\"store\":true,\"service_tier\":\"flex\",\"safety_identifier\":\"s\",\"prompt_cache_key\":\"k\"");
}

static void test_asks_for_nothing(void **state)
{
    (void)state;
    assert_passes(false, "\"top_k\":0,\"min_p\":0,\"n\":1.0,\"best_of\":1,\"modalities\":[\"text\"],\"reasoning_effort\":\"none\"");
    assert_passes(true, "\"top_logprobs\":0,\"modalities\":[\"text\"],\"verbosity\":\"medium\",\"documents\":[],\"guided_json\":null");
    assert_passes(true, "\"skip_special_tokens\":true,\"add_special_tokens\":false,\"bad_words\":[],\"xtc_probability\":0.0");
    assert_passes(true, "\"parallel_tool_calls\":false,\"chat_template_kwargs\":{\"anything\":null,\"keep_all_reasoning\":true}");
    assert_passes(false, "\"nobody_knows_me\":null");
}

static void test_asks_for_something(void **state)
{
    (void)state;
    assert_refused(false, "\"guided_regex\":\"[0-9]+\"", "unsupported", "guided_regex", "only an empty value");
    assert_refused(false, "\"truncate_prompt_tokens\":2", "unsupported", "truncate_prompt_tokens", "not served");
    assert_refused(false, "\"typical_p\":0.1", "unsupported", "typical_p", "only 1 is served");
    assert_refused(false, "\"n\":2,\"best_of\":3", "unsupported", "best_of", "the value of n");
    assert_refused(false, "\"max_new_tokens\":2", "unsupported", "max_new_tokens", "use max_tokens");
    assert_refused(false, "\"reasoning_effort\":\"low\"", "unsupported", "reasoning_effort", "only \"none\"");
    assert_refused(false, "\"messages\":[]", "unsupported", "messages", "/v1/chat/completions");
    assert_refused(true, "\"prompt\":\"x\"", "unsupported", "prompt", "/v1/completions");
    assert_refused(true, "\"response_format\":{\"type\":\"json_object\"}", "unsupported", "response_format", "text");
    assert_refused(true, "\"modalities\":[\"text\",\"audio\"]", "unsupported", "modalities", "text");
    assert_refused(false, "\"echo\":true,\"max_tokens\":0", "unsupported", "max_tokens", "slipstream score");
}

static void test_misspelt(void **state)
{
    (void)state;
    assert_refused(false, "\"temprature\":0.2", "unsupported", "temprature", "did you mean \"temperature\"?");
    assert_refused(false, "\"maxTokens\":3", "unsupported", "maxTokens", "did you mean \"max_tokens\"?");
    assert_refused(false, "\"top-p\":0.5", "unsupported", "top-p", "did you mean \"top_p\"?");
    assert_refused(true, "\"mesages\":[]", "unsupported", "mesages", "did you mean \"messages\"?");
    assert_refused(true, "\"sede\":1", "unsupported", "sede", "did you mean \"seed\"?");
    slip_request request = parse(false, "\"colour\":\"red\"");
    assert_string_equal(request.refusal.param, "colour");
    assert_null(strstr(request.refusal.message, "did you mean"));
    slip_request_free(&request);
    assert_int_equal(slip_name_distance("seed", "Seed"), 0);
    assert_int_equal(slip_name_distance("temperatrue", "temperature"), 1);
    assert_int_equal(slip_name_distance("", "n"), -1);
    assert_int_equal(slip_name_distance("n", "m"), -1);
}

/* A note of the user's own beside the body passes, whatever is in it. */
static void test_beside_body(void **state)
{
    (void)state;
    static const char note[] = "{\"note\":12345678901234567890,\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\","
                               "\"body\":{\"prompt\":\"x\"},\"note\":[\"\xff\"]}";
    slip_request request;
    assert_int_equal(slip_request_parse(note, sizeof note - 1, 1, NULL, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 0);
    slip_request_free(&request);
}

/* Any field that could change an answer, nearly spelt or not; null, harmless fields and notes ask for nothing. */
static void test_others_beside_body(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value, *meant; /* meant NULL: it passes */
    } cases[] = {
        {"temperature", "0", "its place is inside"},
        {"top_p", "0.5", "its place is inside"},
        {"response_format", "{\"type\":\"json_object\"}", "its place is inside"},
        {"max_new_tokens", "5", "its place is inside"},
        {"model", "\"x\"", "its place is inside"},
        {"Temperature", "0", "did you mean \"temperature\", inside of it?"},
        {"max-tokens", "5", "did you mean \"max_tokens\", inside of it?"},
        {"temperatrue", "0", "did you mean \"temperature\", inside of it?"},
        {"temperature", "null", NULL},
        {"metadata", "{\"a\":1}", NULL},
        {"request_id", "\"r\"", NULL},
        {"expected_answer", "42", NULL},
        {"category", "\"sums\"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        slip_request request;
        int size = snprintf(line, sizeof line,
                            "{\"custom_id\":\"a\",\"%s\":%s,\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}",
                            cases[i].name, cases[i].value);
        assert_int_equal(slip_request_parse(line, (size_t)size, 1, NULL, &request), SLIP_OK);
        assert_int_equal(request.refusal.status_code, cases[i].meant != NULL ? 400 : 0);
        if (cases[i].meant != NULL) {
            assert_string_equal(request.refusal.code, "unsupported");
            assert_string_equal(request.refusal.param, cases[i].name);
            assert_non_null(strstr(request.refusal.message, cases[i].meant));
        }
        assert_string_equal(request.custom_id, "a");
        slip_request_free(&request);
    }
}

static void test_model(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        bool served;
    } cases[] = {{"MiMo-V2.5-Pro", true}, {"XiaomiMiMo/mimo-v2.5-pro", true}, {"second", true}, {"gpt-4o", false}, {"", false},
                 {"MiMo-V2.5", false},    {"MiMo-V2.5-Pro/", false}};
    const slip_request_defaults defaults = {.sampling = {.temperature = 1, .top_p = 1}, .models = "MiMo-V2.5-Pro,,second"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[300];
        slip_request request;
        int size =
            snprintf(line, sizeof line,
                     "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"model\":\"%s\",\"prompt\":\"x\"}}",
                     cases[i].model);
        assert_int_equal(slip_request_parse(line, (size_t)size, 1, &defaults, &request), SLIP_OK);
        assert_int_equal(request.refusal.status_code, cases[i].served ? 0 : 400);
        assert_string_equal(request.refusal.param, cases[i].served ? "" : "model");
        assert_true(!cases[i].served || strcmp(request.model, cases[i].model) == 0);
        slip_request_free(&request);
    }
}

static bool thinks(const char *field)
{
    static const char off[] = "<think></think>";
    slip_request request = parse(true, field);
    if (request.refusal.status_code != 0)
        fail_msg("%s\n-> %s", field, request.refusal.message);
    bool quiet = strcmp(request.prompts->text + request.prompts->size - (sizeof off - 1), off) == 0;
    slip_request_free(&request);
    return !quiet;
}

static void test_thinking(void **state)
{
    (void)state;
    assert_true(thinks("") && thinks("\"reasoning_effort\":\"low\"") && thinks("\"thinking\":{\"type\":\"enabled\"}"));
    assert_false(thinks("\"reasoning_effort\":\"none\"") || thinks("\"thinking\":{\"type\":\"disabled\"}"));
    assert_false(thinks("\"chat_template_kwargs\":{\"thinking\":false}"));
    assert_true(thinks("\"reasoning_effort\":\"none\",\"enable_thinking\":true"));
    assert_false(thinks("\"thinking\":{\"type\":\"enabled\"},\"chat_template_kwargs\":{\"enable_thinking\":false}"));
    assert_refused(true, "\"thinking\":{\"type\":\"auto\"}", "unsupported", "thinking", "disabled");
    assert_refused(true, "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":5}", "unsupported", "thinking", "disabled");
    assert_refused(true, "\"reasoning_effort\":\"huge\"", "invalid_value", "reasoning_effort", "xhigh");
    assert_refused(true, "\"reasoning\":{\"enabled\":false}", "unsupported", "reasoning", "");
    assert_refused(true, "\"chat_template_kwargs\":{\"keep_all_reasoning\":false}", "unsupported", "chat_template_kwargs", "keep_all");
    assert_refused(true, "\"chat_template_kwargs\":{\"thinking\":true,\"enable_thinking\":false}", "invalid_value", "chat_template_kwargs",
                   "disagree");
}

#define A_TOOL "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"

/* What the answer depends on counts in the hash; what asks for nothing does not. */
static void test_tools_and_special_tokens(void **state)
{
    (void)state;
    slip_request plain = parse(true, A_TOOL), both = parse(true, A_TOOL ",\"parallel_tool_calls\":true"),
                 one = parse(true, A_TOOL ",\"parallel_tool_calls\":false,\"skip_special_tokens\":false");
    assert_int_equal(plain.refusal.status_code + both.refusal.status_code + one.refusal.status_code, 0);
    assert_int_equal(json_array_size(plain.reading.tools), 1);
    assert_true(one.reading.one_call && !plain.reading.one_call && !both.reading.one_call);
    assert_true(one.special_tokens && !plain.special_tokens);
    assert_true(plain.hash == both.hash && plain.hash != one.hash);
    slip_request_free(&plain);
    slip_request_free(&both);
    slip_request_free(&one);
    slip_request none = parse(true, A_TOOL ",\"tool_choice\":\"none\",\"parallel_tool_calls\":false");
    assert_true(none.reading.tools == NULL && !none.reading.one_call && strstr(none.prompts->text, "# Tools") == NULL);
    slip_request_free(&none);
    assert_passes(false, "\"skip_special_tokens\":false,\"spaces_between_special_tokens\":false,\"add_special_tokens\":true");
    assert_refused(false, "\"skip_special_tokens\":1", "invalid_value", "skip_special_tokens", "true or false");
    assert_refused(true, "\"tools\":[{\"type\":\"web_search\"}]", "invalid_value", "tools", "tools[0].type is not");
    assert_refused(true, "\"tools\":{}", "invalid_value", "tools", "tools is not an array");
    assert_refused(true, "\"top_p\":1.1", "invalid_value", "top_p", "not 1.1"); /* as it was written, not its 17 digits */
    assert_refused(true, A_TOOL ",\"tool_choice\":\"required\"", "unsupported", "tool_choice", "\"auto\"");
    assert_refused(true, A_TOOL ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", "unsupported", "tool_choice",
                   "\"auto\"");
}

static void test_ending(void **state)
{
    (void)state;
    slip_request bare = parse(true, "\"add_generation_prompt\":false");
    static const char end[] = "<|im_start|>user\nhi<|im_end|>";
    assert_int_equal(bare.refusal.status_code, 0);
    assert_string_equal(bare.prompts->text + bare.prompts->size - strlen(end), end);
    slip_request_free(&bare);
    assert_refused(true, "\"continue_final_message\":true", "invalid_value", "messages", "messages[0].role is not assistant");
    assert_refused(true, "\"continue_final_message\":true,\"add_generation_prompt\":true", "invalid_value", "continue_final_message",
                   "cannot both");
}

#define A_PART "\"id\":\"m\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"t\","
/* Members of a message, or of a part of its text, that no template sees: harmless, asking for nothing, or refused by their names. */
static void test_members(void **state)
{
    (void)state;
    static const char with[] =
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":"
        "[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"x\",%s},{\"role\":\"user\",\"content\":\"y\"}]}}";
    static const struct {
        const char *member, *refused; /* NULL: passes */
    } cases[] = {
        {"\"name\":\"bob\",\"id\":\"m1\",\"refusal\":null,\"annotations\":[],\"audio\":null,\"function_call\":null", NULL},
        {"\"tool_calls\":null,\"prefix\":false,\"partial\":false,\"x\":\"\",\"y\":{},\"reasoning_content\":\"r\"", NULL},
        {A_PART "\"cache_control\":{\"type\":\"ephemeral\"},\"image_url\":null}]", NULL},
        {A_PART "\"image_url\":{\"url\":\"u\"}}]", "messages[2].content[0].image_url: of a part"},
        {"\"prefix\":true", "messages[1].prefix: only role, content"},
        {"\"reasoning\":\"r\"", "messages[1].reasoning: only"},
        {"\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}", "messages[1].function_call: only"},
        {"\"contnet\":\"z\"", "messages[1].contnet: only"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[600];
        slip_request request;
        int size = snprintf(line, sizeof line, with, cases[i].member);
        assert_int_equal(slip_request_parse(line, (size_t)size, 1, NULL, &request), SLIP_OK);
        assert_int_equal(request.refusal.status_code, cases[i].refused != NULL ? 400 : 0);
        if (cases[i].refused != NULL) {
            assert_string_equal(request.refusal.param, "messages");
            assert_non_null(strstr(request.refusal.message, cases[i].refused));
        }
        slip_request_free(&request);
    }
}

/* The model's template says whether a request thinks that does not say; one that is not known refuses chats alone. */
static void test_chat_template(void **state)
{
    (void)state;
    static const char chat[] = "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":"
                               "[{\"role\":\"user\",\"content\":\"hi\"}]}}",
                      text[] = "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}";
    slip_request request;
    slip_request_defaults defaults = {.sampling = {.temperature = 1, .top_p = 1}, .unknown_chat = "0123456789abcdef0123"};
    assert_int_equal(slip_request_parse(chat, sizeof chat - 1, 1, &defaults, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 400);
    assert_string_equal(request.refusal.code, "unsupported");
    assert_non_null(strstr(request.refusal.message, "0123456789abcdef..."));
    assert_non_null(strstr(request.refusal.message, "mimo-v2.5, mimo-v2-flash and mimo-v2.6"));
    slip_request_free(&request);
    assert_int_equal(slip_request_parse(text, sizeof text - 1, 1, &defaults, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 0);
    slip_request_free(&request);
    for (const slip_chat_template *t = slip_families[0]->chat_templates; t->name != NULL; t++) {
        defaults.chat = slip_chat_template_find(slip_families[0]->chat_templates, t->name);
        assert_ptr_equal(defaults.chat, t);
        assert_int_equal(slip_request_parse(chat, sizeof chat - 1, 1, &defaults, &request), SLIP_OK);
        assert_int_equal(strcmp(request.prompts->text + request.prompts->size - 15, "<think></think>") != 0, t->thinks);
        slip_request_free(&request);
    }
    assert_null(slip_chat_template_find(slip_families[0]->chat_templates, "mimo"));
}

static void test_developer(void **state)
{
    (void)state;
    static const char with[] = "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":"
                               "[{\"role\":\"%s\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"hi\"}]}}";
    static const char *const roles[] = {"system", "developer"};
    slip_request requests[2];
    for (int i = 0; i < 2; i++) {
        char line[400];
        int size = snprintf(line, sizeof line, with, roles[i]);
        assert_int_equal(slip_request_parse(line, (size_t)size, 1, NULL, &requests[i]), SLIP_OK);
        assert_int_equal(requests[i].refusal.status_code, 0);
    }
    assert_string_equal(requests[0].prompts->text, requests[1].prompts->text);
    assert_true(requests[0].hash == requests[1].hash);
    slip_request_free(&requests[0]);
    slip_request_free(&requests[1]);
}

static slip_request parse_text(const char *custom_id, const char *body)
{
    char line[400];
    slip_request request;
    int size = snprintf(line, sizeof line, "{\"custom_id\":\"%s\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{%s}}",
                        custom_id, body);
    assert_int_equal(slip_request_parse(line, (size_t)size, 1, NULL, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 0);
    return request;
}

/* Choices: distinct seeds by a rule that looks at nothing but the line; the first of a prompt as it would be alone. */
static void test_choices(void **state)
{
    (void)state;
    slip_request one = parse_text("a", "\"prompt\":\"x\",\"seed\":5"),
                 many = parse_text("b", "\"prompt\":[\"x\",\"y\",\"x\"],\"n\":3,\"seed\":5"),
                 unseeded = parse_text("a", "\"prompt\":[\"x\",\"x\"],\"n\":2"), alone = parse_text("a", "\"prompt\":\"x\"");
    assert_int_equal(slip_request_choices(&many), 9);
    assert_string_equal(slip_request_prompt(&many, 5)->text, "y");
    for (int32_t i = 0; i < 9; i++) {
        assert_int_equal(slip_request_seed(&many, i) == slip_request_seed(&one, 0), i % 3 == 0);
        assert_true(slip_request_seed(&many, i) == slip_request_seed(&many, i % 3));
    }
    assert_true(slip_request_seed(&many, 1) != slip_request_seed(&many, 2));
    assert_true(slip_request_seed(&unseeded, 0) == slip_request_seed(&alone, 0));
    for (int32_t i = 0; i < 4; i++)
        for (int32_t j = 0; j < i; j++)
            assert_true(slip_request_seed(&unseeded, i) != slip_request_seed(&unseeded, j));
    slip_request_free(&one);
    slip_request_free(&many);
    slip_request_free(&unseeded);
    slip_request_free(&alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client),
        cmocka_unit_test(test_harmless),
        cmocka_unit_test(test_asks_for_nothing),
        cmocka_unit_test(test_asks_for_something),
        cmocka_unit_test(test_misspelt),
        cmocka_unit_test(test_beside_body),
        cmocka_unit_test(test_others_beside_body),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_thinking),
        cmocka_unit_test(test_tools_and_special_tokens),
        cmocka_unit_test(test_ending),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_chat_template),
        cmocka_unit_test(test_developer),
        cmocka_unit_test(test_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
