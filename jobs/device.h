/* What computes: --device, and what follows from it. */
#ifndef SLIP_JOBS_DEVICE_H
#define SLIP_JOBS_DEVICE_H

#include "comm/comm.h"
#include "jobs/options/options.h"
#include "kernels/executor.h"

/* The executor kind for a job of `ranks` ranks, `here` of them with this one's GPUs. Without --device: cuda where there is one for each.
 * SLIP_ERR_INPUT when it cannot, or when an option is the other device's. Ranks may see different machines: they must agree. */
slip_status slip_device_choose(const slip_options *options, int ranks, int here, const slip_executor_kind **kind);

/* Lockstep: each rank looks at its own machine, and what rank 0 chooses is everybody's. */
slip_status slip_device_agree(const slip_options *options, slip_comm *comm, const slip_executor_kind **kind);

#endif
