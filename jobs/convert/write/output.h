/* What a conversion writes: one file, by rank 0, or an index with a file a layer, by all ranks side by side.
 *
 * A file is written under another name, synced and renamed, so it is whole or absent. Layers that an interrupted run finished stay, and the
 * next run keeps them where they are from the same source (`origin`); another source's are refused, never overwritten.
 */
#ifndef SLIP_JOBS_CONVERT_WRITE_OUTPUT_H
#define SLIP_JOBS_CONVERT_WRITE_OUTPUT_H

#include <stdbool.h>

#include "comm/comm.h"
#include "io/checkpoint/checkpoint.h"
#include "jobs/convert/write/rounding.h"

typedef struct {
    slip_comm *comm; /* borrowed; NULL: this process is alone */
    const char *path;
    bool apart;         /* a file a layer */
    bool quiet;         /* no progress */
    const char *origin; /* what is converted, and how: sizes, times and headers of the source in one word */
    slip_checkpoint_texts texts;
    const slip_weight_spec *weights; /* borrowed */
    size_t count;
    const int64_t *bytes; /* [count]: of each weight as it will be stored */
    int64_t bytes_beside; /* that will be written to the same disk when this is done */
    slip_status (*write)(void *context, size_t weight, slip_checkpoint_writer *writer);
    void *context;
    slip_rounding *rounding; /* what write() measured: a layer's goes into its file; in the end, on rank 0, that of all layers */
} slip_convert_output;

/* Layers are files where nobody says: weights of more than 4 GiB. */
bool slip_convert_is_large(const int64_t *bytes, size_t count);

/* Nothing is at `path`: worth a look before a large folder is read. */
slip_status slip_convert_output_absent(const char *path);

/* Nothing is there yet but finished layers of the same source, and the disk has room for the rest. On any rank; writes nothing. */
slip_status slip_convert_output_check(const slip_convert_output *output);

/* Lockstep on all ranks. A lock beside `path` keeps other runs out. */
slip_status slip_convert_output_write(const slip_convert_output *output);

/* Add what --json tells of it to `object`; nothing where that is NULL. */
slip_status slip_convert_output_figures(const slip_convert_output *output, json_t *object);

/* All ranks' worst status, as slip_comm_agree(). */
slip_status slip_convert_agree(slip_comm *comm, slip_status status);

#endif
