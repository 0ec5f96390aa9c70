/* FP8 experts rounded to MXFP4: codes, scales and the error that is told of each layer, held against NumPy's
 * (tests/golden/rounding/make.py, whose formulas for the source's codes and scales are these). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>

#include "io/checkpoint/checkpoint.h"
#include "jobs/convert/convert.h"
#include "ranks/model/chat/sha256.h"
#include "tests/unit/support/folder.h"
#include "tests/unit/support/tiny_safetensors.h"

enum { LAYERS = 2, EXPERTS = 2, HIDDEN = 160, WIDTH = 192, BLOCK = 128, GROUP = 32 };

static const char config[] =
    "{\"model_type\":\"mimo_v2\",\"hidden_size\":160,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
    "\"head_dim\":8,\"v_head_dim\":4,\"partial_rotary_factor\":0.5,\"rope_theta\":10000,\"intermediate_size\":48,"
    "\"moe_intermediate_size\":192,\"n_routed_experts\":2,\"num_experts_per_tok\":1,\"moe_layer_freq\":[1,1],\"layernorm_epsilon\":1e-5,"
    "\"vocab_size\":4,\"max_position_embeddings\":64,\"eos_token_id\":3}";

static void put_expert(tiny_safetensors *f, int layer, int expert, int part)
{
    static const char *const names[] = {"down", "gate", "up"};
    char name[96];
    uint64_t seed = (uint64_t)((layer * EXPERTS + expert) * 3 + part);
    int rows = part == 0 ? HIDDEN : WIDTH, columns = part == 0 ? WIDTH : HIDDEN, size;
    size = snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s_proj.weight", layer, expert, names[part]);
    unsigned char *codes = tiny_safetensors_put(f, name, "F8_E4M3", rows, columns, 1);
    for (int i = 0; i < rows * columns; i++) {
        unsigned char drawn = (unsigned char)(((uint64_t)i + seed * 1000003) * 2654435761 >> 13);
        int group = i / GROUP, code = (drawn & 0x7f) >> (group % 17 == 16 ? 7 : group % 4);
        codes[i] = (unsigned char)((code - (code == 0x7f)) | (drawn & 0x80));
    }
    int down = (rows + BLOCK - 1) / BLOCK, across = (columns + BLOCK - 1) / BLOCK;
    snprintf(name + size, sizeof name - (size_t)size, "_scale_inv");
    unsigned char *scales = tiny_safetensors_put(f, name, "F32", down, across, 4);
    for (int i = 0; i < down * across; i++) {
        float scale = (float)(8 + ((uint64_t)i * 5 + seed) % 13) / 8192.0f;
        memcpy(scales + 4 * i, &scale, sizeof scale);
    }
}

static void put_layer(tiny_safetensors *f, int layer)
{
    static const struct {
        const char *name, *dtype;
        int rows, columns, item;
    } tensors[] = {{"input_layernorm.weight", "BF16", 0, HIDDEN, 2},   {"post_attention_layernorm.weight", "BF16", 0, HIDDEN, 2},
                   {"self_attn.q_proj.weight", "BF16", 16, HIDDEN, 2}, {"self_attn.k_proj.weight", "BF16", 8, HIDDEN, 2},
                   {"self_attn.v_proj.weight", "BF16", 4, HIDDEN, 2},  {"self_attn.o_proj.weight", "BF16", HIDDEN, 8, 2},
                   {"mlp.gate.weight", "F32", EXPERTS, HIDDEN, 4},     {"mlp.gate.e_score_correction_bias", "F32", 0, EXPERTS, 4}};
    char name[96];
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, tensors[i].name);
        tiny_safetensors_put(f, name, tensors[i].dtype, tensors[i].rows, tensors[i].columns, tensors[i].item);
    }
    for (int expert = 0; expert < EXPERTS; expert++)
        for (int part = 0; part < 3; part++)
            put_expert(f, layer, expert, part);
}

static void write_folder(folder *at)
{
    tiny_safetensors f = tiny_safetensors_begin();
    folder_write(at, "config.json", config, strlen(config));
    tiny_safetensors_put(&f, "model.embed_tokens.weight", "BF16", 4, HIDDEN, 2);
    tiny_safetensors_put(&f, "lm_head.weight", "BF16", 4, HIDDEN, 2);
    tiny_safetensors_put(&f, "model.norm.weight", "BF16", 0, HIDDEN, 2);
    for (int layer = 0; layer < LAYERS; layer++)
        put_layer(&f, layer);
    tiny_safetensors_end(&f, at, "model.safetensors");
}

/* ---- against the file of golden values ---- */

static void check_bytes(const slip_checkpoint *checkpoint, const char *bytes, const char *name, const char *wanted)
{
    char hex[SLIP_SHA256_HEX];
    const slip_dataset *dataset = slip_checkpoint_find(checkpoint, name);
    assert_non_null(dataset);
    assert_int_equal(dataset->dtype, SLIP_MXFP4);
    slip_sha256(bytes + dataset->offset, (size_t)dataset->bytes, hex);
    if (strcmp(hex, wanted) != 0)
        fail_msg("/%s: its SHA-256 is %s, not %s", name, hex, wanted);
}

static double member(const json_t *object, const char *name)
{
    assert_true(json_is_number(json_object_get(object, name)));
    return json_number_value(json_object_get(object, name));
}

static void check_line(const slip_checkpoint *checkpoint, const char *bytes, const json_t *told, const char *line)
{
    char name[64], scales[80], codes_hash[65], scales_hash[65];
    double rms, largest;
    assert_int_equal(sscanf(line, "%63s %lf %lf %64s %64s", name, &rms, &largest, codes_hash, scales_hash), 5);
    snprintf(scales, sizeof scales, "%s_scale", name);
    check_bytes(checkpoint, bytes, name, codes_hash);
    check_bytes(checkpoint, bytes, scales, scales_hash);
    assert_string_equal(json_string_value(json_object_get(told, "name")), name);
    if (fabs(member(told, "relative_rms") - rms) > 1e-6 || fabs(member(told, "largest") - largest) > 1e-8)
        fail_msg("%s: told are %.9f and %.9f, not %.9f and %.9f", name, member(told, "relative_rms"), member(told, "largest"), rms,
                 largest);
}

static void test_rounding(void **state)
{
    (void)state;
    folder *at = folder_make();
    char out[256], line[512];
    slip_checkpoint checkpoint;
    size_t size, lines = 0;
    write_folder(at);
    snprintf(out, sizeof out, "%s", folder_join(at, "m.h5"));
    slip_convert_options options = {
        .source_folder = at->path, .out_path = out, .experts = SLIP_CONVERT_MXFP4, .quiet = true, .json = json_object()};
    if (slip_convert_run(&options) != SLIP_OK || slip_checkpoint_open(out, &checkpoint) != SLIP_OK)
        fail_msg("%s", slip_cause());
    char *bytes = folder_read(out, &size);
    const json_t *told = json_object_get(options.json, "rounded_to_mxfp4");
    FILE *golden = fopen("tests/golden/rounding/mxfp4.txt", "r");
    assert_non_null(golden);
    while (fgets(line, sizeof line, golden) != NULL)
        check_line(&checkpoint, bytes, json_array_get(told, lines++), line);
    assert_true(lines == LAYERS * 3 && json_array_size(told) == lines);
    fclose(golden);
    json_decref(options.json);
    slip_checkpoint_free(&checkpoint);
    free(bytes);
    folder_remove(at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
