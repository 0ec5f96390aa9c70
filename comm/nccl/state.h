/* Shared by nccl/host.cu and nccl/window.cu: the communicator, and errors in one sentence. */
#pragma once

#include "comm/cuda_error.h"
#include "comm/nccl/host.h"
#include "comm/nccl/load.h"

struct slip_nccl {
    ncclComm_t handle;
    int rank, ranks;
};

static inline slip_status slip_nccl_failed(ncclResult_t result, const char *what)
{
    return slip_fail(SLIP_ERR_FAILED, "NCCL: %s: %s (%s)", what, slip_libnccl.GetErrorString(result), slip_libnccl.GetLastError(NULL));
}

#define SLIP_TRY_NCCL(call, what) \
    do { \
        ncclResult_t result_ = (call); \
        if (result_ != ncclSuccess) \
            return slip_nccl_failed(result_, what); \
    } while (0)
