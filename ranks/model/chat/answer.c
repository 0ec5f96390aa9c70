#include "ranks/model/chat/answer.h"

void slip_chat_answer_free(slip_chat_answer *answer)
{
    slip_text_free(&answer->reasoning);
    slip_text_free(&answer->content);
    slip_text_free(&answer->held);
    json_decref(answer->calls);
    json_decref(answer->arguments);
    *answer = (slip_chat_answer){.reading = answer->reading};
}
