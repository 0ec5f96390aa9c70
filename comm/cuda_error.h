/* A CUDA call that failed, in one sentence: for .cu files. */
#ifndef SLIP_COMM_CUDA_ERROR_H
#define SLIP_COMM_CUDA_ERROR_H

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "io/base/status.h"

#ifdef __cplusplus
}
#endif

static inline slip_status slip_cuda_failed(cudaError_t error, const char *what)
{
    return slip_fail(SLIP_ERR_FAILED, "GPU: %s: %s", what, cudaGetErrorString(error));
}

/* Return from the function if the call fails; `what` it was for. */
#define SLIP_TRY_CUDA(call, what) \
    do { \
        cudaError_t error_ = (call); \
        if (error_ != cudaSuccess) \
            return slip_cuda_failed(error_, what); \
    } while (0)

#endif
