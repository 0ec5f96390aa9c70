/* OpenAI batch lines in: one JSON object a line, {custom_id, method, url, body} -> slip_request.
 *
 * A line is refused on its own (status code, message, the parameter at fault) and never takes the others with it; its
 * custom_id is found wherever it can be read at all. /v1/chat/completions and /v1/completions are understood. A field of
 * the body is served, or refused by name (code "unsupported") unless its value asks for nothing, such as stream:false; a few
 * that never change an answer, such as metadata, are passed over unread, and so is what else stands beside the body. A name
 * that is not known is refused. A field that is null counts as absent.
 */
#ifndef SLIP_IO_OPENAI_REQUEST_H
#define SLIP_IO_OPENAI_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"
#include "ranks/model/family.h"
#include "ranks/model/sampling/sampling.h"

enum { SLIP_MAX_STOPS = 4, SLIP_MAX_N = 128, SLIP_MAX_CHOICES = 2048, SLIP_REQUEST_LINE_MAX = 16 << 20 };

/* Why a line was refused: becomes response.status_code and response.body.error.
 * Codes: "invalid_json", "line_too_long", "missing_field", "invalid_value", "unsupported", "unknown_url"
 * (404), "duplicate_custom_id"; whoever finds a fault later adds its own ("context_length_exceeded", "not_finite"). */
typedef struct {
    int status_code; /* 4xx, 500; 0 = accepted */
    char type[32];   /* "invalid_request_error", "server_error" */
    char code[40];
    char param[64];    /* the field, "" for none */
    char message[400]; /* may end in the middle of a character: print it through io/base/json.h */
} slip_refusal;

/* What holds for lines that do not say. */
typedef struct {
    int32_t max_tokens;                          /* 0 = not given */
    slip_sampling sampling;                      /* its seed is mixed with custom_id into the seed of a line that has none */
    const slip_family *family;                   /* renders chats; NULL: the first of ranks/model/family.h */
    const char *models;                          /* the names the model goes by, with commas between them; NULL: any */
    const slip_chat_template *chat;              /* NULL: the family's first, or, with the next, none: chats are refused */
    const char *unknown_chat;                    /* SHA-256 of the model's template, which is not known */
    void (*watch)(void *context, int64_t lines); /* called now and then while a file is read through; NULL: nobody looks */
    void *watch_context;
} slip_request_defaults;

/* A prompt: text, or token ids. */
typedef struct {
    char *text;   /* to encode, NUL-terminated; special tokens inside become their ids. NULL: ids */
    size_t size;  /* bytes of text */
    int32_t *ids; /* >= 0; the vocabulary is the caller's to check */
    size_t id_count;
} slip_prompt;

typedef struct {
    char *custom_id;      /* never NULL: a line without a readable one is given "line-<number>" */
    bool named;           /* custom_id is the line's own */
    int64_t index;        /* its place in a file (io/openai/request_file.h) */
    bool chat;            /* /v1/chat/completions, else /v1/completions */
    slip_prompt *prompts; /* [prompt_count], at least one; a chat has one */
    int32_t prompt_count;
    int32_t n;              /* answers a prompt */
    bool echo;              /* completions: the answer's text begins with the prompt */
    int32_t max_tokens;     /* 0 = not given */
    slip_sampling sampling; /* its seed given, or derived from custom_id: the same line always samples the same */
    bool seed_given;
    slip_bias *biases; /* [bias_count], by token; the vocabulary is the caller's to check */
    int32_t bias_count;
    bool logprobs;        /* of every token of the answer */
    int32_t top_logprobs; /* and of so many likeliest ones */
    bool return_token_ids;
    bool special_tokens;       /* skip_special_tokens false: the answer's text has them */
    const slip_family *family; /* of a chat: who reads its answers */
    slip_chat_reading reading; /* of a chat: how; it owns its tools */
    char *stops[SLIP_MAX_STOPS];
    int32_t stop_count;
    char *model;          /* echoed back; "slipstream" where the line names none */
    uint64_t hash;        /* of everything that decides the answer: the key of --resume beside custom_id */
    uint64_t line_hash;   /* the same of the line alone (slip_request_file_line_hash), if whoever parsed it has set it */
    slip_refusal refusal; /* status_code 0 when the request may run; else only custom_id and hash are of use */
} slip_request;

/* Take a chat's answer apart, reasoning from content from calls. The caller frees *parts. SLIP_ERR_FAILED: no memory, or not UTF-8. */
slip_status slip_request_read_answer(const slip_request *request, const char *text, size_t size, slip_chat_answer *parts);

/* Parse one line (without its newline). Always fills *request with an owned custom_id, refusal set if it
 * cannot run. Fails only when memory does, and owns nothing then. `number` counts lines from 1. `defaults`
 * may be NULL: OpenAI's, temperature and top_p 1. */
slip_status slip_request_parse(const char *line, size_t size, int64_t number, const slip_request_defaults *defaults, slip_request *request);
void slip_request_free(slip_request *request);

/* What can be told of a line without parsing it. */
typedef struct {
    char *custom_id;    /* the name that slip_request_parse() would find in it (malloc'ed); NULL: none */
    int64_t max_tokens; /* of a body that has one; 0: it has none */
} slip_request_glance;

/* SLIP_ERR_FAILED: out of memory. */
slip_status slip_request_look(const char *line, size_t size, slip_request_glance *glance);

/* An answer holds prompt_count * n choices: choice c is the (c % n)th of prompt c / n. */
int32_t slip_request_choices(const slip_request *request);
const slip_prompt *slip_request_prompt(const slip_request *request, int32_t choice);

/* The seed of a choice, which nothing but the line decides. The first choice of a prompt has the request's own seed, so that
 * it reads as it would alone; the others hash it with their place. Where the seed was made from custom_id, the prompts of a
 * list differ, too. */
uint64_t slip_request_seed(const slip_request *request, int32_t choice);

/* Refuse a request: used by whoever finds the fault later (too long for the context, say). Returns
 * SLIP_ERR_INPUT, for a checker to return in turn; slip_fail() is not told, since the run goes on. */
slip_status slip_request_refuse(slip_request *request, int status_code, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The same for a fault that is not the request's: status 500, type "server_error". */
slip_status slip_request_fail(slip_request *request, const char *code, const char *message);

#endif
