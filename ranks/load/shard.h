/* From the checkpoint to a rank's weights: rank 0 alone parses HDF5, everybody gets the list of datasets, and each rank reads just
 * the bytes that its program names, and checks them (ranks/load/loader.h).
 */
#ifndef SLIP_RANKS_LOAD_SHARD_H
#define SLIP_RANKS_LOAD_SHARD_H

#include "io/checkpoint/parts.h"
#include "io/report/progress.h"
#include "kernels/executor.h"
#include "ranks/model/program.h"

typedef struct {
    const char *path;            /* borrowed; NULL: no checkpoint but a published shape with random weights */
    slip_checkpoint_files files; /* open for reading; zeroed when closed */
    slip_checkpoint table;       /* `tokenizer` on rank 0 only */
    slip_model model;
    int32_t distinct_experts; /* of a shape: how many a block of the draft touches in the mean (ranks/model/overlap.h); 0: as they come */
    int threads;              /* that check and pack while the main one reads: a rank's share of its host's CPUs, but for one */
    slip_progress *progress;  /* of loading, and the stream of what else a user should know; borrowed. NULL: nobody looks */
} slip_source;

/* Lockstep on all ranks; a fault on one is everybody's. The caller closes it. */
slip_status slip_source_open(slip_comm *comm, const char *path, slip_source *source);
void slip_source_close(slip_source *source);

/* For benchmarks: a model of which only the shape is known. Closed like the other. */
void slip_source_shape(const slip_model *model, slip_source *source);

/* Have the executor make room for every tensor of the program. Where the source is only a shape, there is nothing to do yet. */
slip_status slip_shard_place(const slip_source *source, const slip_program *program, const slip_executor_kind *kind,
                             slip_executor *executor);

/* Read every tensor, all of which are placed, and hand it to the executor. Where the source is only a shape, the executor makes random ones
 * (kind->fill), seeded by the tensor's name: all ranks agree on what they share. */
slip_status slip_shard_load(const slip_source *source, const slip_program *program, const slip_executor_kind *kind,
                            slip_executor *executor);

/* Bytes that slip_shard_load() will read into memory: codes and scales. */
uint64_t slip_shard_bytes(const slip_source *source, const slip_program *program);

#endif
