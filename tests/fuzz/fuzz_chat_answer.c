/* Input: two bytes that cut it into pieces and say how it is read, then an answer. Whole or in pieces it must come apart alike, nothing
 * may be lost or made up, and every call's arguments must be the text of a JSON object.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/utf8.h"
#include "ranks/model/mimo_v2/chat_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static json_t *make_tools(void)
{
    return json_loads("[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":"
                      "[\"integer\",\"null\"]},\"c\":{\"anyOf\":[{\"type\":\"object\"},{\"type\":\"array\"}]},\"d\":{\"type\":\"number\"},"
                      "\"e\":{\"type\":\"boolean\"}}}}},{\"function\":{\"name\":\"g\"}}]",
                      0, NULL);
}

static slip_chat_answer read(const slip_chat_reading *reading, const char *text, size_t size, size_t piece)
{
    slip_chat_answer answer = {.reading = *reading};
    for (size_t at = 0; at < size; at += piece) {
        size_t content = answer.content.size, calls = json_array_size(answer.calls);
        slip_mimo_v2_answer_feed(&answer, text + at, size - at < piece ? size - at : piece);
        require(answer.content.size >= content && json_array_size(answer.calls) >= calls);
    }
    slip_mimo_v2_answer_finish(&answer);
    require(!answer.failed);
    return answer;
}

static int same(const slip_text *a, const slip_text *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static void check(const slip_chat_answer *answer, size_t size)
{
    require(answer->reasoning_start <= answer->reasoning_end && answer->reasoning_end <= size);
    require(answer->reasoning.size == answer->reasoning_end - answer->reasoning_start);
    require(answer->content.size + answer->reasoning.size <= size);
    if (answer->calls == NULL)
        require(answer->content.size + answer->reasoning_end + (answer->reasons ? strlen("</think>") : 0) >= size);
    for (size_t i = 0; i < json_array_size(answer->calls); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(answer->calls, i), "arguments"));
        json_t *object = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        require(json_is_object(object));
        json_decref(object);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || slip_utf8_valid((const char *)data + 2, size - 2) != size - 2)
        return 0;
    json_t *tools = make_tools();
    const slip_chat_reading reading = {(data[0] & 1) != 0 ? NULL : tools, (data[0] & 2) != 0, (data[0] & 4) != 0};
    slip_chat_answer whole = read(&reading, (const char *)data + 2, size - 2, size);
    slip_chat_answer pieces = read(&reading, (const char *)data + 2, size - 2, (size_t)data[1] % 16 + 1);
    check(&whole, size - 2);
    require(same(&whole.content, &pieces.content) && same(&whole.reasoning, &pieces.reasoning) && whole.reasons == pieces.reasons);
    require(whole.calls == pieces.calls || json_equal(whole.calls, pieces.calls));
    slip_chat_answer_free(&whole);
    slip_chat_answer_free(&pieces);
    json_decref(tools);
    return 0;
}
