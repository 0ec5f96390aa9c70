/* The architecture that this build is for: the one place that names its folder, for plain C. arch.cuh is the same for device code. */
#ifndef SLIP_KERNELS_CUDA_ARCH_H
#define SLIP_KERNELS_CUDA_ARCH_H

#include "kernels/cuda/sm90/arch.h"

#endif
