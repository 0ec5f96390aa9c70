/* Fault injection, for tests/gpu/faults.sh: one environment variable, read when an engine is opened.
 *
 *     SLIPSTREAM_DROP_SIGNAL=N   behind op N of the device's list, SM 1 never arrives at the grid barrier: a wait passes its deadline
 *
 * Anything but a number that an op can have is refused by name, and a fault that will be injected is announced on standard error.
 */
#ifndef SLIP_KERNELS_CUDA_HOST_FAULT_H
#define SLIP_KERNELS_CUDA_HOST_FAULT_H

#include "io/base/status.h"

/* *drop_op: the op, or -1 for none. SLIP_ERR_INPUT. */
slip_status slip_cuda_fault(int *drop_op);

#endif
