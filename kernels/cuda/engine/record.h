/* What a wait that failed on the GPU left behind, in one sentence. */
#ifndef SLIP_KERNELS_CUDA_ENGINE_RECORD_H
#define SLIP_KERNELS_CUDA_ENGINE_RECORD_H

#ifdef __cplusplus
extern "C" {
#endif

#include "io/base/status.h"
#include "kernels/cuda/layout/step.h"

/* SLIP_ERR_FAILED. */
slip_status slip_cuda_record_failed(const slip_cuda_record *record);

#ifdef __cplusplus
}
#endif

#endif
