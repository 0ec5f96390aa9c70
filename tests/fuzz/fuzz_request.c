/* Any bytes as a batch line: parsing must end, must keep its promises, and the answer to it must be a line that reads back.
 * The first byte chooses the caller's defaults, and whether the rest is a line or the body of one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/json.h"
#include "io/openai/request.h"
#include "io/openai/result/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void check_prompt(const slip_prompt *prompt)
{
    require((prompt->text != NULL) != (prompt->ids != NULL));
    require(prompt->text != NULL ? prompt->size > 0 && strlen(prompt->text) == prompt->size : prompt->id_count > 0);
    for (size_t i = 0; i < prompt->id_count; i++)
        require(prompt->ids[i] >= 0);
}

static void check_accepted(const slip_request *request)
{
    const slip_sampling *sampling = &request->sampling;
    int32_t choices = slip_request_choices(request);
    require(request->named && request->model != NULL);
    require(choices >= 1 && choices <= SLIP_MAX_CHOICES && (!request->chat || request->prompt_count == 1));
    for (int32_t i = 0; i < request->prompt_count; i++)
        check_prompt(&request->prompts[i]);
    require(slip_request_seed(request, 0) == sampling->seed);
    require(choices == 1 || request->n == 1 || slip_request_seed(request, 1) != sampling->seed);
    require(sampling->temperature >= 0 && sampling->temperature <= 2 && sampling->top_p > 0 && sampling->top_p <= 1);
    require(sampling->top_k >= -1 && sampling->min_p >= 0 && sampling->min_p <= 1);
    require(request->max_tokens >= 0 && request->stop_count >= 0 && request->stop_count <= SLIP_MAX_STOPS);
    for (int32_t i = 0; i < request->stop_count; i++)
        require(request->stops[i][0] != '\0');
}

/* What the strict parser reads as a whole must not be refused as JSON, and has the name that it reads. */
static void check_against_jansson(const char *line, size_t size, const slip_request *request)
{
    json_t *json = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
    const char *name = json_string_value(json_object_get(json, "custom_id"));
    if (json_is_object(json))
        require(strcmp(request->refusal.code, "invalid_json") != 0);
    if (name != NULL && name[0] != '\0')
        require(request->named && strcmp(request->custom_id, name) == 0);
    json_decref(json);
}

static void check_glance(const char *line, size_t size, const slip_request *request)
{
    slip_request_glance glance;
    require(slip_request_look(line, size, &glance) == SLIP_OK);
    require((glance.custom_id != NULL) == request->named);
    require(glance.custom_id == NULL || strcmp(glance.custom_id, request->custom_id) == 0);
    free(glance.custom_id);
}

/* The line that answers the request, read back. */
static void check_result(const slip_request *request)
{
    char *line;
    size_t size;
    slip_result_record record;
    static slip_answer answers[SLIP_MAX_CHOICES];
    for (int32_t i = 0; i < slip_request_choices(request) && request->refusal.status_code == 0; i++) {
        const slip_prompt *prompt = slip_request_prompt(request, i);
        answers[i] = (slip_answer){.text = prompt->text != NULL ? prompt->text : "",
                                   .text_size = prompt->size,
                                   .finish_reason = "stop",
                                   .prompt_tokens = (int32_t)prompt->id_count,
                                   .prompt_ids = prompt->ids};
    }
    slip_status status = request->refusal.status_code == 0 ? slip_result_line_answer(request, 5, answers, &line, &size)
                                                           : slip_result_line_refuse(request, 5, &line, &size);
    require(status == SLIP_OK);
    require(size > 0 && memchr(line, '\n', size) == line + size - 1);
    require(strncmp(line, SLIP_RESULT_PREFIX, sizeof SLIP_RESULT_PREFIX - 1) == 0);
    require(slip_result_line_parse(line, size - 1, &record));
    require(!record.never_ran && record.request_hash == request->hash && record.run_hash == 5);
    require(record.refused == (request->refusal.status_code != 0));
    require(strcmp(record.custom_id, request->custom_id) == 0);
    json_decref(record.json);
    free(line);
}

static void check_line(const char *line, size_t size, const slip_request_defaults *defaults)
{
    slip_request request;
    slip_status status = slip_request_parse(line, size, 1, defaults, &request);
    require(status == SLIP_OK && slip_cause()[0] == '\0');
    if (request.refusal.status_code == 0)
        check_accepted(&request);
    else
        require(request.refusal.status_code / 100 == 4 && request.refusal.message[0] != '\0');
    check_against_jansson(line, size, &request);
    check_glance(line, size, &request);
    check_result(&request);
    slip_request_free(&request);
}

/* The bytes as the body of a line that is sound but for it. */
static void check_body(const char *body, size_t size, bool chat, const slip_request_defaults *defaults)
{
    const char *head = chat ? "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":"
                            : "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":";
    size_t head_size = strlen(head);
    char *line = malloc(head_size + size + 1);
    require(line != NULL);
    memcpy(line, head, head_size);
    memcpy(line + head_size, body, size);
    line[head_size + size] = '}';
    check_line(line, head_size + size + 1, defaults);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const slip_request_defaults defaults = {
        .max_tokens = 7, .sampling = {.temperature = 0, .top_p = 0.5, .seed = data[0]}, .models = "m,slipstream"};
    const slip_request_defaults *chosen = data[0] & 1 ? &defaults : NULL;
    const char *text = (const char *)data + 1;
    slip_result_record record;
    if (data[0] & 2)
        check_body(text, size - 1, data[0] & 4, chosen);
    else
        check_line(text, size - 1, chosen);
    if (slip_result_line_parse((const char *)data, size, &record))
        json_decref(record.json);
    return 0;
}
