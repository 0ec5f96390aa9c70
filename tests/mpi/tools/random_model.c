/* A model of random weights as large as is wanted, to measure loading with:
 *
 *     random_model MODEL.h5 GB
 *
 * It has what one rank of eight holds of MiMo-V2.5-Pro: 48 experts in MXFP4, 16 heads, an eighth of the vocabulary, in as many layers as come
 * nearest to GB (70 are the whole shard, 70 GB). The values are harmless: it runs, and writes nonsense.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/layout.h"
#include "ranks/model/config/settings.h"
#include "ranks/model/family.h"

enum { MOST_LAYERS = 70, PATTERN = 16 << 20 };

static const char config[] =
    "{\"architectures\":[\"MiMoV2ForCausalLM\"],\"model_type\":\"mimo_v2\",\"hidden_size\":6144,\"num_hidden_layers\":%d,"
    "\"num_attention_heads\":16,\"num_key_value_heads\":1,\"swa_num_attention_heads\":16,\"swa_num_key_value_heads\":1,\"head_dim\":192,"
    "\"v_head_dim\":128,\"swa_head_dim\":192,\"swa_v_head_dim\":128,\"partial_rotary_factor\":0.334,\"rope_theta\":10000000,"
    "\"swa_rope_theta\":10000,\"sliding_window\":128,\"attention_bias\":false,\"add_swa_attention_sink_bias\":true,"
    "\"add_full_attention_sink_bias\":false,\"attention_value_scale\":0.612,\"attention_projection_layout\":\"fused_qkv\","
    "\"intermediate_size\":2048,\"moe_intermediate_size\":2048,\"n_routed_experts\":48,\"num_experts_per_tok\":8,\"n_group\":1,"
    "\"topk_group\":1,\"topk_method\":\"noaux_tc\",\"scoring_func\":\"sigmoid\",\"norm_topk_prob\":true,\"moe_layer_freq\":[0%s],"
    "\"hybrid_layer_pattern\":[0%s],\"layernorm_epsilon\":1e-5,\"hidden_act\":\"silu\",\"vocab_size\":19072,\"tie_word_embeddings\":false,"
    "\"max_position_embeddings\":65536,\"eos_token_id\":1}";

static slip_status make_model(int layers, char **text, slip_model *model)
{
    char rest[2 * MOST_LAYERS + 1] = "";
    for (int i = 1; i < layers; i++)
        strcat(rest, ",1");
    if (asprintf(text, config, layers, rest, rest) < 0)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_status status = slip_config_parse(*text, strlen(*text), "random_model", model);
    model->qkv_chunks = 1;
    return status;
}

/* No two blocks of a file are the same, and no value is larger than 1/4. */
static void fill(const slip_dataset *dataset, bool scale, unsigned char *to, size_t bytes)
{
    static uint64_t state = 1;
    float small = 1.0f / 4096;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t word = state ^ state >> 29;
        if (dataset->dtype == SLIP_BF16)
            word = (word & UINT64_C(0x807f807f807f807f)) | UINT64_C(0x3c003c003c003c00);
        if (dataset->dtype == SLIP_F8E4M3)
            word &= UINT64_C(0xb7b7b7b7b7b7b7b7); /* never 0x7f or 0xff, which are NaN */
        memcpy(to + i, &word, 8);
    }
    if (dataset->dtype == SLIP_F32)
        for (size_t i = 0; i + 4 <= bytes; i += 4)
            memcpy(to + i, &small, 4);
    if (dataset->dtype == SLIP_MXFP4 && scale)
        memset(to, 119, bytes); /* 2^-8 */
}

static slip_status write_dataset(slip_checkpoint_writer *writer, const slip_dataset *dataset, bool scale, unsigned char *pattern)
{
    slip_status status = slip_checkpoint_begin(writer, dataset);
    for (int64_t done = 0; done < dataset->bytes && status == SLIP_OK; done += PATTERN) {
        int64_t left = dataset->bytes - done, bytes = left < PATTERN ? left : PATTERN;
        fill(dataset, scale, pattern, (size_t)bytes + 7);
        status = slip_checkpoint_append(writer, pattern, bytes);
    }
    return status;
}

static slip_status write_weights(slip_checkpoint_writer *writer, const slip_model *model, unsigned char *pattern)
{
    slip_weight_spec *weights = NULL;
    size_t count = 0;
    slip_status status = slip_weight_list(model, &weights, &count);
    for (size_t i = 0; i < count && status == SLIP_OK; i++) {
        slip_dataset codes, scales;
        slip_layout_datasets(&weights[i], weights[i].row->dtype, &codes, &scales);
        status = write_dataset(writer, &codes, false, pattern);
        if (status == SLIP_OK && scales.bytes > 0)
            status = write_dataset(writer, &scales, true, pattern);
    }
    free(weights);
    return status;
}

static slip_status make(const char *path, int layers)
{
    slip_model model = {0};
    slip_checkpoint_writer *writer = NULL;
    char *text = NULL, *settings = NULL;
    unsigned char *pattern = malloc(PATTERN + 8);
    slip_status status = make_model(layers, &text, &model);
    if (status == SLIP_OK && (pattern == NULL || (settings = slip_settings_text(&model)) == NULL))
        status = slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK)
        status = slip_checkpoint_create(path, &(slip_checkpoint_texts){.config = text, .settings = settings}, &writer);
    if (status == SLIP_OK)
        status = write_weights(writer, &model, pattern);
    if (status == SLIP_OK)
        status = slip_checkpoint_commit(writer);
    slip_checkpoint_writer_free(writer);
    free(pattern);
    free(settings);
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    double gb = argc == 3 ? atof(argv[2]) : 0,
           layers = 1 + (gb - 0.6) / 1.01; /* embedding, head and the dense layer, and then the others */
    if (gb <= 0) {
        fprintf(stderr, "usage: random_model MODEL.h5 GB\n");
        return 2;
    }
    slip_status status = make(argv[1], layers < 2 ? 2 : layers > MOST_LAYERS ? MOST_LAYERS : (int)(layers + 0.5));
    if (status != SLIP_OK)
        fprintf(stderr, "random_model: %s\n", slip_cause());
    return slip_exit_status(status);
}
