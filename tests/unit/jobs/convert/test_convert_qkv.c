/* Split q, k and v in FP8 whose scales were those of a fused matrix (MiMo-V2-Flash): converting them gives the very datasets that
 * converting the fused matrix gives. One global layer, in which a chunk's k and v share a block of scales, one sliding layer, in which
 * they do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/checkpoint/checkpoint.h"
#include "jobs/convert/convert.h"
#include "tests/unit/support/folder.h"
#include "tests/unit/support/tiny_safetensors.h"

enum { CHUNKS = 2, COLUMNS = 32, PARTS = 3 };

static const char config[] =
    "{\"model_type\":\"mimo_v2\",\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"swa_num_key_value_heads\":4,\"head_dim\":192,\"v_head_dim\":128,\"partial_rotary_factor\":0.334,\"rope_theta\":10000,"
    "\"sliding_window\":8,\"intermediate_size\":32,\"hybrid_layer_pattern\":[0,1],\"layernorm_epsilon\":1e-5,\"vocab_size\":8,"
    "\"max_position_embeddings\":64,\"eos_token_id\":3%s}";

/* Rows, and rows of scales, of q, k and v of one chunk in each layer. */
static const struct {
    int rows[PARTS], scales[PARTS];
} layers[2] = {{{384, 192, 128}, {3, 2, 1}}, {{384, 384, 256}, {3, 3, 2}}};

static void put_plain(tiny_safetensors *f, const char *format, int layer, int rows, int columns)
{
    char name[96];
    snprintf(name, sizeof name, format, layer);
    memset(tiny_safetensors_put(f, name, "BF16", rows, columns, 2), 0x3c, 1);
}

/* Row `row` of a chunk's fused codes, or of its scales. */
static void fill(unsigned char *to, int layer, int chunk, int row, bool scale)
{
    if (scale) {
        float value = 1.0f + (float)(layer * 64 + chunk * 32 + row) / 128.0f;
        memcpy(to, &value, sizeof value);
        return;
    }
    for (int c = 0; c < COLUMNS; c++)
        to[c] = (unsigned char)((layer * 7 + chunk * 3 + row * 5 + c * 11) & 0x7e);
}

static void put_fused(tiny_safetensors *f, int layer, bool scale)
{
    const int *sizes = scale ? layers[layer].scales : layers[layer].rows;
    int rows = sizes[0] + sizes[1] + sizes[2], columns = scale ? 1 : COLUMNS, item = scale ? 4 : 1;
    char name[96];
    snprintf(name, sizeof name, "model.layers.%d.self_attn.qkv_proj.weight%s", layer, scale ? "_scale_inv" : "");
    unsigned char *to = tiny_safetensors_put(f, name, scale ? "F32" : "F8_E4M3", CHUNKS * rows, columns, item);
    for (int i = 0; i < CHUNKS * rows; i++)
        fill(to + i * columns * item, layer, i / rows, i % rows, scale);
}

static void put_apart(tiny_safetensors *f, int layer, bool scale)
{
    static const char names[PARTS] = {'q', 'k', 'v'};
    const int *sizes = scale ? layers[layer].scales : layers[layer].rows;
    int columns = scale ? 1 : COLUMNS, item = scale ? 4 : 1, before = 0;
    for (int part = 0; part < PARTS; before += sizes[part++]) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.self_attn.%c_proj.weight%s", layer, names[part], scale ? "_scale_inv" : "");
        unsigned char *to = tiny_safetensors_put(f, name, scale ? "F32" : "F8_E4M3", CHUNKS * sizes[part], columns, item);
        for (int i = 0; i < CHUNKS * sizes[part]; i++)
            fill(to + i * columns * item, layer, i / sizes[part], before + i % sizes[part], scale);
    }
}

static void write_folder(folder *at, bool fused)
{
    char text[1024];
    tiny_safetensors f = tiny_safetensors_begin();
    snprintf(text, sizeof text, config, fused ? ",\"attention_projection_layout\":\"fused_qkv\"" : "");
    folder_write(at, "config.json", text, strlen(text));
    put_plain(&f, "model.embed_tokens.weight", 0, 8, 32);
    put_plain(&f, "lm_head.weight", 0, 8, 32);
    put_plain(&f, "model.norm.weight", 0, 0, 32);
    for (int layer = 0; layer < 2; layer++) {
        put_plain(&f, "model.layers.%d.input_layernorm.weight", layer, 0, 32);
        put_plain(&f, "model.layers.%d.post_attention_layernorm.weight", layer, 0, 32);
        put_plain(&f, "model.layers.%d.self_attn.o_proj.weight", layer, 32, 512);
        put_plain(&f, "model.layers.%d.mlp.gate_proj.weight", layer, 32, 32);
        put_plain(&f, "model.layers.%d.mlp.up_proj.weight", layer, 32, 32);
        put_plain(&f, "model.layers.%d.mlp.down_proj.weight", layer, 32, 32);
        for (int scale = 0; scale < 2; scale++)
            (fused ? put_fused : put_apart)(&f, layer, scale);
    }
    tiny_safetensors_end(&f, at, "model.safetensors");
}

/* The converted file's bytes; the caller frees them. */
static char *convert(bool fused, slip_checkpoint *checkpoint, slip_model *model)
{
    folder *at = folder_make();
    char out[256];
    size_t size;
    write_folder(at, fused);
    snprintf(out, sizeof out, "%s", folder_join(at, "m.h5"));
    slip_convert_options options = {.source_folder = at->path, .out_path = out, .experts = SLIP_CONVERT_KEEP, .quiet = true};
    if (slip_convert_run(&options) != SLIP_OK || slip_checkpoint_open(out, checkpoint) != SLIP_OK ||
        slip_checkpoint_model(checkpoint, out, model) != SLIP_OK)
        fail_msg("%s: %s", fused ? "fused" : "apart", slip_cause());
    char *bytes = folder_read(out, &size);
    folder_remove(at);
    return bytes;
}

static void test_joined(void **state)
{
    (void)state;
    slip_checkpoint fused, apart;
    slip_model model, joined;
    char *wanted = convert(true, &fused, &model), *have = convert(false, &apart, &joined);
    assert_int_equal(model.qkv_chunks, CHUNKS); /* told from the scales: 12 rows where one chunk would have 11 */
    assert_int_equal(joined.qkv_chunks, CHUNKS);
    assert_int_equal(fused.dataset_count, apart.dataset_count);
    for (int32_t i = 0; i < fused.dataset_count; i++) {
        const slip_dataset *a = &fused.datasets[i], *b = &apart.datasets[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->bytes, b->bytes);
        if (memcmp(wanted + a->offset, have + b->offset, (size_t)a->bytes) != 0)
            fail_msg("/%s differs", a->name);
    }
    slip_checkpoint_free(&fused);
    slip_checkpoint_free(&apart);
    free(wanted);
    free(have);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_joined)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
