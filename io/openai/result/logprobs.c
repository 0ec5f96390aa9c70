#include "io/openai/result/logprobs.h"

#include <stdio.h>

#include "io/base/text.h"

static json_t *token_text(const slip_answer_logprob *token)
{
    json_t *whole = json_stringn(token->bytes, token->size);
    if (whole != NULL)
        return whole;
    slip_text text = {0};
    slip_text_add(&text, "bytes:", 6);
    for (size_t i = 0; i < token->size; i++) {
        char escape[8];
        int size = snprintf(escape, sizeof escape, "\\x%02x", (unsigned char)token->bytes[i]);
        slip_text_add(&text, escape, (size_t)size);
    }
    json_t *spelt = text.failed ? NULL : json_stringn(text.bytes, text.size);
    slip_text_free(&text);
    return spelt;
}

/* ---- a chat's: {content: [{token, logprob, bytes, top_logprobs}], refusal} ---- */

static json_t *byte_list(const slip_answer_logprob *token)
{
    json_t *list = json_array();
    for (size_t i = 0; i < token->size; i++)
        json_array_append_new(list, json_integer((unsigned char)token->bytes[i]));
    return list;
}

static json_t *entry(const slip_answer_logprob *token)
{
    return json_pack("{s:o, s:f, s:o}", "token", token_text(token), "logprob", token->logprob, "bytes", byte_list(token));
}

static json_t *content(const slip_answer_logprob *row, int32_t top)
{
    json_t *made = entry(row), *list = json_array();
    for (int32_t i = 1; i <= top && row[i].bytes != NULL; i++)
        json_array_append_new(list, entry(&row[i]));
    json_object_set_new(made, "top_logprobs", list);
    return made;
}

static json_t *chat(const slip_answer *answer, int32_t top)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < answer->completion_tokens; i++)
        json_array_append_new(list, content(answer->logprobs + (size_t)i * (1 + (size_t)top), top));
    return json_pack("{s:o, s:n}", "content", list, "refusal");
}

/* ---- a completion's: {tokens, token_logprobs, top_logprobs, text_offset}; offsets count characters, from the prompt's end ---- */

/* The likeliest, by text, and the token itself. */
static json_t *alternatives(const slip_answer_logprob *row, int32_t top)
{
    json_t *object = json_object();
    for (int32_t i = top; i >= 0; i--) {
        json_t *name = row[i].bytes != NULL ? token_text(&row[i]) : NULL;
        if (name != NULL)
            json_object_set_new(object, json_string_value(name), json_real(row[i].logprob));
        json_decref(name);
    }
    return object;
}

static int64_t characters(const slip_answer_logprob *token)
{
    int64_t count = 0;
    for (size_t i = 0; i < token->size; i++)
        count += ((unsigned char)token->bytes[i] & 0xC0) != 0x80;
    return count;
}

static json_t *completion(const slip_answer *answer, int32_t top)
{
    json_t *tokens = json_array(), *logprobs = json_array(), *tops = json_array(), *offsets = json_array();
    int64_t offset = 0;
    for (int32_t i = 0; i < answer->completion_tokens; i++) {
        const slip_answer_logprob *row = answer->logprobs + (size_t)i * (1 + (size_t)top);
        json_array_append_new(tokens, token_text(row));
        json_array_append_new(logprobs, json_real(row->logprob));
        json_array_append_new(tops, alternatives(row, top));
        json_array_append_new(offsets, json_integer(offset));
        offset += characters(row);
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "text_offset", offsets, "token_logprobs", logprobs, "tokens", tokens, "top_logprobs", tops);
}

json_t *slip_result_logprobs(const slip_request *request, const slip_answer *answer)
{
    if (!request->logprobs)
        return json_null();
    return request->chat ? chat(answer, request->top_logprobs) : completion(answer, request->top_logprobs);
}
