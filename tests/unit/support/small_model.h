/* A complete checkpoint of a very small model with a drafter, for tests of what reads one. Include after
 * cmocka.h. */
#ifndef TESTS_UNIT_SMALL_MODEL_H
#define TESTS_UNIT_SMALL_MODEL_H

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/layout.h"
#include "ranks/model/family.h"

/* Two layers: global and dense, sliding and MoE. Columns of the experts divide by 32. */
static const char small_config[] =
    "{\"model_type\":\"mimo_v2\",\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"swa_num_key_value_heads\":2,\"head_dim\":8,\"v_head_dim\":4,"
    "\"partial_rotary_factor\":0.5,\"rope_theta\":10000,\"sliding_window\":8,\"add_swa_attention_sink_bias\":"
    "true,"
    "\"intermediate_size\":48,\"moe_intermediate_size\":32,\"n_routed_experts\":3,\"num_experts_per_tok\":2,"
    "\"moe_layer_freq\":[0,1],\"hybrid_layer_pattern\":[0,1],\"layernorm_epsilon\":1e-5,\"vocab_size\":20,"
    "\"max_position_embeddings\":64,\"eos_token_id\":3}";

static const char small_draft_config[] =
    "{\"num_hidden_layers\":1,\"hidden_size\":32,\"intermediate_size\":40,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"head_dim\":8,\"rope_theta\":10000,\"rms_norm_eps\":1e-5,\"sliding_window\":"
    "16,"
    "\"block_size\":4,\"attention_sink_bias\":true,"
    "\"dflash_config\":{\"target_layer_ids\":[0,1],\"mask_token_id\":5,\"use_swa\":true}}";

static const char small_settings[] = "{\"eos_token_id\":[3,7],\"window\":9,\"sampling\":{\"top_p\":0.5,\"top_k\":4}}";

static const char small_tokenizer[] = "{\"version\":\"1.0\"}";

static inline void small_parse(slip_model *model)
{
    assert_int_equal(slip_config_parse(small_config, strlen(small_config), "config", model), SLIP_OK);
    assert_int_equal(slip_config_parse_draft(small_draft_config, strlen(small_draft_config), "draft", model), SLIP_OK);
}

/* Matrices as f8e4m3, experts as mxfp4, tables and vectors as bf16, scalars as f32: every type is there. */
static inline slip_dtype small_dtype(const slip_weight_spec *weight)
{
    for (int dtype = SLIP_MXFP4; dtype > SLIP_F32; dtype--)
        if (slip_layout_allows(weight, (slip_dtype)dtype))
            return (slip_dtype)dtype;
    return SLIP_F32;
}

/* The bytes of a dataset: a pattern of its own. */
static inline void small_fill(const slip_dataset *dataset, unsigned char *bytes)
{
    for (int64_t i = 0; i < dataset->bytes; i++)
        bytes[i] = (unsigned char)((size_t)i * 7 + strlen(dataset->name) * 31 + (unsigned char)dataset->name[7]);
}

static inline slip_status small_add(slip_checkpoint_writer *writer, const slip_dataset *dataset)
{
    unsigned char *bytes = malloc((size_t)dataset->bytes);
    assert_non_null(bytes);
    small_fill(dataset, bytes);
    slip_status status = slip_checkpoint_add(writer, dataset, bytes);
    free(bytes);
    return status;
}

static inline slip_status small_write(const char *path)
{
    slip_model model;
    slip_weight_spec *weights;
    size_t count;
    slip_checkpoint_writer *writer;
    small_parse(&model);
    const slip_checkpoint_texts texts = {small_config, small_draft_config, small_settings, small_tokenizer, strlen(small_tokenizer), false};
    slip_status status = slip_checkpoint_create(path, &texts, &writer);
    if (status != SLIP_OK)
        return status;
    assert_int_equal(slip_weight_list(&model, &weights, &count), SLIP_OK);
    for (size_t i = 0; i < count && status == SLIP_OK; i++) {
        slip_dataset codes, scales;
        slip_layout_datasets(&weights[i], small_dtype(&weights[i]), &codes, &scales);
        status = small_add(writer, &codes);
        if (status == SLIP_OK && scales.bytes > 0)
            status = small_add(writer, &scales);
    }
    free(weights);
    if (status == SLIP_OK)
        status = slip_checkpoint_commit(writer);
    slip_checkpoint_writer_free(writer);
    return status;
}

#endif
