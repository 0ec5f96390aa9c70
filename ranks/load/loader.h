/* Tensors from a checkpoint's files to an executor: the main thread reads a piece while threads check, sort and pack what was read before
 * (io/base/pool).
 *
 * Reads are of whole blocks of checksums, up to 8 MiB each, into the piece itself where rows are whole, else into one of a few buffers; what
 * comes next is asked for ahead. Beside the weights themselves and these buffers no more than two pieces are in memory, of 64 MiB each, or
 * one expert where that is larger; a piece of a weight that is not stacked is some rows.
 */
#ifndef SLIP_RANKS_LOAD_LOADER_H
#define SLIP_RANKS_LOAD_LOADER_H

#include "ranks/load/piece.h"

typedef struct slip_loader slip_loader;

/* All are borrowed. */
slip_status slip_loader_open(const slip_source *source, const slip_program *program, const slip_executor_kind *kind,
                             slip_executor *executor, slip_loader **loader);

/* Begin tensor `index`, which is placed in that form; it need not be there yet. SLIP_ERR_INPUT also for damage in one before it. */
slip_status slip_loader_tensor(slip_loader *loader, int32_t index, const slip_weight *form);

/* All that was begun is there, and whole. */
slip_status slip_loader_finish(slip_loader *loader);

/* Gives up what is under way. */
void slip_loader_free(slip_loader *loader);

#endif
