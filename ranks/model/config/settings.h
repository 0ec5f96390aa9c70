/* What decides a model's text and stands elsewhere than in its config.json: convert gathers it from the rest of a folder and from its
 * own options, and a checkpoint keeps it beside the config, as JSON.
 *
 *   {"qkv_chunks": 8,                            where qkv is stored fused: chunks [Q | K | V] of its rows
 *    "window": 128,                              where layers slide: keys that a query sees, itself included
 *    "eos_token_id": [151643, 151645],
 *    "sampling": {"temperature": 1.0, ...},      for requests that do not say; names of SLIP_SAMPLING_FIELDS
 *    "chat_template": "d5e7..."}                 SHA-256 of the chat template's text, where the folder has one
 */
#ifndef SLIP_RANKS_MODEL_CONFIG_SETTINGS_H
#define SLIP_RANKS_MODEL_CONFIG_SETTINGS_H

#include "ranks/model/config/field.h"
#include "ranks/model/model.h"

/* Read the settings into a parsed model. SLIP_ERR_INPUT names `source`, the member and what is wrong. */
slip_status slip_settings_apply(const char *json, size_t size, const char *source, slip_model *model);

/* A model's settings as text; NULL: no memory. The caller frees it. */
char *slip_settings_text(const slip_model *model);

/* The members temperature, top_k, top_p and min_p of an object, those that are given. */
void slip_settings_read_sampling(const slip_fields *fields, slip_sampling_defaults *sampling);

/* A token, or a list of them, behind those that the model has already; null and what is known are passed over. */
void slip_settings_add_eos(const slip_fields *fields, const char *name, slip_model *model);

/* Whether every layer's heads divide into so many chunks. */
bool slip_settings_chunks_fit(const slip_model *model, int64_t chunks);

#endif
