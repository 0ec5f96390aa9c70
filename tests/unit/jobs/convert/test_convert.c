/* Handmade Hugging Face folders through convert: every source type, both attention layouts, a drafter; then
 * bad folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "io/checkpoint/checkpoint.h"
#include "ranks/model/mxfp4.h"
#include "jobs/convert/convert.h"
#include "jobs/convert/values.h"
#include "tests/unit/support/folder.h"
#include "tests/unit/support/small_model.h"
#include "convert_source.h"

static void test_kept_types(void **state)
{
    (void)state;
    static const struct {
        const char *dtype, *experts;
        slip_dtype stored, stored_experts;
    } cases[] = {{"F32", "F32", SLIP_F32, SLIP_F32}, {"BF16", "MXFP4", SLIP_BF16, SLIP_MXFP4}, {"BF16", "F8_E4M3", SLIP_BF16, SLIP_F8E4M3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        source s = make_source(cases[i].dtype, cases[i].experts);
        slip_checkpoint checkpoint;
        slip_model model;
        char *bytes;
        if (convert(&s, SLIP_CONVERT_KEEP) != SLIP_OK)
            fail_msg("%s: %s", cases[i].dtype, slip_cause());
        open_result(&s, &checkpoint, &model, &bytes);
        const slip_dataset *o = expect(&checkpoint, "target/layers/1/o", cases[i].stored);
        assert_memory_equal(bytes + o->offset, source_bytes(s.target, "model.layers.1.self_attn.o_proj.weight"), (size_t)o->bytes);
        const slip_dataset *up = expect(&checkpoint, "target/layers/1/experts/up", cases[i].stored_experts);
        assert_memory_equal(bytes + up->offset + up->bytes / 3 * 2, source_bytes(s.target, "model.layers.1.mlp.experts.2.up_proj.weight"),
                            (size_t)up->bytes / 3);
        expect(&checkpoint, "target/layers/1/sinks", SLIP_F32);
        assert_false(model.has_draft);
        assert_null(checkpoint.tokenizer);
        slip_checkpoint_free(&checkpoint);
        free(bytes);
        drop_source(&s);
    }
}

static void test_f16_is_widened(void **state)
{
    (void)state;
    source s = make_source("F16", "F16");
    slip_checkpoint checkpoint;
    slip_model model;
    char *bytes;
    assert_int_equal(convert(&s, SLIP_CONVERT_KEEP), SLIP_OK);
    open_result(&s, &checkpoint, &model, &bytes);
    const slip_dataset *head = expect(&checkpoint, "target/head", SLIP_F32);
    for (size_t i = 0; i < 20 * 32; i++) {
        float value;
        memcpy(&value, bytes + head->offset + i * sizeof value, sizeof value);
        assert_true(value == 1.0f + (float)pattern("lm_head.weight", i) / 1024.0f);
    }
    slip_checkpoint_free(&checkpoint);
    free(bytes);
    drop_source(&s);
}

static void test_rounded_experts(void **state)
{
    (void)state;
    source s = make_source("F32", "F32");
    slip_checkpoint checkpoint;
    slip_model model;
    char *bytes;
    assert_int_equal(convert(&s, SLIP_CONVERT_MXFP4), SLIP_OK);
    open_result(&s, &checkpoint, &model, &bytes);
    const slip_dataset *down = expect(&checkpoint, "target/layers/1/experts/down", SLIP_MXFP4);
    const slip_dataset *scales = expect(&checkpoint, "target/layers/1/experts/down_scale", SLIP_MXFP4);
    float row[32];
    uint8_t codes[16], scale;
    const unsigned char *values = source_bytes(s.target, "model.layers.1.mlp.experts.1.down_proj.weight");
    memcpy(row, values + 5 * sizeof row, sizeof row); /* row 5 of expert 1 */
    assert_true(slip_mxfp4_round_row(row, 32, codes, &scale));
    assert_memory_equal(bytes + down->offset + (32 + 5) * 16, codes, 16);
    assert_int_equal((uint8_t)bytes[scales->offset + 32 + 5], scale);
    expect(&checkpoint, "target/layers/0/gate", SLIP_F32); /* experts only */
    slip_checkpoint_free(&checkpoint);
    free(bytes);
    drop_source(&s);
}

static void check_draft(const char *prefix)
{
    source s = make_source("BF16", "BF16");
    slip_checkpoint checkpoint;
    slip_model model;
    char *bytes, name[64];
    add_draft(&s, prefix);
    if (convert(&s, SLIP_CONVERT_KEEP) != SLIP_OK)
        fail_msg("prefix \"%s\": %s", prefix, slip_cause());
    open_result(&s, &checkpoint, &model, &bytes);
    assert_true(model.has_draft && model.draft.mask_embedding);
    const slip_dataset *fc = expect(&checkpoint, "draft/fc", SLIP_BF16);
    snprintf(name, sizeof name, "%sfc.weight", prefix);
    assert_memory_equal(bytes + fc->offset, source_bytes(s.draft, name), (size_t)fc->bytes);
    slip_checkpoint_free(&checkpoint);
    free(bytes);
    drop_source(&s);
}

static void test_draft(void **state)
{
    (void)state;
    check_draft("");
    check_draft("model.");
}

/* ---- an in-block head ---- */

/* A drafter whose config asks for a head of rank 16, with these tensors. */
static source make_head(const char *previous, const char *following, int columns)
{
    source s = make_source("BF16", "BF16");
    char config[sizeof small_draft_config + 32];
    const char *rest = strstr(small_draft_config, "\"mask_token_id\"");
    snprintf(config, sizeof config, "%.*s\"markov\":16,%s", (int)(rest - small_draft_config), small_draft_config, rest);
    add_draft(&s, "");
    folder_write(s.at, "dflash/config.json", config, strlen(config));
    if (previous != NULL)
        put(s.draft, previous, "BF16", 20, columns);
    put(s.draft, following, "BF16", 20, columns);
    save(s.draft, s.at, "dflash/dflash_draft_model.safetensors");
    return s;
}

static void check_head(const char *previous, const char *following)
{
    source s = make_head(previous, following, 16);
    slip_checkpoint checkpoint;
    slip_model model;
    char *bytes;
    if (convert(&s, SLIP_CONVERT_KEEP) != SLIP_OK)
        fail_msg("%s: %s", previous, slip_cause());
    open_result(&s, &checkpoint, &model, &bytes);
    assert_int_equal(model.draft.markov, 16);
    assert_true(model.draft.mask_embedding);
    const slip_dataset *first = expect(&checkpoint, "draft/markov_previous", SLIP_BF16);
    const slip_dataset *second = expect(&checkpoint, "draft/markov_following", SLIP_BF16);
    assert_true(first->shape[0] == 20 && first->shape[1] == 16 && second->bytes == first->bytes);
    assert_memory_equal(bytes + first->offset, source_bytes(s.draft, previous), (size_t)first->bytes);
    assert_memory_equal(bytes + second->offset, source_bytes(s.draft, following), (size_t)second->bytes);
    slip_checkpoint_free(&checkpoint);
    free(bytes);
    drop_source(&s);
}

static void test_head(void **state)
{
    (void)state;
    check_head("previous.weight", "following.weight");
    check_head("markov_head.markov_w1.weight", "markov_head.markov_w2.weight");
}

/* ---- bad folders ---- */

static void refuse(source *s, slip_convert_experts experts, const char *defect, const char *cause)
{
    slip_status status = convert(s, experts);
    bool left = access(folder_join(s->at, "m.h5"), F_OK) == 0 || access(folder_join(s->at, "m.h5.partial"), F_OK) == 0;
    if (status != SLIP_ERR_INPUT || strstr(slip_cause(), cause) == NULL || left)
        fail_msg("%s: status %d, file %s, \"%s\"", defect, status, left ? "left" : "removed", slip_cause());
    slip_clear();
}

/* Build a folder whose tensors `change` alters, and refuse it. */
static void refuse_tensors(const char *defect, const char *left_out, const char *name, const char *dtype, int rows, int columns,
                           const char *cause)
{
    source s = {folder_make(), calloc(1, sizeof(file)), NULL};
    folder_write(s.at, "config.json", small_config, strlen(small_config));
    s.target->left_out = left_out;
    put_target(s.target, "BF16", "BF16");
    s.target->left_out = NULL;
    if (name != NULL)
        put(s.target, name, dtype, rows, columns);
    save(s.target, s.at, "model.safetensors");
    refuse(&s, SLIP_CONVERT_KEEP, defect, cause);
    drop_source(&s);
}

#define Q "model.layers.0.self_attn.q_proj.weight"
#define EXPERT "model.layers.1.mlp.experts.1.up_proj.weight"

static void test_bad_tensors(void **state)
{
    (void)state;
    refuse_tensors("MISSING", Q, NULL, NULL, 0, 0, "tensor " Q " is missing");
    refuse_tensors("EXPERT_MISSING", EXPERT, NULL, NULL, 0, 0, "tensor " EXPERT " is missing");
    refuse_tensors("SHAPE", Q, Q, "BF16", 32, 16, "tensor " Q ": shape [32, 16], but the config asks for [16, 32]");
    refuse_tensors("VECTOR", Q, Q, "BF16", 0, 512, "tensor " Q ": shape [512], but the config asks for [16, 32]");
    refuse_tensors("DTYPE", Q, Q, "I8", 16, 32, "its dtype is not supported");
    refuse_tensors("MXFP4_ATTENTION", Q, Q, "U8", 16, 16, "its dtype is not supported");
    refuse_tensors("F8_NORM", "model.norm.weight", "model.norm.weight", "F8_E4M3", 0, 32, "its dtype is not supported");
    refuse_tensors("F8_WITHOUT_SCALE", Q, Q, "F8_E4M3", 16, 32, "tensor " Q "_scale_inv is missing");
    refuse_tensors("MIXED_EXPERTS", EXPERT, EXPERT, "F32", 32, 32, "tensor " EXPERT ": its dtype differs");
    refuse_tensors("BIAS", NULL, "model.layers.0.self_attn.q_proj.bias", "BF16", 0, 16, "q_proj.bias is not one that");
    refuse_tensors("EXPERT_TOO_MANY", NULL, "model.layers.1.mlp.experts.3.up_proj.weight", "BF16", 32, 32, "is not one that");
    refuse_tensors("NORM_TOO_MANY", NULL, "model.embed_norm.weight", "BF16", 0, 32, "tensor model.embed_norm.weight is not one that");
    refuse_tensors("HEAD_BIAS", NULL, "lm_head.bias", "BF16", 0, 20, "tensor lm_head.bias is not one that");
    refuse_tensors("LAYER_TOO_MANY", NULL, "model.layers.2.input_layernorm.weight", "BF16", 0, 32, "is not one that");
}

static void test_bad_values(void **state)
{
    (void)state;
    source s = make_source("F32", "F32");
    float nan = NAN;
    memcpy((void *)source_bytes(s.target, EXPERT), &nan, sizeof nan);
    save(s.target, s.at, "model.safetensors");
    refuse(&s, SLIP_CONVERT_MXFP4, "NAN", "tensor " EXPERT ": its value at [0, 0] is not finite");
    drop_source(&s);
    s = make_source("BF16", "MXFP4");
    *(unsigned char *)source_bytes(s.target, EXPERT "_scale") = 255;
    save(s.target, s.at, "model.safetensors");
    refuse(&s, SLIP_CONVERT_KEEP, "E8M0_NAN", "_scale: its value at [0, 0] is not finite: a scale byte is 255");
    drop_source(&s);
    s = make_source("BF16", "F8_E4M3");
    memcpy((void *)source_bytes(s.target, EXPERT "_scale_inv"), &nan, sizeof nan);
    save(s.target, s.at, "model.safetensors");
    refuse(&s, SLIP_CONVERT_KEEP, "F8_SCALE_NAN", "tensor " EXPERT "_scale_inv: its value at [0, 0] is not finite");
    drop_source(&s);
}

static void refuse_f8_scale(const char *defect, float scale, bool round, const char *cause)
{
    source s = make_source("BF16", "F8_E4M3");
    memcpy((void *)source_bytes(s.target, EXPERT "_scale_inv"), &scale, sizeof scale);
    save(s.target, s.at, "model.safetensors");
    refuse(&s, round ? SLIP_CONVERT_MXFP4 : SLIP_CONVERT_KEEP, defect, cause);
    drop_source(&s);
}

/* Finite scales that no quantiser writes, of experts that are kept and of such that are rounded. */
static void test_bad_f8_scales(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        refuse_f8_scale("F8_SCALE_NEGATIVE", -0.25f, round,
                        "tensor " EXPERT "_scale_inv: its value at [0, 0] is -0.25: a scale cannot be below 0");
        refuse_f8_scale("F8_SCALE_LARGE", 4480.0f, round,
                        "tensor " EXPERT "_scale_inv: its value at [0, 0] is 4480: the weights would reach 2.00704e+06");
        refuse_f8_scale("F8_SCALE_ZERO", 0.0f, round,
                        "/target/layers/1/experts/up of expert 1: its scale at [0, 0] is 0, but the codes of that block are not");
    }
    source s = make_source("BF16", "F8_E4M3"); /* a block of nothing */
    memset((void *)source_bytes(s.target, EXPERT "_scale_inv"), 0, sizeof(float));
    memset((void *)source_bytes(s.target, EXPERT), 0x80, 32 * 32); /* -0 */
    save(s.target, s.at, "model.safetensors");
    assert_int_equal(convert(&s, SLIP_CONVERT_KEEP), SLIP_OK);
    drop_source(&s);
}

/* A chunk's last block of rows is shorter than others, and blocks of columns may be. */
static void test_lost_blocks(void **state)
{
    (void)state;
    enum { CHUNKS = 2, ROWS = 200, COLUMNS = 130, BLOCKS = CHUNKS * 2 * 2 };
    static uint8_t codes[CHUNKS * ROWS * COLUMNS];
    float scales[BLOCKS];
    const struct {
        int row, column, block;
    } corners[] = {{0, 0, 0},     {127, 127, 0}, {0, 128, 1},   {128, 0, 2},  {199, 127, 2},
                   {199, 129, 3}, {200, 0, 4},   {327, 129, 5}, {399, 129, 7}};
    for (size_t i = 0; i < sizeof corners / sizeof *corners; i++)
        for (int zero = 0; zero < BLOCKS; zero++) {
            uint8_t *code = &codes[corners[i].row * COLUMNS + corners[i].column];
            for (int block = 0; block < BLOCKS; block++)
                scales[block] = block == zero ? 0.0f : 1.0f;
            *code = 1;
            assert_int_equal(slip_values_find_lost_block(codes, CHUNKS, ROWS, COLUMNS, scales), zero == corners[i].block ? zero : -1);
            *code = 0;
        }
}

static void test_bad_heads(void **state)
{
    (void)state;
    source s = make_head(NULL, "following.weight", 16);
    refuse(&s, SLIP_CONVERT_KEEP, "HALF_A_HEAD", "tensor previous.weight is missing");
    drop_source(&s);
    s = make_head("previous.weight", "following.weight", 24);
    refuse(&s, SLIP_CONVERT_KEEP, "HEAD_SHAPE", "tensor previous.weight: shape [20, 24], but the config asks for [20, 16]");
    folder_write(s.at, "dflash/config.json", small_draft_config, strlen(small_draft_config));
    refuse(&s, SLIP_CONVERT_KEEP, "HEAD_UNASKED",
           "tensor following.weight is not one that the config asks for, which would be by dflash_config.markov");
    drop_source(&s);
    s = make_head("markov_head.markov_w1.weight", "markov_head.markov_w2.weight", 16);
    folder_write(s.at, "dflash/config.json", small_draft_config, strlen(small_draft_config));
    refuse(&s, SLIP_CONVERT_KEEP, "PUBLISHED_HEAD_UNASKED", "which would be by dflash_config.markov");
    drop_source(&s);
}

static void test_bad_folders(void **state)
{
    (void)state;
    source s = make_source("F32", "F32");
    folder_write(s.at, "config.json", "{", 1);
    refuse(&s, SLIP_CONVERT_KEEP, "CONFIG", "config.json: line 1");
    assert_int_equal(unlink(folder_join(s.at, "config.json")), 0);
    refuse(&s, SLIP_CONVERT_KEEP, "NO_CONFIG", "config.json: cannot be opened: No such file");
    folder_write(s.at, "config.json", small_config, strlen(small_config));
    add_draft(&s, "");
    put(s.draft, "extra", "BF16", 0, 32);
    save(s.draft, s.at, "dflash/dflash_draft_model.safetensors");
    refuse(&s, SLIP_CONVERT_KEEP, "DRAFT_TENSOR_TOO_MANY", "tensor extra is not one that the config asks for");
    folder_write(s.at, "dflash/mask_embedding.pt", "PK", 2);
    refuse(&s, SLIP_CONVERT_KEEP, "MASK_FILE", "mask_embedding.pt: not a whole zip archive");
    assert_int_equal(unlink(folder_join(s.at, "dflash/config.json")), 0);
    refuse(&s, SLIP_CONVERT_KEEP, "NO_DRAFT_CONFIG", "dflash/config.json: cannot be opened");
    drop_source(&s);
    s = make_source("F32", "F32");
    folder_write(s.at, "tokenizer.json", "", 0);
    refuse(&s, SLIP_CONVERT_KEEP, "EMPTY_TOKENIZER", "tokenizer.json: line 1");
    assert_int_equal(unlink(folder_join(s.at, "tokenizer.json")), 0);
    slip_convert_options options = {.source_folder = s.at->path, .out_path = "x.h5", .draft_folder = "no-such"};
    assert_int_equal(slip_convert_run(&options), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "no-such"));
    slip_clear();
    drop_source(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_types),  cmocka_unit_test(test_f16_is_widened), cmocka_unit_test(test_rounded_experts),
        cmocka_unit_test(test_head),        cmocka_unit_test(test_bad_heads),      cmocka_unit_test(test_draft),
        cmocka_unit_test(test_bad_tensors), cmocka_unit_test(test_bad_values),     cmocka_unit_test(test_bad_f8_scales),
        cmocka_unit_test(test_lost_blocks), cmocka_unit_test(test_bad_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
