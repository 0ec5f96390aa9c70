/* DFlash drafters: block diffusion models that are given the target's hidden states as K/V. Families that have them name these
 * functions in their tables.
 */
#ifndef SLIP_RANKS_MODEL_DFLASH_DFLASH_H
#define SLIP_RANKS_MODEL_DFLASH_DFLASH_H

#include "io/base/status.h"
#include "ranks/model/placement.h"
#include "ranks/model/program.h"

/* Parse the drafter's config.json and add it to a parsed target. Trailing commas are forgiven, since the published V2.6 file has one.
 *
 * What a plain Qwen3 config lacks (block_size, target_layer_ids, mask_token_id, backbone_rotary_base, use_swa,
 * swa_window_size, attention_value_scale, attention_sink_bias) is taken from dflash_config, else from the top
 * level. One RoPE base serves queries, block keys and context keys: backbone_rotary_base, else rope_theta. The window
 * counts the query itself: a key at p is seen from q where q - p < window. */
slip_status slip_dflash_parse(const char *json, size_t size, const char *source, slip_model *model);

slip_status slip_dflash_program(const slip_model *model, const slip_placement *placement, slip_program *program);

#endif
