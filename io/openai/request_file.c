#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

#include "io/base/hash.h"
#include "io/base/lines.h"
#include "io/openai/request.h"

typedef struct {
    slip_request *items;
    size_t count, capacity;
    json_t *names; /* custom_id -> how many lines have had it so far */
} request_list;

static slip_status list_grow(request_list *list, const char *path)
{
    if (list->count < list->capacity)
        return SLIP_OK;
    size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
    slip_request *grown = reallocarray(list->items, capacity, sizeof *grown);
    if (grown == NULL)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory for %zu requests", path, capacity);
    list->items = grown;
    list->capacity = capacity;
    return SLIP_OK;
}

/* A custom_id is its first line's. Later lines are refused, and the count in their hash tells equal ones
 * apart, so that a resumed run knows how many of them it has answered. */
static slip_status list_name(request_list *list, slip_request *request)
{
    json_int_t earlier = json_integer_value(json_object_get(list->names, request->custom_id));
    if (earlier > 0) {
        request->hash = slip_hash(request->hash, &earlier, sizeof earlier);
        if (request->refusal.status_code == 0)
            slip_request_refuse(request, 400, "duplicate_custom_id", "custom_id",
                                "custom_id \"%.200s\" was used by an earlier line", request->custom_id);
    }
    if (json_object_set_new_nocheck(list->names, request->custom_id, json_integer(earlier + 1)) != 0)
        return slip_fail(SLIP_ERR_FAILED, "no memory to remember custom_id \"%.200s\"", request->custom_id);
    return SLIP_OK;
}

static slip_status list_read(request_list *list, slip_lines *lines, const slip_request_defaults *defaults)
{
    for (;;) {
        bool found;
        slip_status status = slip_lines_next(lines, &found);
        if (status != SLIP_OK || !found)
            return status;
        if (slip_lines_blank(lines))
            continue;
        if ((status = list_grow(list, lines->path)) != SLIP_OK)
            return status;
        slip_request *request = &list->items[list->count];
        if ((status = slip_request_parse(lines->line, lines->size, lines->number, defaults, request)) !=
            SLIP_OK)
            return status;
        list->count++;
        if (request->named && (status = list_name(list, request)) != SLIP_OK)
            return status;
    }
}

slip_status slip_requests_read(const char *path, const slip_request_defaults *defaults,
                               slip_request **requests, size_t *count)
{
    slip_lines lines;
    slip_status status = slip_lines_open(path, SLIP_REQUEST_LINE_MAX, &lines);
    if (status != SLIP_OK)
        return status;
    request_list list = {.names = json_object()};
    if (list.names == NULL)
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory to read requests", path);
    else
        status = list_read(&list, &lines, defaults);
    if (status == SLIP_OK && list.count == 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: holds no request", path);
    json_decref(list.names);
    slip_lines_close(&lines);
    if (status != SLIP_OK) {
        slip_requests_free(list.items, list.count);
        return status;
    }
    *requests = list.items;
    *count = list.count;
    return SLIP_OK;
}

void slip_requests_free(slip_request *requests, size_t count)
{
    for (size_t i = 0; i < count; i++)
        slip_request_free(&requests[i]);
    free(requests);
}
