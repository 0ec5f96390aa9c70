/* Shared by nccl_host.cu and nccl_window.cu: the communicator, and errors in one sentence. */
#pragma once

#include <cuda_runtime.h>

#include "comm/nccl_host.h"
#include "comm/nccl_load.h"

struct slip_nccl {
    ncclComm_t handle;
    int rank, ranks;
};

static inline slip_status nccl_failed(ncclResult_t result, const char *what)
{
    return slip_fail(SLIP_ERR_FAILED, "NCCL: %s: %s (%s)", what, slip_libnccl.GetErrorString(result), slip_libnccl.GetLastError(NULL));
}

static inline slip_status cuda_failed(cudaError_t error, const char *what)
{
    return slip_fail(SLIP_ERR_FAILED, "GPU: %s: %s", what, cudaGetErrorString(error));
}

#define TRY_NCCL(call, what)                     \
    do {                                         \
        ncclResult_t result_ = (call);           \
        if (result_ != ncclSuccess)              \
            return nccl_failed(result_, what);   \
    } while (0)

#define TRY_CUDA(call, what)                     \
    do {                                         \
        cudaError_t error_ = (call);             \
        if (error_ != cudaSuccess)               \
            return cuda_failed(error_, what);    \
    } while (0)
