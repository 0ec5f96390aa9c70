/* Which templates there are, and the texts that they are known by. docs/chat.md says how a text is added: one row. */
#include "ranks/model/mimo_v2/chat.h"

const slip_chat_template slip_mimo_v2_templates[] = {
    {"mimo-v2.5", true},
    {"mimo-v2-flash", false},
    {NULL, false},
};

/* The project's own transcriptions, in tests/golden/chat. No published text was at hand, hence none stands here. */
const slip_chat_text slip_mimo_v2_chat_texts[] = {
    {"a68ab0ee915e6a7f8eb8032c2873b65389c2d8ce0ddeaf6d3b43ff3eade66669", "mimo-v2.5"},
    {"a1152973027a41ae77a4816e853cdb97bf87674cbded200dd149299b90b81d1c", "mimo-v2-flash"},
    {NULL, NULL},
};
