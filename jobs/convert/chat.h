/* The chat template of a folder: chat_template.jinja, chat_template.json or the member of tokenizer_config.json, in this order, as
 * transformers looks for it. Only its hash goes into the checkpoint. */
#ifndef SLIP_JOBS_CONVERT_CHAT_H
#define SLIP_JOBS_CONVERT_CHAT_H

#include "io/base/status.h"
#include "ranks/model/model.h"

/* Set model->chat_template, which stays "" where the folder has none. A text that is not known is warned of on standard error. */
slip_status slip_convert_chat(const char *folder, slip_model *model);

/* Tell standard error which template it is. */
void slip_convert_say_chat(const slip_model *model);

#endif
