/* A Slipstream checkpoint: one HDF5 file, or an index with a file a layer (io/checkpoint/parts.h).
 *
 *   /            attributes format = "slipstream", version = 2 (3: an index), config (JSON text), draft_config (JSON text, optional),
 *                settings (JSON text, ranks/model/config/settings.h; version 1 has none)
 *   /tokenizer   tokenizer.json's bytes, optional
 *   /checksums   u32, of all bytes of the datasets (io/checkpoint/checksum.h; version 1 has none)
 *   /target/...  /draft/...  one contiguous, unfiltered, fixed-size dataset a tensor, with an attribute `dtype`
 *                (f32, bf16, f8e4m3, mxfp4); the scales of NAME are the dataset NAME_scale beside it
 *
 * The tensors are those of the family's tables (ranks/model/weights.h), a layer's below layers/N; rows are outputs, columns inputs, and
 * experts are stacked on the first axis.
 * mxfp4: u8 [.., rows, columns/2] with scales u8 [.., rows, columns/32]; f8e4m3: u8 [.., rows, columns] with scales
 * f32 [.., ceil(rows/128), ceil(columns/128)], but [chunks * ceil(rows_per_chunk/128), ..] where rows come in chunks (a fused qkv).
 *
 * HDF5 tells what is where; the bytes are fetched with pread. HDF5 crashes on crafted files, so anything but the plain
 * datasets above is refused before it is read; a checkpoint is trusted input all the same (SECURITY.md).
 */
#ifndef SLIP_IO_CHECKPOINT_CHECKPOINT_H
#define SLIP_IO_CHECKPOINT_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"
#include "ranks/model/weights.h"

enum {
    SLIP_DATASET_DIMS = 3,
    SLIP_CHECKPOINT_ONE_FILE = 2, /* the version of a checkpoint in one file */
    SLIP_CHECKPOINT_VERSION = 3,  /* of an index, and of a layer's file: the last one */
    SLIP_PART_GROUP = 32,         /* "target/layers/3" */
};

/* One dataset. Plain data: the whole table travels from rank 0 to the others in one broadcast. */
typedef struct {
    char name[SLIP_WEIGHT_NAME]; /* without the leading '/', "target/layers/3/o" */
    int32_t dtype;               /* slip_dtype; a scale dataset is SLIP_F32, or SLIP_MXFP4 for E8M0 bytes */
    int32_t dims;
    int64_t shape[SLIP_DATASET_DIMS]; /* as stored (bytes for mxfp4 codes) */
    int32_t file;                     /* 0: the checkpoint's own; k: parts[k - 1] */
    int64_t offset;                   /* of the first byte in the file */
    int64_t bytes;
    int64_t first_block; /* of its checksums (io/checkpoint/checksum.h) */
} slip_dataset;

/* A file beside the index. Plain data as well. */
typedef struct {
    char group[SLIP_PART_GROUP]; /* all that it holds stands below: "target/layers/3" */
    int64_t bytes;               /* of the file */
} slip_checkpoint_part;

typedef struct {
    char *config;       /* NUL-terminated */
    char *draft_config; /* NULL without a drafter */
    char *settings;     /* NULL in a file of version 1 */
    int32_t version;
    char *tokenizer; /* NULL without one */
    size_t tokenizer_size;
    slip_dataset *datasets; /* sorted by name */
    int32_t dataset_count;
    uint32_t *checksums; /* of all blocks (io/checkpoint/checksum.h); NULL in a file of version 1 */
    int64_t checksum_count;
    int64_t file_size;
    slip_checkpoint_part *parts; /* [part_count]; NULL: one file */
    int32_t part_count;
    char *origin, *rounding; /* of a layer's file alone: see slip_checkpoint_open_part */
} slip_checkpoint;

/* Read everything but the tensors. SLIP_ERR_INPUT names the file, the dataset or attribute and what is wrong. */
slip_status slip_checkpoint_open(const char *path, slip_checkpoint *checkpoint);
void slip_checkpoint_free(slip_checkpoint *checkpoint);

/* Open a layer's file by itself: datasets and checksums, what it was converted from (`origin`), and the error of rounding its experts where
 * they were (`rounding`, JSON; NULL: they were not). SLIP_ERR_INPUT also where it holds another group. */
slip_status slip_checkpoint_open_part(const char *path, const char *group, slip_checkpoint *part);

/* The model of a checkpoint: config, draft_config and settings parsed, every dataset that the config asks for present, of a known
 * dtype and of the right shape, no unknown dataset. Needs no HDF5, so every rank runs it on the broadcast table. */
slip_status slip_checkpoint_model(const slip_checkpoint *checkpoint, const char *source, slip_model *model);

/* NULL when there is none of this name. */
const slip_dataset *slip_checkpoint_find(const slip_checkpoint *checkpoint, const char *name);

/* ---- writing (slipstream convert) ---- */

typedef struct slip_checkpoint_writer slip_checkpoint_writer;

/* What a checkpoint holds beside its weights; borrowed. */
typedef struct {
    const char *config, *draft_config, *settings; /* draft_config may be NULL */
    const char *tokenizer;                        /* NULL: none */
    size_t tokenizer_size;
    bool index; /* layers will be linked to: slip_checkpoint_link */
} slip_checkpoint_texts;

/* Write to PATH.partial; slip_checkpoint_commit syncs and renames it to PATH. Freeing without a commit removes it. */
slip_status slip_checkpoint_create(const char *path, const slip_checkpoint_texts *texts, slip_checkpoint_writer **writer);
/* The same for a layer's file: `group` is all that will be in it, `origin` what it is made from. */
slip_status slip_checkpoint_create_part(const char *path, const char *group, const char *origin, slip_checkpoint_writer **writer);
/* Into a layer's file: the error of rounding its experts. */
slip_status slip_checkpoint_add_rounding(slip_checkpoint_writer *writer, const char *rounding);
/* Into an index: link to a finished layer's file, opened as `part`, whose checksums become the index's too. */
slip_status slip_checkpoint_link(slip_checkpoint_writer *writer, const char *group, const slip_checkpoint *part);
/* Add one dataset (intermediate groups are made); `dataset` gives name, dtype, dims and shape; offset and bytes are ignored. */
slip_status slip_checkpoint_add(slip_checkpoint_writer *writer, const slip_dataset *dataset, const void *data);
/* The same piece by piece: its bytes follow, in their order, before another dataset begins. */
slip_status slip_checkpoint_begin(slip_checkpoint_writer *writer, const slip_dataset *dataset);
slip_status slip_checkpoint_append(slip_checkpoint_writer *writer, const void *data, int64_t bytes);
slip_status slip_checkpoint_commit(slip_checkpoint_writer *writer);
void slip_checkpoint_writer_free(slip_checkpoint_writer *writer);

#endif
