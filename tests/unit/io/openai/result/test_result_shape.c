/* Answers against the types of OpenAI's own client: tests/golden/openai/answers.txt, which make.py there writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/openai/result/line.h"

enum { ROWS = 400, TYPE = 64, KINDS = 200 };

typedef struct {
    char type[TYPE], member[TYPE], must[16], kinds[KINDS];
} row;

static row rows[ROWS];
static int row_count;

static int read_rows(void **state)
{
    (void)state;
    char line[512];
    FILE *file = fopen("tests/golden/openai/answers.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        row *r = &rows[row_count];
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%63s %63s %15s %199s", r->type, r->member, r->must, r->kinds), 4);
        assert_true(++row_count < ROWS);
    }
    fclose(file);
    return 0;
}

static const row *find_row(const char *type, const char *member)
{
    for (int i = 0; i < row_count; i++)
        if (strcmp(rows[i].type, type) == 0 && (member == NULL || strcmp(rows[i].member, member) == 0))
            return &rows[i];
    return NULL;
}

/* What answers have beyond OpenAI's: vLLM's names for reasoning and ids, and our own record. */
static bool is_ours(const char *member)
{
    static const char *const names[] = {"reasoning_content", "token_ids", "prompt_token_ids", "slipstream"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], member) == 0)
            return true;
    return false;
}

static bool fits(const char *type, json_t *value);

static bool is_kind(const char *kind, json_t *value)
{
    size_t size = strlen(kind);
    char inner[KINDS];
    if (kind[0] == '"')
        return json_string_length(value) == size - 2 && strncmp(json_string_value(value), kind + 1, size - 2) == 0;
    if (kind[0] == '[') {
        snprintf(inner, sizeof inner, "%.*s", (int)size - 2, kind + 1);
        for (size_t i = 0; i < json_array_size(value); i++)
            if (!is_kind(inner, json_array_get(value, i)))
                return false;
        return json_is_array(value);
    }
    if (find_row(kind, NULL) != NULL)
        return fits(kind, value);
    return (strcmp(kind, "string") == 0 && json_is_string(value)) || (strcmp(kind, "integer") == 0 && json_is_integer(value)) ||
           (strcmp(kind, "number") == 0 && json_is_number(value)) || (strcmp(kind, "boolean") == 0 && json_is_boolean(value)) ||
           (strcmp(kind, "null") == 0 && json_is_null(value)) || strcmp(kind, "any") == 0;
}

static bool is_one_of(const char *kinds, json_t *value)
{
    char copy[KINDS], *rest = copy;
    snprintf(copy, sizeof copy, "%s", kinds);
    for (char *kind; (kind = strsep(&rest, "|")) != NULL;)
        if (is_kind(kind, value))
            return true;
    return false;
}

/* Every member of the object is known to the type and of its kind, and none is missing. */
static bool fits(const char *type, json_t *value)
{
    const char *name;
    json_t *member;
    for (int i = 0; i < row_count; i++)
        if (strcmp(rows[i].type, type) == 0 && strcmp(rows[i].must, "required") == 0 && json_object_get(value, rows[i].member) == NULL)
            return false;
    json_object_foreach (value, name, member) {
        const row *found = find_row(type, name);
        if (found == NULL ? !is_ours(name) : !is_one_of(found->kinds, member)) {
            print_message("%s.%s\n", type, name);
            return false;
        }
    }
    return json_is_object(value);
}

static json_t *answer(const char *url, const char *body, const char *text, const char *reason)
{
    static const int32_t ids[] = {1, 2, 3};
    char request_line[600], *line;
    size_t size;
    slip_request request;
    slip_answer answers[2] = {{.text = text, .text_size = strlen(text), .finish_reason = reason, .prompt_tokens = 3}};
    answers[0].completion_tokens = 3;
    answers[0].ids = answers[0].prompt_ids = ids;
    answers[1] = answers[0];
    snprintf(request_line, sizeof request_line, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"%s\",\"body\":{%s}}", url, body);
    assert_int_equal(slip_request_parse(request_line, strlen(request_line), 1, NULL, &request), SLIP_OK);
    assert_int_equal(request.refusal.status_code, 0);
    assert_int_equal(slip_result_line_answer(&request, 5, answers, &line, &size), SLIP_OK);
    slip_request_free(&request);
    json_t *root = json_loadb(line, size, 0, NULL);
    free(line);
    json_t *made = json_incref(json_object_get(json_object_get(root, "response"), "body"));
    json_decref(root);
    return made;
}

static void expect(const char *type, json_t *body)
{
    if (!fits(type, body))
        fail_msg("not a %s: %s", type, json_dumps(body, 0));
    json_decref(body);
}

#define CHAT "/v1/chat/completions"
#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"

static void answers_are_of_the_clients_types(void **state)
{
    (void)state;
    static const char call[] = "<think>why</think><tool_call><function=f><parameter=a>1</parameter></function></tool_call>";
    expect("ChatCompletion", answer(CHAT, HELLO, "hello", "stop"));
    expect("ChatCompletion", answer(CHAT, HELLO, "", "length"));
    expect("ChatCompletion", answer(CHAT, HELLO ",\"n\":2,\"return_token_ids\":true," TOOLS, call, "stop"));
    expect("Completion", answer("/v1/completions", "\"prompt\":[\"x\",\"y\"],\"return_token_ids\":true", "hello", "stop"));
}

/* The check itself finds what is wrong. */
static void others_are_not(void **state)
{
    (void)state;
    json_t *body = answer(CHAT, HELLO, "hello", "stop");
    assert_false(fits("Completion", body));
    json_object_set_new(body, "created", json_string("now"));
    assert_false(fits("ChatCompletion", body));
    json_object_set_new(body, "created", json_integer(5));
    assert_true(fits("ChatCompletion", body));
    json_object_set_new(body, "stranger", json_null());
    assert_false(fits("ChatCompletion", body));
    json_object_del(body, "stranger");
    json_object_del(body, "id");
    assert_false(fits("ChatCompletion", body));
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_are_of_the_clients_types), cmocka_unit_test(others_are_not)};
    return cmocka_run_group_tests(tests, read_rows, NULL);
}
