#include "result_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], input_path[96];
char path[96];
slip_request requests[REQUESTS];
slip_request_file *input;

const slip_answer plain = {.text = "a\n\xc3\xa9\0z",
                           .text_size = 6,
                           .finish_reason = "stop",
                           .prompt_tokens = 3,
                           .completion_tokens = 4,
                           .spec_steps = 2,
                           .accepted_draft_tokens = 3,
                           .draft_tokens = 14,
                           .time_to_first_token_ms = 1.5,
                           .total_ms = 20};

slip_answer say(const char *text)
{
    slip_answer answer = plain;
    answer.text = text;
    answer.text_size = strlen(text);
    return answer;
}

/* Four lines, as a file would have them. */
static const char lines[] =
    "{\"custom_id\":\"r0\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"model\":\"m\",\"prompt\":\"x\"}}\n"
    "{\"custom_id\":\"r1\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"m\","
    "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}}\n"
    "{\"custom_id\":\"r2\",\"method\":\"POST\",\"url\":\"/v1/nothing\",\"body\":{\"model\":\"m\",\"prompt\":\"x\"}}\n"
    "{\"custom_id\":\"r3\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"model\":\"m\",\"prompt\":\"y\"}}\n";

static void open_input(const char *text)
{
    FILE *file = fopen(input_path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(slip_request_file_open(input_path, NULL, &input), SLIP_OK);
}

void change_input(const char *text)
{
    slip_request_file_close(input);
    open_input(text);
}

int results_setup(void **state)
{
    (void)state;
    bool found;
    strcpy(folder, "/tmp/slip_result_XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/results.jsonl", folder);
    snprintf(input_path, sizeof input_path, "%s/requests.jsonl", folder);
    open_input(lines);
    for (int i = 0; i < REQUESTS; i++) {
        assert_int_equal(slip_request_file_next(input, &found), SLIP_OK);
        assert_true(found);
        assert_int_equal(slip_request_file_parse(input, &requests[i]), SLIP_OK);
    }
    assert_int_equal(slip_request_file_rewind(input), SLIP_OK);
    return requests[2].refusal.status_code == 404 && requests[1].refusal.status_code == 0 ? 0 : -1;
}

int results_teardown(void **state)
{
    (void)state;
    slip_request_file_close(input);
    for (int i = 0; i < REQUESTS; i++)
        slip_request_free(&requests[i]);
    slip_clear();
    unlink(input_path);
    unlink(path);
    return rmdir(folder); /* nothing may be left behind: no PATH.partial, no PATH.lock */
}

char *read_all(size_t *size)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = malloc(1 << 16);
    *size = fread(text, 1, (1 << 16) - 1, file);
    text[*size] = '\0';
    fclose(file);
    return text;
}

void write_all(const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

slip_results *open_results(bool resume)
{
    slip_results *results;
    if (slip_results_open(path, resume, RUN, input, &results) != SLIP_OK)
        fail_msg("%s", slip_cause());
    return results;
}

/* Lines of requests 0, 1 and 2, the last one refused. */
void write_three(void)
{
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &requests[0], &plain), SLIP_OK);
    assert_int_equal(slip_results_answer(results, &requests[1], &plain), SLIP_OK);
    assert_int_equal(slip_results_refuse(results, &requests[2]), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

void assert_input_error(const char *cause)
{
    slip_results *results = NULL;
    slip_clear();
    assert_int_equal(slip_results_open(path, true, RUN, input, &results), SLIP_ERR_INPUT);
    assert_null(results);
    if (strstr(slip_cause(), cause) == NULL || strstr(slip_cause(), path) == NULL)
        fail_msg("cause: %s", slip_cause());
    slip_clear();
}

/* Line `number` (from 0) of the output, parsed. */
json_t *read_line(int number)
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
