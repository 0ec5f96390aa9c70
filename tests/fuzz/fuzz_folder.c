/* Input: a byte that chooses a file of a good Hugging Face folder, and bytes that take its place (of a safetensors file: of its header).
 * Whatever convert takes must be a checkpoint that every run takes; whatever it refuses, it refuses as bad input and leaves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "tests/unit/support/convert_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, INDEX, HEADER, DRAFT_CONFIG, DRAFT_HEADER, MASK, FILES };

static const char *const names[FILES] = {"config.json",
                                         "generation_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "chat_template.json",
                                         "model.safetensors.index.json",
                                         "model.safetensors",
                                         "dflash/config.json",
                                         "dflash/dflash_draft_model.safetensors",
                                         "dflash/mask_embedding.pt"};

static source good;

static void tidy(void)
{
    drop_source(&good);
}

static void make_good(void)
{
    good = make_source("BF16", "F8_E4M3");
    add_draft(&good, "");
    atexit(tidy);
}

/* A file that a good folder has as well gets its bytes back; the others go. */
static void restore(int which)
{
    switch (which) {
    case CONFIG: folder_write(good.at, names[which], small_config, strlen(small_config)); break;
    case DRAFT_CONFIG: folder_write(good.at, names[which], small_draft_config, strlen(small_draft_config)); break;
    case HEADER: save(good.target, good.at, names[which]); break;
    case DRAFT_HEADER: save(good.draft, good.at, names[which]); break;
    default: unlink(folder_join(good.at, names[which]));
    }
}

static void spoil(int which, const uint8_t *data, size_t size)
{
    const file *f = which == DRAFT_HEADER ? good.draft : good.target;
    if (which != HEADER && which != DRAFT_HEADER) {
        folder_write(good.at, names[which], data, size);
        return;
    }
    uint8_t *bytes = calloc(8 + size + f->data_size, 1);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(size >> (8 * i));
    memcpy(bytes + 8, data, size);
    memcpy(bytes + 8 + size, f->data, f->data_size);
    folder_write(good.at, names[which], bytes, 8 + size + f->data_size);
    free(bytes);
}

static void check_taken(const char *path)
{
    slip_checkpoint checkpoint;
    slip_model model;
    if (slip_checkpoint_open(path, &checkpoint) != SLIP_OK || slip_checkpoint_model(&checkpoint, path, &model) != SLIP_OK) {
        fprintf(stderr, "written, and refused: %s\n", slip_cause());
        __builtin_trap();
    }
    slip_checkpoint_free(&checkpoint);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[256], partial[280];
    if (size == 0)
        return 0;
    if (good.at == NULL)
        make_good();
    int which = data[0] % FILES;
    spoil(which, data + 1, size - 1);
    snprintf(path, sizeof path, "%s", folder_join(good.at, "m.h5"));
    snprintf(partial, sizeof partial, "%s.partial", path);
    slip_convert_options options = {.source_folder = good.at->path, .out_path = path, .quiet = true};
    slip_clear();
    slip_status status = slip_convert_run(&options);
    if (status == SLIP_OK)
        check_taken(path);
    else if (status != SLIP_ERR_INPUT || slip_cause()[0] == '\0' || access(path, F_OK) == 0 || access(partial, F_OK) == 0) {
        fprintf(stderr, "status %d: %s\n", (int)status, slip_cause());
        __builtin_trap();
    }
    restore(which);
    return 0;
}
