/* MiMo's markup of an answer:
 *
 *     <think>reasoning</think>content<tool_call>
 *     <function=NAME>
 *     <parameter=KEY>VALUE</parameter>
 *     </function>
 *     </tool_call>
 *
 * Reasoning is there when the text begins with <think>; cut short, all is reasoning. A call is a whole block of the form above: white
 * space may stand between its tags, NAME is one of the offered tools, names have neither < nor > nor control characters, and a VALUE, kept
 * byte for byte, goes to the next </parameter>. Where a KEY comes twice, the last counts. A block that breaks the form, or does not end, is
 * text up to the byte where it breaks, and reading goes on from there. White space behind a call belongs to the markup where nothing
 * but calls follows it.
 */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_CHAT_ANSWER_H
#define SLIP_RANKS_MODEL_MIMO_V2_CHAT_ANSWER_H

#include "ranks/model/chat/answer.h"

void slip_mimo_v2_answer_feed(slip_chat_answer *answer, const char *text, size_t size);
void slip_mimo_v2_answer_finish(slip_chat_answer *answer);

#endif
