/* A Hugging Face folder in the making, and its conversion. Include after cmocka.h. */
#ifndef TESTS_UNIT_CONVERT_SOURCE_H
#define TESTS_UNIT_CONVERT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "io/checkpoint/checkpoint.h"
#include "ranks/model/mxfp4.h"
#include "jobs/convert/convert.h"
#include "tests/unit/support/folder.h"
#include "tests/unit/support/small_model.h"

/* ---- a safetensors file in the making ---- */

typedef struct {
    char header[32768];
    size_t header_size;
    unsigned char data[1 << 17];
    size_t data_size;
    const char *left_out; /* the name of a tensor that shall be missing */
} file;

static inline unsigned char pattern(const char *name, size_t i)
{
    size_t hash = 5381;
    for (; *name != '\0'; name++)
        hash = hash * 33 + (unsigned char)*name;
    return (unsigned char)(hash + i * 7 + i / 256);
}

static inline size_t item_bytes(const char *dtype)
{
    return strcmp(dtype, "F32") == 0 ? 4 : dtype[0] == 'B' || strcmp(dtype, "F16") == 0 ? 2 : 1;
}

static inline bool is_f8_scale(const char *name)
{
    size_t length = strlen(name);
    return length > 10 && strcmp(name + length - 10, "_scale_inv") == 0;
}

/* Floats get small values, scales such that are above 0, other types the bytes of the pattern. `rows` 0: a vector. */
static inline void put(file *f, const char *name, const char *dtype, int rows, int columns)
{
    size_t count = (size_t)(rows > 0 ? rows : 1) * (size_t)columns, bytes = count * item_bytes(dtype);
    char shape[32];
    if (f->left_out != NULL && strcmp(f->left_out, name) == 0)
        return;
    snprintf(shape, sizeof shape, rows > 0 ? "%d,%d" : "%.0d%d", rows, columns);
    assert_true(f->data_size + bytes <= sizeof f->data && f->header_size + 256 <= sizeof f->header);
    f->header_size += (size_t)sprintf(f->header + f->header_size, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                      f->header_size == 0 ? '{' : ',', name, dtype, shape, f->data_size, f->data_size + bytes);
    for (size_t i = 0; i < count; i++) {
        unsigned char *at = f->data + f->data_size + i * item_bytes(dtype);
        float value = (float)(pattern(name, i) - (is_f8_scale(name) ? -1 : 128)) / 64.0f;
        uint16_t half = 0x3c00 | pattern(name, i); /* 1 + p / 1024 as F16, a small number as BF16 */
        if (strcmp(dtype, "F32") == 0)
            memcpy(at, &value, sizeof value);
        else if (item_bytes(dtype) == 2)
            memcpy(at, &half, sizeof half);
        else
            *at = (unsigned char)(pattern(name, i) & 0x7e); /* no NaN of E8M0 or E4M3 */
    }
    f->data_size += bytes;
}

static inline void save(file *f, folder *to, const char *name)
{
    size_t size = f->header_size + 1, total = 8 + size + f->data_size;
    unsigned char *bytes = calloc(total, 1);
    f->header[f->header_size] = '}';
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(size >> (8 * i));
    memcpy(bytes + 8, f->header, size);
    memcpy(bytes + 8 + size, f->data, f->data_size);
    folder_write(to, name, bytes, total);
    free(bytes);
}

/* ---- the small model's tensors, as Xiaomi names them ---- */

static inline void put_layer(file *f, int layer, int kv, const char *dtype)
{
    char name[128];
#define PUT(tail, type, rows, columns) \
    do { \
        snprintf(name, sizeof name, "model.layers.%d." tail, layer); \
        put(f, name, type, rows, columns); \
    } while (0)
    PUT("input_layernorm.weight", dtype, 0, 32);
    PUT("post_attention_layernorm.weight", dtype, 0, 32);
    PUT("self_attn.q_proj.weight", dtype, 16, 32);
    PUT("self_attn.k_proj.weight", dtype, kv * 8, 32);
    PUT("self_attn.v_proj.weight", dtype, kv * 4, 32);
    PUT("self_attn.o_proj.weight", dtype, 32, 8);
}

/* The experts of layer 1: as `dtype`, which may be "MXFP4" (U8 with U8 scales) or "F8_E4M3" (with F32
 * scales). */
static inline void put_experts(file *f, const char *dtype)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    bool mx = strcmp(dtype, "MXFP4") == 0, f8 = strcmp(dtype, "F8_E4M3") == 0;
    for (int expert = 0; expert < 3; expert++)
        for (int part = 0; part < 3; part++) {
            char name[128];
            int size = snprintf(name, sizeof name, "model.layers.1.mlp.experts.%d.%s.weight", expert, parts[part]);
            put(f, name, mx ? "U8" : dtype, 32, mx ? 16 : 32);
            snprintf(name + size, sizeof name - (size_t)size, mx ? "_scale" : "_scale_inv");
            if (mx)
                put(f, name, "U8", 32, 1);
            if (f8)
                put(f, name, "F32", 1, 1);
        }
}

static inline void put_target(file *f, const char *dtype, const char *experts)
{
    put(f, "model.embed_tokens.weight", dtype, 20, 32);
    put(f, "lm_head.weight", dtype, 20, 32);
    put(f, "model.norm.weight", dtype, 0, 32);
    put_layer(f, 0, 1, dtype);
    put_layer(f, 1, 2, dtype);
    put(f, "model.layers.1.self_attn.attention_sink_bias", dtype, 0, 2);
    put(f, "model.layers.0.mlp.gate_proj.weight", dtype, 48, 32);
    put(f, "model.layers.0.mlp.up_proj.weight", dtype, 48, 32);
    put(f, "model.layers.0.mlp.down_proj.weight", dtype, 32, 48);
    put(f, "model.layers.1.mlp.gate.weight", dtype, 3, 32);
    put(f, "model.layers.1.mlp.gate.e_score_correction_bias", "F32", 0, 3);
    put_experts(f, experts);
    put(f, "model.mtp.layers.0.enorm.weight", dtype, 0, 32);
    put(f, "visual.patch.weight", dtype, 4, 4);
    put(f, "speech_embeddings.0.weight", dtype, 4, 4);
    put(f, "audio_encoder.projection.weight", dtype, 4, 4);
}

static inline void put_draft(file *f, const char *prefix)
{
    static const struct {
        const char *name;
        int rows, columns;
    } tensors[] = {{"fc.weight", 32, 64},
                   {"hidden_norm.weight", 0, 32},
                   {"norm.weight", 0, 32},
                   {"layers.0.input_layernorm.weight", 0, 32},
                   {"layers.0.post_attention_layernorm.weight", 0, 32},
                   {"layers.0.self_attn.q_proj.weight", 16, 32},
                   {"layers.0.self_attn.k_proj.weight", 8, 32},
                   {"layers.0.self_attn.v_proj.weight", 8, 32},
                   {"layers.0.self_attn.o_proj.weight", 32, 16},
                   {"layers.0.self_attn.q_norm.weight", 0, 8},
                   {"layers.0.self_attn.k_norm.weight", 0, 8},
                   {"layers.0.self_attn.attention_sink_bias", 0, 2},
                   {"layers.0.mlp.gate_proj.weight", 40, 32},
                   {"layers.0.mlp.up_proj.weight", 40, 32},
                   {"layers.0.mlp.down_proj.weight", 32, 40}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, tensors[i].name);
        put(f, name, "BF16", tensors[i].rows, tensors[i].columns);
    }
}

/* ---- one conversion ---- */

typedef struct {
    folder *at;
    file *target, *draft;
} source;

static inline source make_source(const char *dtype, const char *experts)
{
    source s = {folder_make(), calloc(1, sizeof(file)), calloc(1, sizeof(file))};
    assert_true(s.target != NULL && s.draft != NULL);
    folder_write(s.at, "config.json", small_config, strlen(small_config));
    put_target(s.target, dtype, experts);
    save(s.target, s.at, "model.safetensors");
    return s;
}

static inline void add_draft(source *s, const char *prefix)
{
    assert_int_equal(mkdir(folder_join(s->at, "dflash"), 0700), 0);
    folder_write(s->at, "dflash/config.json", small_draft_config, strlen(small_draft_config));
    put_draft(s->draft, prefix);
    char mask[64];
    snprintf(mask, sizeof mask, "%smask_embedding", prefix);
    put(s->draft, mask, "BF16", 0, 32);
    save(s->draft, s->at, "dflash/dflash_draft_model.safetensors");
}

static inline void drop_source(source *s)
{
    folder_remove(s->at);
    free(s->target);
    free(s->draft);
}

static inline slip_status convert(source *s, slip_convert_experts experts)
{
    char out[256];
    snprintf(out, sizeof out, "%s", folder_join(s->at, "m.h5"));
    slip_convert_options options = {.source_folder = s->at->path, .out_path = out, .experts = experts};
    slip_clear();
    return slip_convert_run(&options);
}

static inline void open_result(source *s, slip_checkpoint *checkpoint, slip_model *model, char **bytes)
{
    size_t size;
    char path[256];
    snprintf(path, sizeof path, "%s", folder_join(s->at, "m.h5"));
    if (slip_checkpoint_open(path, checkpoint) != SLIP_OK || slip_checkpoint_model(checkpoint, path, model) != SLIP_OK)
        fail_msg("%s", slip_cause());
    *bytes = folder_read(path, &size);
}

/* The bytes that `put` gave a tensor. */
static inline const unsigned char *source_bytes(const file *f, const char *name)
{
    char key[160];
    size_t begin;
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *entry = strstr(f->header, key);
    assert_non_null(entry);
    assert_int_equal(sscanf(strstr(entry, "data_offsets") + 15, "%zu", &begin), 1);
    return f->data + begin;
}

static inline const slip_dataset *expect(const slip_checkpoint *checkpoint, const char *name, slip_dtype dtype)
{
    const slip_dataset *dataset = slip_checkpoint_find(checkpoint, name);
    assert_non_null(dataset);
    assert_int_equal(dataset->dtype, dtype);
    return dataset;
}

#endif
