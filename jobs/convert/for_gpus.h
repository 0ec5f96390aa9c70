/* convert --for-gpus N: the shards of a model as N GPUs keep them, packed beside it (io/checkpoint/packed.h), so that loading copies them.
 *
 * Needs no GPU, and no build for one. Ranks pack shards side by side, each into a file of its own that appears whole or not at all. Files
 * that are there and would come out the same stay: an interrupted run goes on where it was. Others, of another model or another cut, are
 * replaced: nothing is lost with them.
 */
#ifndef SLIP_JOBS_CONVERT_FOR_GPUS_H
#define SLIP_JOBS_CONVERT_FOR_GPUS_H

#include "io/checkpoint/checkpoint.h"
#include "jobs/convert/convert.h"

/* Can the model be cut so, and do GPUs take every shard? By the sizes and types of its datasets alone, on any rank, before anything is
 * written. SLIP_ERR_INPUT names the weight, or what else is refused. `bytes`: what all shards will take. Nothing is asked for: 0. */
slip_status slip_convert_check_gpus(const slip_convert_options *options, const slip_model *model, const slip_checkpoint *table,
                                    int64_t *bytes);

/* Lockstep on all ranks, once the model is at out_path. */
slip_status slip_convert_for_gpus(const slip_convert_options *options);

#endif
