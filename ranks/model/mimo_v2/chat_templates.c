/* Which templates there are, and the texts that they are known by. docs/chat.md says how a text is added: one row. */
#include "ranks/model/mimo_v2/chat.h"

const slip_chat_template slip_mimo_v2_templates[] = {
    {"mimo-v2.5", true, slip_mimo_v2_chat},
    {"mimo-v2-flash", false, slip_mimo_v2_chat},
    {"mimo-v2.6", true, slip_mimo_v2_6_chat},
    {NULL, false, NULL},
};

/* The published texts of V2.6, which Flash and Pro share, and of V2.5; the project's own transcriptions, in tests/golden/chat. */
const slip_chat_text slip_mimo_v2_chat_texts[] = {
    {"11ea52e156de38a458e6b7720ad45915d65b97d4ec979a09f55e3c9bd1b4d059", "mimo-v2.6"},
    {"3134ac101acd29d3ab41297707cc1a85699f5f0acb283fdeb0681e3750998403", "mimo-v2.5"},
    {"a68ab0ee915e6a7f8eb8032c2873b65389c2d8ce0ddeaf6d3b43ff3eade66669", "mimo-v2.5"},
    {"a1152973027a41ae77a4816e853cdb97bf87674cbded200dd149299b90b81d1c", "mimo-v2-flash"},
    {NULL, NULL},
};
