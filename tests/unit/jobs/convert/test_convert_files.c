/* Every file of a folder in every form that it must not have: a FIFO, a socket, a folder, a link to nothing or to itself, a Git LFS pointer,
 * nothing, noise. convert refuses the folder in time and names the file. Then folders whose headers or index are bad in ways of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "altered_folder.h"
#include "folder.h"
#include "jobs/convert/convert.h"

/* ---- forms ---- */

static void fifo(const altered_folder *f, const char *name)
{
    assert_int_equal(mkfifo(altered_path(f, name), 0600), 0);
}

static void named_socket(const altered_folder *f, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int made = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(made >= 0 && snprintf(address.sun_path, sizeof address.sun_path, "%s", altered_path(f, name)) < 108);
    assert_int_equal(bind(made, (struct sockaddr *)&address, sizeof address), 0);
    close(made);
}

static void directory(const altered_folder *f, const char *name)
{
    assert_int_equal(mkdir(altered_path(f, name), 0700), 0);
}

/* As a cache of downloads has it whose blob is gone. */
static void link_to_nothing(const altered_folder *f, const char *name)
{
    assert_int_equal(symlink("../../blobs/gone", altered_path(f, name)), 0);
}

static void link_to_itself(const altered_folder *f, const char *name)
{
    const char *base = strrchr(name, '/');
    assert_int_equal(symlink(base != NULL ? base + 1 : name, altered_path(f, name)), 0);
}

static void lfs_pointer(const altered_folder *f, const char *name)
{
    static const char text[] = "version https://git-lfs.github.com/spec/v1\n"
                               "oid sha256:05586f8488a3540e951e5a5d7b8fd9a96d4046fbafc83ff9b25e851b72b99a50\nsize 34369159872\n";
    altered_write(f, name, text, sizeof text - 1);
}

static void empty(const altered_folder *f, const char *name)
{
    altered_write(f, name, "", 0);
}

static void noise(const altered_folder *f, const char *name)
{
    unsigned char bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * i >> 3 ^ 0x9b);
    altered_write(f, name, bytes, sizeof bytes);
}

/* A parser that calls itself would run out of stack. */
static void nested(const altered_folder *f, const char *name)
{
    enum { DEPTH = 200000 };
    char *bytes = malloc(DEPTH);
    assert_non_null(bytes);
    memset(bytes, '[', DEPTH);
    memcpy(bytes, "{\"a\":", 5);
    altered_write(f, name, bytes, DEPTH);
    free(bytes);
}

static const struct {
    void (*make)(const altered_folder *f, const char *name);
    const char *cause;
    bool text; /* a text that may say anything may be this too */
} forms[] = {
    {fifo, "Is a FIFO, not a regular file", false},
    {named_socket, "Is a socket, not a regular file", false},
    {directory, "Is a directory, not a regular file", false},
    {link_to_nothing, "No such file or directory", false},
    {link_to_itself, "Too many levels of symbolic links", false},
    {lfs_pointer, "is a Git LFS pointer, not the file itself: fetch that by git lfs pull", false},
    {empty, "", true},
    {noise, "", true},
    {nested, "", true},
};

static const struct {
    const char *fixture, *name;
    bool text;
} files[] = {
    {"v2-flash-split-fp8", "config.json", false},
    {"v2-flash-split-fp8", "tokenizer.json", false},
    {"v2-flash-split-fp8", "generation_config.json", false},
    {"v2-flash-split-fp8", "tokenizer_config.json", false},
    {"v2-flash-split-fp8", "chat_template.jinja", true},
    {"v2-flash-split-fp8", "chat_template.json", false},
    {"v2-flash-split-fp8", "model.safetensors.index.json", false},
    {"v2-flash-split-fp8", "model_1.safetensors", false},
    {"pro-split-bf16", "model.safetensors", false},
    {"pro-split-bf16", "dflash/config.json", false},
    {"pro-split-bf16", "dflash/mask_embedding.pt", false},
    {"pro-split-bf16", "dflash/dflash_draft_model.safetensors", false},
};

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t form = 0; form < sizeof forms / sizeof *forms; form++) {
            char defect[128];
            if (files[i].text && forms[form].text)
                continue;
            altered_folder f = altered_copy(files[i].fixture);
            unlink(altered_path(&f, files[i].name));
            forms[form].make(&f, files[i].name);
            snprintf(defect, sizeof defect, "%s, form %zu", files[i].name, form);
            altered_refuse(&f, SLIP_CONVERT_KEEP, true, defect, files[i].name, forms[form].cause);
            altered_drop(&f);
        }
}

/* ---- shards and their index ---- */

static altered_folder sharded(void)
{
    return altered_copy("v2-flash-split-fp8");
}

static void refuse(altered_folder *f, const char *defect, const char *first, const char *second)
{
    altered_refuse(f, SLIP_CONVERT_KEEP, true, defect, first, second);
    altered_drop(f);
}

static void test_shards(void **state)
{
    (void)state;
    altered_folder f = sharded();
    unlink(altered_path(&f, "model_2.safetensors"));
    refuse(&f, "SHARD_MISSING", "model_2.safetensors", "No such file or directory");

    /* A shard in another's place: the same names once more, and its own nowhere. */
    f = sharded();
    size_t size;
    char *other = folder_read(altered_path(&f, "model_0.safetensors"), &size);
    altered_write(&f, "model_1.safetensors", other, size);
    refuse(&f, "TENSORS_IN_TWO_SHARDS", "model_1.safetensors: tensor model.layers.0.", "is also in model_0.safetensors");
    free(other);

    /* Without its index, a folder is all of its files: a stray copy is seen too. */
    f = altered_copy("pro-split-bf16");
    other = folder_read(altered_path(&f, "model.safetensors"), &size);
    altered_write(&f, "consolidated.safetensors", other, size);
    refuse(&f, "TENSORS_TWICE", "model.safetensors: tensor ", "is also in consolidated.safetensors");
    free(other);

    f = sharded();
    const char *first = strdup(altered_path(&f, "model_0.safetensors"));
    assert_true(altered_header(first, "{", "\"dtype\":\"F8_E4M3\"", "\"dtype\":\"F\xff\xfe\"")); /* no UTF-8 */
    free((char *)first);
    refuse(&f, "HEADER_NOT_UTF8", "model_0.safetensors: header: byte", "");

    f = sharded();
    static const char twice[] = "{\"weight_map\":{\"a\":\"model_0.safetensors\",\"a\":\"model_1.safetensors\"}}";
    altered_write(&f, "model.safetensors.index.json", twice, sizeof twice - 1);
    refuse(&f, "INDEX_NAMES_ONE_TWICE", "model.safetensors.index.json", "duplicate object key");

    f = sharded();
    static const char folder_itself[] = "{\"weight_map\":{\"a\":\"model_0.safetensors\",\"b\":\"..\"}}";
    altered_write(&f, "model.safetensors.index.json", folder_itself, sizeof folder_itself - 1);
    refuse(&f, "INDEX_LEAVES_ITS_FOLDER", "model.safetensors.index.json", "does not name a file of the folder");
}

/* An index of an earlier release: it names a tensor that no shard has. */
static void test_stale_index(void **state)
{
    (void)state;
    altered_folder f = sharded();
    size_t size;
    char *text = folder_read(altered_path(&f, "model.safetensors.index.json"), &size), *made = malloc(size + 100);
    const char *brace = strstr(text, "\"weight_map\": {");
    assert_non_null(brace);
    int length = sprintf(made, "%.*s\"model.layers.9.extra\":\"model_0.safetensors\",%s", (int)(brace - text) + 15, text, brace + 15);
    altered_write(&f, "model.safetensors.index.json", made, (size_t)length);
    free(made);
    free(text);
    refuse(&f, "INDEX_STALE", "model.safetensors.index.json: tensor model.layers.9.extra is not in model_0.safetensors", "");
}

/* A download that goes on while it is read: the file is cut after its header was taken. */
static void test_cut_while_read(void **state)
{
    (void)state;
    altered_folder f = sharded();
    slip_safetensors *opened;
    char byte;
    assert_int_equal(slip_safetensors_open(f.source, &opened), SLIP_OK);
    const slip_st_tensor *tensor = slip_safetensors_find(opened, "model.layers.0.mlp.up_proj.weight");
    assert_non_null(tensor);
    assert_int_equal(truncate(slip_safetensors_path(opened, tensor), tensor->offset), 0);
    slip_clear();
    assert_int_equal(slip_safetensors_read(opened, tensor, 0, 1, &byte), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "model_0.safetensors: ends at byte"));
    slip_clear();
    slip_safetensors_close(opened);
    altered_drop(&f);
}

/* A repository in the hub's cache: a snapshot's files are links, and above them is no model. */
static void test_hub_cache(void **state)
{
    (void)state;
    altered_folder f = altered_copy("v2.6-fused-mxfp4");
    char command[512];
    snprintf(command, sizeof command,
             "cd %s && mv source blobs && mkdir -p source/snapshots/1/dflash && cd source/snapshots/1 && ln -s ../../../blobs/*.* . && cd "
             "dflash && "
             "ln -s ../../../../blobs/dflash/* .",
             f.at);
    assert_int_equal(system(command), 0); /* our own paths: NOLINT(cert-env33-c) */
    altered_refuse(&f, SLIP_CONVERT_KEEP, false, "a cache", "source: no config.json", "snapshots/");
    snprintf(f.source, sizeof f.source, "%.60s/source/snapshots/1", f.at);
    if (altered_convert(&f, SLIP_CONVERT_KEEP, false) != SLIP_OK)
        fail_msg("%s", slip_cause());
    altered_drop(&f);
}

/* A link to nothing may be one to a disk that is not mounted: it is not replaced. */
static void test_dangling_target(void **state)
{
    (void)state;
    altered_folder f = altered_copy("v2.6-fused-mxfp4");
    assert_int_equal(symlink("/nowhere/model.h5", f.model), 0);
    altered_refuse(&f, SLIP_CONVERT_KEEP, false, "a link as target", f.model, "exists already");
    altered_drop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),          cmocka_unit_test(test_shards),    cmocka_unit_test(test_stale_index),
        cmocka_unit_test(test_cut_while_read), cmocka_unit_test(test_hub_cache), cmocka_unit_test(test_dangling_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
