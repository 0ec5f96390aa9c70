/* What a folder says of generating beside config.json: where an answer ends, and how to sample when nobody says.
 */
#ifndef SLIP_JOBS_CONVERT_GENERATION_H
#define SLIP_JOBS_CONVERT_GENERATION_H

#include "io/text/tokenizer.h"
#include "ranks/model/model.h"

/* generation_config.json of `folder`, where it is: its end tokens join the model's, its sampling becomes the model's default. Without
 * any end token, the eos_token of tokenizer_config.json is the one, or <|im_end|>. `tokenizer` may be NULL; where it is not,
 * tokenizer_config.json may not contradict it. What it asks for and we do not do is refused by name; `speaks`: this rank warns of what
 * contradicts itself. */
slip_status slip_convert_generation(const char *folder, bool speaks, const slip_tokenizer *tokenizer, slip_model *model);

#endif
