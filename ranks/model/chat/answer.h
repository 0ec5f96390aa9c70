/* What a model answered in a chat, taken apart: reasoning, content, calls of tools. Text is fed as it comes, in pieces of any cut, and
 * what has come out is never taken back, so that it may be sent on at once. The family knows the markup (ranks/model/family.h).
 *
 *     slip_chat_answer answer = {.reading = reading};
 *     family->answer_feed(&answer, text, size);   // any number of times
 *     family->answer_finish(&answer);
 *     ... answer.reasoning, answer.content, answer.calls ...
 *     slip_chat_answer_free(&answer);
 */
#ifndef SLIP_RANKS_MODEL_CHAT_ANSWER_H
#define SLIP_RANKS_MODEL_CHAT_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "io/base/text.h"

/* How an answer is to be read. Borrowed. */
typedef struct {
    const json_t *tools; /* OpenAI's array, as offered to the model; NULL: none, and markup of calls is plain text */
    bool one_call;       /* parallel_tool_calls false: what follows the first call is dropped */
    bool continues;      /* continue_final_message: the prompt ends inside of the content */
} slip_chat_reading;

typedef struct {
    slip_chat_reading reading; /* set to start, all else zero */
    /* What has come out so far; it only grows. */
    bool reasons; /* the answer has reasoning, maybe none of it */
    slip_text reasoning, content;
    json_t *calls;                         /* array of {"name", "arguments"}, arguments being the text of a JSON object; NULL: none yet */
    size_t reasoning_start, reasoning_end; /* where the reasoning stands in the text, bytes; the end of what was fed while it goes on */
    bool failed;                           /* memory ended, or a text is not UTF-8 */
    /* The reader's own. */
    int state;
    slip_text held;           /* bytes that may still become markup */
    size_t base, token, seen; /* offset of held[0] in the text; where in `held` the token at hand begins, and how much was searched */
    bool after_call;          /* only white space since the last call */
    const json_t *function;   /* of the call at hand */
    json_t *arguments;        /* the call's so far: name -> JSON text */
    size_t key, key_size;     /* the name of the argument at hand, in `held` */
} slip_chat_answer;

void slip_chat_answer_free(slip_chat_answer *answer);

#endif
