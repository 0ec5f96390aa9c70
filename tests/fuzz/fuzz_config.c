/* Input: a config.json, of a target and of a drafter. What is taken must be usable: the layout of its weights
 * is built. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/layout.h"
#include "ranks/model/family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char target[] = "{\"model_type\":\"mimo_v2\",\"hidden_size\":6144,\"num_hidden_layers\":70,\"num_attention_heads\":128,"
                             "\"num_key_value_heads\":8,\"head_dim\":192,\"rope_theta\":1,\"intermediate_size\":48,\"rms_norm_eps\":"
                             "1e-5,"
                             "\"vocab_size\":152576,\"max_position_embeddings\":64}";

static void check(const slip_model *model)
{
    slip_weight_spec *weights;
    size_t count;
    if (slip_weight_list(model, &weights, &count) != SLIP_OK)
        return;
    for (size_t i = 0; i < count; i++)
        for (int dtype = 0; dtype < SLIP_DTYPES; dtype++) {
            slip_dataset codes, scales;
            if (!slip_layout_allows(&weights[i], (slip_dtype)dtype))
                continue;
            slip_layout_datasets(&weights[i], (slip_dtype)dtype, &codes, &scales);
            if (codes.bytes <= 0 || scales.bytes < 0)
                __builtin_trap();
        }
    free(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    slip_model model;
    slip_clear();
    if (slip_config_parse((const char *)data, size, "fuzz", &model) == SLIP_OK)
        check(&model);
    slip_clear();
    if (slip_config_parse(target, strlen(target), "target", &model) != SLIP_OK)
        __builtin_trap();
    if (slip_config_parse_draft((const char *)data, size, "fuzz", &model) == SLIP_OK)
        check(&model);
    return 0;
}
