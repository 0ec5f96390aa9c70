/* Input: changes to the metadata of a good checkpoint, ten bytes each: which dataset, which field, a value.
 * Whatever is taken after them must have every dataset inside of the file. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/layout.h"
#include "ranks/model/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char config[] = "{\"model_type\":\"mimo_v2\",\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":2,"
                             "\"num_key_value_heads\":1,\"swa_num_key_value_heads\":2,\"head_dim\":8,\"v_head_dim\":4,"
                             "\"partial_rotary_factor\":0.5,\"rope_theta\":10000,\"sliding_window\":8,\"add_swa_attention_sink_bias\":"
                             "true,"
                             "\"attention_projection_layout\":\"fused_qkv\",\"intermediate_size\":48,\"moe_intermediate_size\":32,"
                             "\"n_routed_experts\":3,\"num_experts_per_tok\":2,\"moe_layer_freq\":[0,1],\"hybrid_layer_pattern\":[0,1]"
                             ","
                             "\"layernorm_epsilon\":1e-5,\"vocab_size\":20,\"max_position_embeddings\":64}";

static const char draft_config[] = "{\"num_hidden_layers\":1,\"hidden_size\":32,\"intermediate_size\":40,\"num_attention_heads\":2,"
                                   "\"num_key_value_heads\":1,\"head_dim\":8,\"rope_theta\":10000,\"rms_norm_eps\":1e-5,\"sliding_window\":"
                                   "16,"
                                   "\"block_size\":4,\"dflash_config\":{\"target_layer_ids\":[0,1],\"mask_token_id\":5,\"use_swa\":true}}";

static const char settings[] = "{\"qkv_chunks\":1,\"window\":9,\"eos_token_id\":[3,7],\"sampling\":{\"top_p\":0.5,\"top_k\":4}}";

enum { CHANGE = 10 };

static int by_name(const void *left, const void *right)
{
    return strcmp(((const slip_dataset *)left)->name, ((const slip_dataset *)right)->name);
}

/* A table that fits its configs, every weight of the widest type that it may have. */
static slip_checkpoint make(void)
{
    slip_checkpoint made = {
        .config = strdup(config), .draft_config = strdup(draft_config), .settings = strdup(settings), .file_size = 4096};
    slip_model model;
    slip_weight_spec *weights;
    size_t count;
    if (slip_config_parse(config, strlen(config), "config", &model) != SLIP_OK ||
        slip_config_parse_draft(draft_config, strlen(draft_config), "draft", &model) != SLIP_OK ||
        slip_weight_list(&model, &weights, &count) != SLIP_OK)
        __builtin_trap();
    made.datasets = calloc(2 * count, sizeof *made.datasets);
    for (size_t i = 0; i < count; i++) {
        slip_dtype dtype = SLIP_MXFP4;
        slip_dataset parts[2];
        while (!slip_layout_allows(&weights[i], dtype))
            dtype--;
        slip_layout_datasets(&weights[i], dtype, &parts[0], &parts[1]);
        for (int part = 0; part < 2 && parts[part].bytes > 0; part++) {
            parts[part].offset = made.file_size;
            made.file_size += parts[part].bytes;
            made.datasets[made.dataset_count++] = parts[part];
        }
    }
    free(weights);
    qsort(made.datasets, (size_t)made.dataset_count, sizeof *made.datasets, by_name);
    return made;
}

static void change(slip_checkpoint *checkpoint, const uint8_t *bytes)
{
    slip_dataset *dataset = &checkpoint->datasets[bytes[0] % checkpoint->dataset_count];
    int64_t value;
    memcpy(&value, bytes + 2, sizeof value);
    switch (bytes[1] % 11) {
    case 0:
    case 1:
    case 2: dataset->shape[bytes[1] % 11] = value; break;
    case 3: dataset->dims = (int32_t)value; break;
    case 4: dataset->dtype = (int32_t)value; break;
    case 5: dataset->offset = value; break;
    case 6: dataset->bytes = value; break;
    case 7: dataset->name[bytes[2] % SLIP_WEIGHT_NAME] = (char)bytes[3]; break;
    case 8: checkpoint->config[bytes[2] * 2 % (sizeof config - 1)] = (char)(bytes[3] | (bytes[3] == 0)); break;
    case 9: checkpoint->draft_config[bytes[2] * 2 % (sizeof draft_config - 1)] = (char)(bytes[3] | (bytes[3] == 0)); break;
    case 10: checkpoint->settings[bytes[2] % (sizeof settings - 1)] = (char)(bytes[3] | (bytes[3] == 0)); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    slip_checkpoint checkpoint = make();
    slip_model model;
    slip_clear();
    for (; size >= CHANGE; data += CHANGE, size -= CHANGE)
        change(&checkpoint, data);
    if (slip_checkpoint_model(&checkpoint, "fuzz", &model) == SLIP_OK)
        for (int32_t i = 0; i < checkpoint.dataset_count; i++) {
            const slip_dataset *dataset = &checkpoint.datasets[i];
            if (dataset->offset < 0 || dataset->bytes <= 0 || dataset->dims < 1 || dataset->dims > SLIP_DATASET_DIMS ||
                dataset->bytes > checkpoint.file_size - dataset->offset)
                __builtin_trap();
        }
    slip_checkpoint_free(&checkpoint);
    return 0;
}
