/* config.json of a MiMo-V2 model or a DFlash drafter, in Xiaomi's and in transformers' dialect -> slip_model. */
#ifndef SLIP_IO_CONFIG_H
#define SLIP_IO_CONFIG_H

#include <stddef.h>

#include "io/status.h"
#include "ranks/model.h"

/* Parse the target's config. `source` names it in errors. Every value is range-checked against the limits of
 * ranks/model.h and for consistency (divisibility, list lengths). model->has_draft is false afterwards. */
slip_status slip_config_parse(const char *json, size_t size, const char *source, slip_model *model);

/* Parse the drafter's config and add it to a parsed target (has_draft = true). Trailing commas are forgiven, since
 * the published V2.6 file has one. model->draft.mask_embedding is left false: the checkpoint decides. */
slip_status slip_config_parse_draft(const char *json, size_t size, const char *source, slip_model *model);

#endif
