/* OpenAI batch lines in: one JSON object a line, {custom_id, method, url, body} -> slip_request.
 *
 * A line is refused on its own (status code, message, the parameter at fault) and never takes the others with it.
 * /v1/chat/completions and /v1/completions are understood.
 */
#ifndef SLIP_IO_REQUEST_H
#define SLIP_IO_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

enum { SLIP_MAX_STOPS = 4, SLIP_REQUEST_LINE_MAX = 16 << 20 };

/* Why a line was refused: becomes response.status_code and response.body.error. */
typedef struct {
    int status_code;      /* 400, 404 (unknown url), ... ; 0 = accepted */
    char type[32];        /* "invalid_request_error" */
    char code[40];        /* "invalid_json", "missing_field", "invalid_value", "unsupported", "duplicate_custom_id", "context_length_exceeded", ... */
    char param[64];       /* the field, "" for none */
    char message[400];
} slip_refusal;

typedef struct {
    char *custom_id;      /* never NULL: a line without a readable one is given "line-<number>" */
    bool chat;            /* /v1/chat/completions, else /v1/completions */
    char *prompt;         /* the text to encode; special tokens inside count only when `chat` */
    size_t prompt_size;
    int32_t *prompt_ids;  /* a completions prompt given as an array of token ids: then prompt is NULL */
    size_t prompt_ids_count;
    bool echo;
    int32_t max_tokens;   /* 0 = not given */
    double temperature;   /* default 1 as in OpenAI's API unless the caller's defaults say otherwise */
    double top_p;
    uint64_t seed;        /* given, or derived from custom_id: the same line always samples the same */
    char *stops[SLIP_MAX_STOPS];
    int32_t stop_count;
    char *model;          /* echoed back */
    uint64_t hash;        /* of everything that decides the output: the key of --resume beside custom_id */
    slip_refusal refusal; /* status_code 0 when the request may run */
} slip_request;

/* Parse one line (without its newline). Always fills *request with an owned custom_id, refusal set if it cannot run.
 * Fails only when memory does. `number` counts lines from 1. */
slip_status slip_request_parse(const char *line, size_t size, int64_t number, slip_request *request);
void slip_request_free(slip_request *request);

/* Read a file of lines. Blank lines are passed over; a duplicate custom_id is refused on its second line. A missing or
 * empty file is SLIP_ERR_INPUT. The caller frees each request and the array. */
slip_status slip_requests_read(const char *path, slip_request **requests, size_t *count);

/* Refuse a request: used by whoever finds the fault later (too long for the context, say). */
void slip_request_refuse(slip_request *request, int status_code, const char *code, const char *param,
                         const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
