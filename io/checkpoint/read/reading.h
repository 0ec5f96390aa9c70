/* Between the two halves of reading: the tree that HDF5 shows, and the files that make a checkpoint. */
#ifndef SLIP_IO_CHECKPOINT_READ_READING_H
#define SLIP_IO_CHECKPOINT_READ_READING_H

#include "io/checkpoint/hdf5.h"
#include "io/checkpoint/packed.h"

/* What one opening gathers: of one file after the other, where layers have their own. */
typedef struct {
    slip_hdf5_source source;        /* the file at hand */
    const char *group;              /* of a layer's file: all that it may hold; NULL: the checkpoint's own */
    const slip_packed_label *label; /* of a shard's file, whose datasets are plain bytes: what it must say; NULL: another file */
    int32_t version;
    slip_checkpoint_part *parts;
    int32_t part_count, file; /* `file` as slip_dataset has it */
    slip_dataset *datasets;
    int32_t count, capacity;
    int32_t objects;                   /* seen so far, groups and datasets */
    slip_dataset tokenizer, checksums; /* bytes 0: none */
    slip_status status;
} slip_reading;

/* The attributes and the tree of the file at hand. */
slip_status slip_reading_tree(slip_reading *reading, slip_checkpoint *out);

#endif
