#include "ranks/model/mimo_v2/chat_answer.h"

#include <stdlib.h>
#include <string.h>

#include "ranks/model/mimo_v2/chat_argument.h"

/* What is being read. From FUNCTION on, `held` begins with a block, or with white space before it. */
enum { START, REASONING, CONTENT, FUNCTION, NAME, BODY, KEY, VALUE, END, DROPPED };

enum { NAME_LENGTH = 256 };

static const char THINK[] = "<think>", END_THINK[] = "</think>", CALL[] = "<tool_call>", END_CALL[] = "</tool_call>",
                  FUNCTION_IS[] = "<function=", END_FUNCTION[] = "</function>",
                  PARAMETER_IS[] = "<parameter=", END_PARAMETER[] = "</parameter>";

/* ---- the bytes that are held ---- */

static void drop(slip_chat_answer *a, size_t count)
{
    if (count > 0)
        memmove(a->held.bytes, a->held.bytes + count, a->held.size - count);
    a->held.size -= count;
    a->base += count;
    a->token = a->seen = 0;
}

static void release(slip_chat_answer *a, slip_text *to, size_t count)
{
    if (count > 0)
        slip_text_add(to, a->held.bytes, count);
    a->failed |= to->failed;
    drop(a, count);
}

static size_t skip_space(const slip_chat_answer *a, size_t at)
{
    while (at < a->held.size && strchr(" \t\r\n", a->held.bytes[at]) != NULL && a->held.bytes[at] != '\0')
        at++;
    return at;
}

/* MAYBE: with more bytes it may. */
typedef enum { NO, MAYBE, YES } match;

static match begins(const slip_chat_answer *a, size_t at, const char *mark)
{
    size_t size = strlen(mark), there = a->held.size - at;
    if (memcmp(a->held.bytes + at, mark, there < size ? there : size) != 0)
        return NO;
    return there < size ? MAYBE : YES;
}

/* Find the mark; where there is none, `seen` moves to where one may begin in bytes to come. */
static bool find(slip_chat_answer *a, const char *mark, size_t *at)
{
    const char *from = a->held.bytes + a->seen, *found = memmem(from, a->held.size - a->seen, mark, strlen(mark));
    if (found != NULL) {
        *at = (size_t)(found - a->held.bytes);
        return true;
    }
    size_t tail = strlen(mark) - 1;
    if (a->held.size - a->seen > tail)
        a->seen = a->held.size - tail;
    while (begins(a, a->seen, mark) == NO)
        a->seen++;
    return false;
}

/* The mark at the token, behind white space; if it is there, the token moves behind it. */
static match take(slip_chat_answer *a, const char *mark)
{
    a->token = skip_space(a, a->token);
    match found = begins(a, a->token, mark);
    if (found == YES)
        a->seen = a->token += strlen(mark);
    return found;
}

/* ---- the states: each returns whether there is more to do with the bytes at hand ---- */

static bool enter(slip_chat_answer *a, match found, int state)
{
    if (found == YES)
        a->state = state;
    return found == YES;
}

/* The block is none: what was read of it is text. */
static bool break_off(slip_chat_answer *a)
{
    release(a, &a->content, a->token);
    json_decref(a->arguments);
    a->arguments = NULL;
    a->after_call = false;
    a->state = CONTENT;
    return true;
}

static bool read_start(slip_chat_answer *a)
{
    match found = a->reading.continues ? NO : begins(a, 0, THINK);
    if (found == MAYBE)
        return false;
    a->reasons = found == YES;
    a->state = found == YES ? REASONING : CONTENT;
    drop(a, found == YES ? strlen(THINK) : 0);
    a->reasoning_start = a->reasoning_end = a->base;
    return true;
}

static bool read_reasoning(slip_chat_answer *a)
{
    size_t at;
    bool ended = find(a, END_THINK, &at);
    release(a, &a->reasoning, ended ? at : a->seen);
    a->reasoning_end = a->base;
    if (!ended)
        return false;
    drop(a, strlen(END_THINK));
    a->state = CONTENT;
    return true;
}

/* White space behind a call waits, in `held`, for what comes next. */
static bool read_content(slip_chat_answer *a)
{
    size_t blank = a->after_call ? skip_space(a, a->seen) : 0, end = a->held.size;
    bool found = a->reading.tools != NULL && find(a, CALL, &end);
    if (!found && a->reading.tools != NULL)
        end = a->seen;
    if (end > blank) {
        release(a, &a->content, end);
        a->after_call = false;
        end = 0;
    }
    if (!found)
        return false;
    a->seen = a->token = end + strlen(CALL);
    a->state = FUNCTION;
    return true;
}

static bool read_function(slip_chat_answer *a)
{
    match found = take(a, FUNCTION_IS);
    return found == NO ? break_off(a) : enter(a, found, NAME);
}

/* The name at the token, which ends before a '>'. */
static match end_name(slip_chat_answer *a, size_t *size)
{
    for (; a->seen < a->held.size; a->seen++) {
        char c = a->held.bytes[a->seen];
        *size = a->seen - a->token;
        if (c == '>')
            return *size > 0 ? YES : NO;
        if (c == '<' || (unsigned char)c < 0x20 || *size == NAME_LENGTH)
            return NO;
    }
    return MAYBE;
}

static const json_t *find_tool(const slip_chat_answer *a, const char *name, size_t size)
{
    for (size_t i = 0; i < json_array_size(a->reading.tools); i++) {
        const json_t *function = json_object_get(json_array_get(a->reading.tools, i), "function");
        const json_t *its = json_object_get(function, "name");
        if (json_string_length(its) == size && memcmp(json_string_value(its), name, size) == 0)
            return function;
    }
    return NULL;
}

static bool read_name(slip_chat_answer *a)
{
    size_t size;
    match found = end_name(a, &size);
    a->function = found == YES ? find_tool(a, a->held.bytes + a->token, size) : NULL;
    if (found == NO || (found == YES && a->function == NULL))
        return break_off(a);
    if (found == YES) {
        a->arguments = json_object();
        a->seen = a->token += size + 1;
    }
    return enter(a, found, BODY);
}

static bool read_body(slip_chat_answer *a)
{
    match parameter = take(a, PARAMETER_IS);
    if (parameter == YES)
        return enter(a, parameter, KEY);
    match end = take(a, END_FUNCTION);
    return parameter == NO && end == NO ? break_off(a) : enter(a, end, END);
}

static bool read_key(slip_chat_answer *a)
{
    match found = end_name(a, &a->key_size);
    if (found == NO)
        return break_off(a);
    a->key = a->token;
    if (found == YES)
        a->seen = a->token += a->key_size + 1;
    return enter(a, found, VALUE);
}

static bool read_value(slip_chat_answer *a)
{
    size_t at;
    if (!find(a, END_PARAMETER, &at))
        return false;
    a->failed |=
        !slip_chat_argument_set(a->arguments, a->function, a->held.bytes + a->key, a->key_size, a->held.bytes + a->token, at - a->token);
    a->seen = a->token = at + strlen(END_PARAMETER);
    return enter(a, YES, BODY);
}

static void add_call(slip_chat_answer *a)
{
    json_t *call = json_object();
    if (a->calls == NULL)
        a->calls = json_array();
    if (json_object_set(call, "name", json_object_get(a->function, "name")) != 0 ||
        json_object_set_new(call, "arguments", slip_chat_argument_text(a->arguments)) != 0)
        a->failed = true;
    if (json_array_append_new(a->calls, call) != 0)
        a->failed = true;
    json_decref(a->arguments);
    a->arguments = NULL;
}

static bool read_end(slip_chat_answer *a)
{
    match found = take(a, END_CALL);
    if (found == NO)
        return break_off(a);
    if (found == YES) {
        add_call(a);
        drop(a, a->token);
        a->after_call = true;
    }
    return enter(a, found, a->reading.one_call ? DROPPED : CONTENT);
}

static bool read_dropped(slip_chat_answer *a)
{
    drop(a, a->held.size);
    return false;
}

/* ---- the whole ---- */

static bool (*const states[])(slip_chat_answer *answer) = {
    [START] = read_start, [REASONING] = read_reasoning, [CONTENT] = read_content, [FUNCTION] = read_function,
    [NAME] = read_name,   [BODY] = read_body,           [KEY] = read_key,         [VALUE] = read_value,
    [END] = read_end,     [DROPPED] = read_dropped,
};

void slip_mimo_v2_answer_feed(slip_chat_answer *answer, const char *text, size_t size)
{
    slip_text_add(&answer->held, text, size);
    answer->failed |= answer->held.failed;
    while (!answer->failed && answer->held.size > 0 && states[answer->state](answer))
        continue;
}

void slip_mimo_v2_answer_finish(slip_chat_answer *answer)
{
    slip_chat_answer *a = answer;
    json_decref(a->arguments);
    a->arguments = NULL;
    if (a->failed || a->state == DROPPED)
        return;
    if (a->after_call && skip_space(a, 0) == a->held.size)
        drop(a, a->held.size);
    release(a, a->state == REASONING ? &a->reasoning : &a->content, a->held.size);
    if (a->state == REASONING)
        a->reasoning_end = a->base;
}
