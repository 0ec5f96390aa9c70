/* What computes: --device, and what follows from it. */
#ifndef SLIP_JOBS_DEVICE_H
#define SLIP_JOBS_DEVICE_H

#include "jobs/options.h"
#include "kernels/executor.h"

/* The executor kind for a job of `ranks` ranks. Without --device: cuda where it is present and can serve so many. SLIP_ERR_INPUT
 * when it cannot, or when an option is the other device's. */
slip_status slip_device_choose(const slip_options *options, int ranks, const slip_executor_kind **kind);

#endif
