/* Input: a JSON object of messages, tools, thinking, ending and v2_6. What is rendered must be whole, well-formed text that
 * begins with a turn, but for V2.6 the system's, and ends as asked for; what is refused must be refused with a sentence.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mimo_v2/chat.h"
#include "io/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_text(const char *text, size_t size, const char *begin, int thinking, slip_chat_ending ending)
{
    static const char cue[] = "<|im_start|>assistant\n<think></think>";
    size_t cue_size = strlen(cue) - (thinking ? strlen("<think></think>") : 0);
    require(strlen(text) == size && slip_utf8_valid(text, size) == size);
    if (ending != SLIP_CHAT_CUE)
        cue_size = 0;
    require(size > strlen(begin) + cue_size && memcmp(text, begin, strlen(begin)) == 0);
    if (ending == SLIP_CHAT_CUE)
        require(memcmp(text + size - cue_size, cue, cue_size) == 0);
    if (ending == SLIP_CHAT_NO_CUE)
        require(memcmp(text + size - strlen("<|im_end|>"), "<|im_end|>", strlen("<|im_end|>")) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    int thinking = json_is_true(json_object_get(root, "thinking"));
    json_int_t number = json_integer_value(json_object_get(root, "ending"));
    slip_chat_ending ending = number == 1 ? SLIP_CHAT_NO_CUE : number == 2 ? SLIP_CHAT_CONTINUE : SLIP_CHAT_CUE;
    char *text = NULL;
    size_t text_size;
    slip_clear();
    int v2_6 = json_is_true(json_object_get(root, "v2_6"));
    slip_chat_render *render = v2_6 ? slip_mimo_v2_6_chat : slip_mimo_v2_chat;
    slip_status status = render(json_object_get(root, "messages"), json_object_get(root, "tools"), thinking, ending, &text, &text_size);
    if (status == SLIP_OK)
        check_text(text, text_size, v2_6 ? "<|im_start|>" : "<|im_start|>system\n", thinking, ending);
    else
        require(slip_cause()[0] != '\0' && text == NULL);
    free(text);
    json_decref(root);
    return 0;
}
