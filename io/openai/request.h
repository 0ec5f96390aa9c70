/* OpenAI batch lines in: one JSON object a line, {custom_id, method, url, body} -> slip_request.
 *
 * A line is refused on its own (status code, message, the parameter at fault) and never takes the others with
 * it. /v1/chat/completions and /v1/completions are understood. A body field that we know and do not serve is
 * refused (code "unsupported") unless its value asks for nothing, such as stream:false; a field that we do
 * not know is passed over. A field that is null counts as absent.
 */
#ifndef SLIP_IO_OPENAI_REQUEST_H
#define SLIP_IO_OPENAI_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"
#include "ranks/model/family.h"
#include "ranks/model/sampling.h"

enum { SLIP_MAX_STOPS = 4, SLIP_REQUEST_LINE_MAX = 16 << 20 };

/* Why a line was refused: becomes response.status_code and response.body.error.
 * Codes: "invalid_json", "line_too_long", "missing_field", "invalid_value", "unsupported", "unknown_url"
 * (404), "duplicate_custom_id"; whoever finds a fault later adds its own ("context_length_exceeded"). */
typedef struct {
    int status_code; /* 4xx; 0 = accepted */
    char type[32];   /* "invalid_request_error" */
    char code[40];
    char param[64];    /* the field, "" for none */
    char message[400]; /* may end in the middle of a character: print it through io/base/json.h */
} slip_refusal;

/* What holds for lines that do not say. */
typedef struct {
    int32_t max_tokens; /* 0 = not given */
    slip_sampling sampling; /* its seed is mixed with custom_id into the seed of a line that has none */
    const slip_family *family; /* renders chats; NULL: the first of ranks/model/family.h */
} slip_request_defaults;

typedef struct {
    char *custom_id;    /* never NULL: a line without a readable one is given "line-<number>" */
    bool named;         /* custom_id is the line's own */
    bool chat;          /* /v1/chat/completions, else /v1/completions */
    char *prompt;       /* the text to encode, NUL-terminated; special tokens inside count only when `chat` */
    size_t prompt_size; /* bytes */
    int32_t *prompt_ids; /* a completions prompt given as an array of token ids (>= 0; the vocabulary is the
                          * caller's to check): then prompt is NULL */
    size_t prompt_ids_count;
    bool echo;          /* completions: the answer's text begins with the prompt */
    int32_t max_tokens; /* 0 = not given */
    slip_sampling sampling; /* its seed given, or derived from custom_id: the same line always samples the same */
    char *stops[SLIP_MAX_STOPS];
    int32_t stop_count;
    char *model;   /* echoed back; "slipstream" where the line names none */
    uint64_t hash; /* of everything that decides the answer: the key of --resume beside custom_id */
    slip_refusal refusal; /* status_code 0 when the request may run; else only custom_id and hash are of use */
} slip_request;

/* Parse one line (without its newline). Always fills *request with an owned custom_id, refusal set if it
 * cannot run. Fails only when memory does, and owns nothing then. `number` counts lines from 1. `defaults`
 * may be NULL: OpenAI's, temperature and top_p 1. */
slip_status slip_request_parse(const char *line, size_t size, int64_t number,
                               const slip_request_defaults *defaults, slip_request *request);
void slip_request_free(slip_request *request);

/* Read a file of lines. Blank lines are passed over; a duplicate custom_id is refused on its second line. A
 * missing file or one without a request is SLIP_ERR_INPUT. The caller frees *requests with
 * slip_requests_free. */
slip_status slip_requests_read(const char *path, const slip_request_defaults *defaults,
                               slip_request **requests, size_t *count);
void slip_requests_free(slip_request *requests, size_t count);

/* Refuse a request: used by whoever finds the fault later (too long for the context, say). Returns
 * SLIP_ERR_INPUT, for a checker to return in turn; slip_fail() is not told, since the run goes on. */
slip_status slip_request_refuse(slip_request *request, int status_code, const char *code, const char *param,
                                const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
