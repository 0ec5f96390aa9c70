/* A shard as its executor packs it, kept beside the model (io/checkpoint/packed.h): `convert --for-gpus` makes it, loading copies it.
 *
 * Loading reads 8 MiB at once into a few buffers of the executor's, in the order in which they lie in the file, checks them on another
 * thread, and stores them: no other memory is needed.
 */
#ifndef SLIP_RANKS_LOAD_PACKED_H
#define SLIP_RANKS_LOAD_PACKED_H

#include "io/checkpoint/packed.h"
#include "ranks/load/shard.h"

/* A shard's program on the executor that its tensors are placed on; all are borrowed. */
typedef struct {
    const slip_source *source;
    const slip_program *program;
    const slip_executor_kind *kind;
    slip_executor *executor;
    slip_packed_name name;
} slip_packed_shard;

/* What its file's label says. SLIP_ERR_INPUT for a model without checksums, which nothing can be bound to. */
slip_status slip_packed_label_make(const slip_packed_shard *shard, slip_packed_label *label);

/* The dataset of tensor `index`; bytes 0: the shard has none of it. */
void slip_packed_dataset(const slip_packed_shard *shard, int32_t index, slip_dataset *dataset);

/* A shard's file, open; zeroed: none. */
typedef struct {
    slip_checkpoint table;
    char *path;
    int file;
    bool open;
} slip_packed;

/* SLIP_ERR_INPUT, naming the file and what is wrong, where it is not there or not what packing now would give: then the model itself must be
 * loaded. */
slip_status slip_packed_find(const slip_packed_shard *shard, slip_packed *packed);
void slip_packed_close(slip_packed *packed);

/* Store all of it. SLIP_ERR_INPUT names the file, the tensor and the bytes that are damaged. */
slip_status slip_packed_load(const slip_packed *packed, const slip_packed_shard *shard);

#endif
