#include "ranks/model/mimo_v2/mimo_v2.h"

#include "ranks/model/dflash/dflash.h"
#include "ranks/model/dflash/weights.h"
#include "ranks/model/mimo_v2/chat.h"
#include "ranks/model/mimo_v2/chat_answer.h"
#include "ranks/model/mimo_v2/weights.h"

static const char *const model_types[] = {"mimo_v2", "mimo_v2_flash", NULL};

const slip_family slip_mimo_v2 = {
    .model_types = model_types,
    .parse = slip_mimo_v2_parse,
    .parse_draft = slip_dflash_parse,
    .weights = &slip_mimo_v2_weights,
    .draft_weights = &slip_dflash_weights,
    .embed = MIMO_EMBED,
    .head = MIMO_HEAD,
    .program_target = slip_mimo_v2_program,
    .program_draft = slip_dflash_program,
    .answer_feed = slip_mimo_v2_answer_feed,
    .answer_finish = slip_mimo_v2_answer_finish,
    .chat_templates = slip_mimo_v2_templates,
    .chat_texts = slip_mimo_v2_chat_texts,
    .shapes = slip_mimo_v2_shapes,
};
