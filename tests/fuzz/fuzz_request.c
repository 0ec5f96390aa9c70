/* Any bytes as a batch line: parsing must end, must keep its promises, and the answer to it must be a line
 * that reads back. The first byte chooses the caller's defaults.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/json.h"
#include "io/openai/request.h"
#include "io/openai/result_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void check_accepted(const slip_request *request)
{
    require(request->named && request->model != NULL);
    require((request->prompt != NULL) != (request->prompt_ids != NULL));
    require(request->prompt != NULL ? strlen(request->prompt) == request->prompt_size
                                    : request->prompt_ids_count > 0);
    require(request->sampling.temperature >= 0 && request->sampling.temperature <= 2 && request->sampling.top_p > 0 &&
            request->sampling.top_p <= 1);
    require(request->sampling.top_k >= -1 && request->sampling.min_p >= 0 && request->sampling.min_p <= 1);
    require(request->max_tokens >= 0 && request->stop_count >= 0 && request->stop_count <= SLIP_MAX_STOPS);
    for (int32_t i = 0; i < request->stop_count; i++)
        require(request->stops[i][0] != '\0');
    for (size_t i = 0; i < request->prompt_ids_count; i++)
        require(request->prompt_ids[i] >= 0);
}

/* The line that answers the request, read back. */
static void check_result(const slip_request *request)
{
    char *line;
    size_t size;
    slip_result_record record;
    const slip_answer answer = {.text = request->prompt != NULL ? request->prompt : "",
                                .text_size = request->prompt_size,
                                .finish_reason = "stop"};
    slip_status status = request->refusal.status_code == 0
                             ? slip_result_line_answer(request, 5, &answer, &line, &size)
                             : slip_result_line_refuse(request, 5, &line, &size);
    require(status == SLIP_OK);
    require(size > 0 && memchr(line, '\n', size) == line + size - 1);
    require(strncmp(line, SLIP_RESULT_PREFIX, sizeof SLIP_RESULT_PREFIX - 1) == 0);
    require(slip_result_line_parse(line, size - 1, &record));
    require(!record.never_ran && record.request_hash == request->hash && record.run_hash == 5);
    require(strcmp(record.custom_id, request->custom_id) == 0);
    json_decref(record.json);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const slip_request_defaults defaults = {.max_tokens = 7, .sampling = {.temperature = 0, .top_p = 0.5, .seed = data[0]}};
    slip_request request;
    slip_status status =
        slip_request_parse((const char *)data + 1, size - 1, 1, data[0] & 1 ? &defaults : NULL, &request);
    require(status == SLIP_OK && slip_cause()[0] == '\0');
    if (request.refusal.status_code == 0)
        check_accepted(&request);
    else
        require(request.refusal.status_code / 100 == 4 && request.refusal.message[0] != '\0');
    check_result(&request);
    slip_request_free(&request);
    slip_result_record record;
    if (slip_result_line_parse((const char *)data, size, &record))
        json_decref(record.json);
    return 0;
}
