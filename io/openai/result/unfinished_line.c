#include "io/openai/result/unfinished_line.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/hash/crc32c.h"
#include "io/base/json.h"
#include "io/openai/result/line.h"

enum { CRC = 8 };

static const char PREFIX[] = SLIP_UNFINISHED_PREFIX, MIDDLE[] = "\",\"unfinished\":";
enum { HEAD = sizeof SLIP_UNFINISHED_PREFIX - 1 + CRC + sizeof MIDDLE - 1 };

/* ---- out ---- */

static json_t *choice(const slip_answer *answer)
{
    return json_pack("{s:s%, s:s?, s:I, s:I, s:I, s:f, s:f, s:o}", "text", answer->text ? answer->text : "", answer->text_size,
                     "finish_reason", answer->finish_reason, "num_spec_steps", (json_int_t)answer->spec_steps, "num_draft_tokens",
                     (json_int_t)answer->draft_tokens, "num_accepted_draft_tokens", (json_int_t)answer->accepted_draft_tokens,
                     "time_to_first_token_ms", answer->time_to_first_token_ms, "total_ms", answer->total_ms, "tokens",
                     slip_result_id_list(answer->ids, answer->completion_tokens));
}

static json_t *choices(const slip_request *request, const slip_answer *answers)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < slip_request_choices(request); i++)
        if (json_array_append_new(list, choice(&answers[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

slip_status slip_unfinished_line(const slip_request *request, uint64_t run_hash, const slip_answer *answers, char **line, size_t *size)
{
    char request_hex[SLIP_RESULT_HEX], run_hex[SLIP_RESULT_HEX];
    snprintf(request_hex, sizeof request_hex, "%016" PRIx64, request->hash);
    snprintf(run_hex, sizeof run_hex, "%016" PRIx64, run_hash);
    json_t *root = json_pack("{s:s, s:s, s:s, s:o}", "custom_id", request->custom_id, "request_hash", request_hex, "run_hash", run_hex,
                             "choices", choices(request, answers));
    size_t inner = 0;
    char *text = root != NULL ? slip_json_line(root, &inner) : NULL, *made = text != NULL ? malloc(HEAD + inner + 2) : NULL;
    json_decref(root);
    if (made != NULL) {
        inner--; /* its newline */
        snprintf(made, HEAD + 1, "%s%08" PRIx32 "%s", PREFIX, slip_crc32c(text, inner), MIDDLE);
        memcpy(made + HEAD, text, inner);
        memcpy(made + HEAD + inner, "}\n", 2);
        *line = made;
        *size = HEAD + inner + 2;
    }
    free(text);
    return made != NULL ? SLIP_OK
                        : slip_fail(SLIP_ERR_FAILED, "the answer so far to request \"%.200s\" cannot be written: no memory, or not UTF-8",
                                    request->custom_id);
}

/* ---- in ---- */

static bool is_sound(const char *line, size_t size)
{
    char crc[CRC + 1];
    if (size <= HEAD + 1 || memcmp(line, PREFIX, sizeof PREFIX - 1) != 0 || line[size - 1] != '}')
        return false;
    snprintf(crc, sizeof crc, "%08" PRIx32, slip_crc32c(line + HEAD, size - HEAD - 1));
    return memcmp(line + sizeof PREFIX - 1, crc, CRC) == 0 && memcmp(line + HEAD - (sizeof MIDDLE - 1), MIDDLE, sizeof MIDDLE - 1) == 0;
}

bool slip_unfinished_line_parse(const char *line, size_t size, slip_unfinished_record *record)
{
    if (!is_sound(line, size))
        return false;
    json_t *json = json_loadb(line + HEAD, size - HEAD - 1, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    slip_unfinished_record read = {
        .custom_id = json_string_value(json_object_get(json, "custom_id")), .choices = json_object_get(json, "choices"), .json = json};
    if (read.custom_id == NULL || !json_is_array(read.choices) || json_array_size(read.choices) > SLIP_MAX_CHOICES ||
        !slip_result_parse_hash(json, "request_hash", &read.request_hash) || !slip_result_parse_hash(json, "run_hash", &read.run_hash)) {
        json_decref(json);
        return false;
    }
    *record = read;
    return true;
}

/* What ends an answer; NULL where it has not ended. */
static bool read_reason(const json_t *value, const char **reason)
{
    static const char *const known[] = {"stop", "length"};
    const char *text = json_string_value(value);
    *reason = NULL;
    for (size_t i = 0; text != NULL && i < sizeof known / sizeof *known; i++)
        if (strcmp(text, known[i]) == 0)
            *reason = known[i];
    return json_is_null(value) || *reason != NULL;
}

static bool read_tokens(const json_t *list, slip_answer *answer)
{
    size_t count = json_array_size(list);
    int32_t *ids = count < INT32_MAX ? malloc(count * sizeof *ids + 1) : NULL;
    answer->ids = ids;
    for (size_t i = 0; ids != NULL && i < count; i++) {
        const json_t *token = json_array_get(list, i);
        if (!json_is_integer(token) || json_integer_value(token) < 0 || json_integer_value(token) > INT32_MAX)
            return false;
        ids[i] = (int32_t)json_integer_value(token);
    }
    answer->completion_tokens = (int32_t)count;
    return ids != NULL && json_is_array(list);
}

static bool read_choice(const json_t *object, slip_answer *answer)
{
    const json_t *text = json_object_get(object, "text");
    char *copy = malloc(json_string_length(text) + 1);
    answer->text = copy;
    if (copy == NULL || !json_is_string(text))
        return false;
    answer->text_size = json_string_length(text);
    memcpy(copy, json_string_value(text), answer->text_size + 1);
    answer->spec_steps = json_integer_value(json_object_get(object, "num_spec_steps"));
    answer->draft_tokens = json_integer_value(json_object_get(object, "num_draft_tokens"));
    answer->accepted_draft_tokens = json_integer_value(json_object_get(object, "num_accepted_draft_tokens"));
    answer->time_to_first_token_ms = json_number_value(json_object_get(object, "time_to_first_token_ms"));
    answer->total_ms = json_number_value(json_object_get(object, "total_ms"));
    return read_reason(json_object_get(object, "finish_reason"), &answer->finish_reason) &&
           read_tokens(json_object_get(object, "tokens"), answer);
}

slip_status slip_unfinished_line_choices(const slip_unfinished_record *record, slip_begun *begun)
{
    size_t count = json_array_size(record->choices);
    *begun = (slip_begun){.choices = calloc(count + 1, sizeof *begun->choices), .count = (int32_t)count};
    if (begun->choices == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu answers", count);
    for (size_t i = 0; i < count; i++)
        if (!read_choice(json_array_get(record->choices, i), &begun->choices[i])) {
            slip_begun_free(begun);
            break;
        }
    return SLIP_OK;
}
