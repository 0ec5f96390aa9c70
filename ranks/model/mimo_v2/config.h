/* config.json of a MiMo-V2 model or a DFlash drafter, in Xiaomi's and in transformers' dialect -> slip_model.
 *
 * The dialect is transformers' where `layer_types` is given (its save_pretrained always writes it), else Xiaomi's.
 *
 *                  Xiaomi (mimo_v2, mimo_v2_flash)            transformers (mimo_v2_flash)
 *   layer kinds    hybrid_layer_pattern, 1 = sliding;         layer_types
 *                  absent = all global
 *   experts        moe_layer_freq, 1 = MoE                    mlp_layer_types, "sparse" = MoE
 *   window: keys   sliding_window or sliding_window_size,     sliding_window_size + 1 where given, else
 *   a query sees   which agree: 128 = itself and 127 before   sliding_window: key > query - sliding_window
 *   sliding heads  swa_*, each falling back to the global     as global layers, with twice the KV heads
 *   RoPE base      rope_theta, swa_rope_theta                 rope_parameters.{full,sliding}_attention
 *   sinks          add_swa_attention_sink_bias,               sliding layers
 *                  add_full_attention_sink_bias
 *   fused qkv      attention_projection_layout "fused_qkv":   never
 *                  num_key_value_heads chunks in every layer
 *
 * int(head_dim * partial_rotary_factor) dimensions are rotated, truncated as Python does; an odd result is
 * refused, for the two dialects' code would rotate it differently. attention_chunk_size is never read: the published files
 * carry it and no layer uses it. What would change the result and is not implemented is refused by name:
 * attention_bias, group-limited routing, other scoring, shared experts, RoPE scaling, another hidden_act, tied
 * embeddings, another quantisation.
 */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_CONFIG_H
#define SLIP_RANKS_MODEL_MIMO_V2_CONFIG_H

#include <stddef.h>

#include "io/base/status.h"
#include "ranks/model/model.h"

/* Parse the target's config. `source` names it in errors. Every value is range-checked against the limits of
 * ranks/model/model.h and for consistency (divisibility, list lengths). model->has_draft is false afterwards. */
slip_status slip_config_parse(const char *json, size_t size, const char *source, slip_model *model);

/* Parse the drafter's config and add it to a parsed target (has_draft = true). Trailing commas are forgiven,
 * since the published V2.6 file has one. model->draft.mask_embedding is left false: the checkpoint decides.
 *
 * What a plain Qwen3 config lacks (block_size, target_layer_ids, mask_token_id, backbone_rotary_base, use_swa,
 * swa_window_size, attention_value_scale, attention_sink_bias) is taken from dflash_config, else from the top
 * level. One RoPE base serves queries, block keys and context keys: backbone_rotary_base, else rope_theta. The window
 * counts the query itself: a key at p is seen from q where q - p < window. */
slip_status slip_config_parse_draft(const char *json, size_t size, const char *source, slip_model *model);

#endif
