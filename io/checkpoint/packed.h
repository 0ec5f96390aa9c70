/* A shard's weights as its executor packs them, in a file beside the model, so that loading them again is a copy:
 *
 *   MODEL.h5.gpu/target-3-of-8.h5, MODEL.h5.gpu/draft-3-of-8.h5
 *       /             attributes format = "slipstream-pack", version, and the label below
 *       /packed/...   u8 [experts, bytes of one]: a tensor of the shard's program, by the name of the first weight that is in it
 *       /checksums    as in a checkpoint
 *
 * Written, renamed into place and read as a checkpoint's files are. What it holds can always be made again from the model.
 */
#ifndef SLIP_IO_CHECKPOINT_PACKED_H
#define SLIP_IO_CHECKPOINT_PACKED_H

#include "io/checkpoint/checkpoint.h"

enum { SLIP_PACKED_WORD = 32 };
#define SLIP_PACKED_GROUP "packed"

/* What a shard was packed from, and how: X(field, what another value means). A file whose label is not the one that is wanted holds other
 * bytes than those that packing now would give. */
#define SLIP_PACKED_LABEL(X) \
    X(model, "packed from another model, or from an earlier state of it") \
    X(shard, "another shard") \
    X(cut, "the model was cut in another way: see --expert-slices") \
    X(layout, "packed in the order of another version of this program")

typedef struct {
#define SLIP_PACKED_FIELD(field, reason) char field[SLIP_PACKED_WORD];
    SLIP_PACKED_LABEL(SLIP_PACKED_FIELD)
#undef SLIP_PACKED_FIELD
} slip_packed_label;

/* Which shard: of the target or the draft, from 0. */
typedef struct {
    bool draft;
    int32_t shard, shards;
} slip_packed_name;

/* Where the shards of the model at `path` lie, and one of them; malloc'ed. Symbolic links in `path` are followed. */
slip_status slip_packed_folder(const char *path, char **folder);
slip_status slip_packed_path(const char *path, const slip_packed_name *name, char **file);

/* Its table. SLIP_ERR_INPUT names the file, and the field of the label that is not as wanted, with both values. */
slip_status slip_packed_open(const char *path, const slip_packed_label *wanted, slip_checkpoint *table);

/* As slip_checkpoint_create(); datasets are bytes without a type. */
slip_status slip_checkpoint_create_packed(const char *path, const slip_packed_label *label, slip_checkpoint_writer **writer);

#endif
