/* slipstream merge: the results of batch --shard become one file. */
#ifndef SLIP_JOBS_MERGE_H
#define SLIP_JOBS_MERGE_H

#include "jobs/options/options.h"

/* SLIP_ERR_FAILED: requests are missing, there twice, foreign or changed; SLIP_ERR_SOME_FAILED: merged, but some were refused. */
slip_status slip_merge_run(const slip_options *options, int argc, char **argv);

#endif
