/* convert --for-gpus N: the shards of a model as N GPUs keep them, packed beside it (io/checkpoint/packed.h), so that loading copies them.
 *
 * Needs no GPU, and no build for one. Ranks pack shards side by side, each into a file of its own that appears whole or not at all. Files
 * that are there and would come out the same stay: an interrupted run goes on where it was. Others, of another model or another cut, are
 * replaced: nothing is lost with them.
 */
#ifndef SLIP_JOBS_CONVERT_FOR_GPUS_H
#define SLIP_JOBS_CONVERT_FOR_GPUS_H

#include "jobs/convert/convert.h"
#include "ranks/model/model.h"

/* Can the model be cut so? On any rank, before anything is written. Nothing is asked for: it can. */
slip_status slip_convert_check_gpus(const slip_convert_options *options, const slip_model *model);

/* Lockstep on all ranks, once the model is at out_path. */
slip_status slip_convert_for_gpus(const slip_convert_options *options);

#endif
