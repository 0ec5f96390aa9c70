/* Arenas over NVLink by NCCL's windows, or all on one GPU. */
#include <stdlib.h>
#include <string.h>

#include "comm/exchange.h"
#include "comm/nccl/state.h"
#include "comm/window.h"

struct slip_windows {
    int ranks;
    void *peer[SLIP_EXCHANGE_RANKS];
    slip_nccl *nccl; // NULL: emulated, and peer[] is what was allocated
    void *arena;
    ncclWindow_t window;
    ncclDevComm device;
    bool registered, created;
    bool failed; // while opening: peers may not join NCCL's collective calls
};

static const char use_launch[] = "use --engine launch";

static slip_status check_team(const slip_windows *w)
{
    int reach = slip_libnccl.TeamLsa(w->nccl->handle).nRanks;
    if (reach == w->ranks)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_INPUT, "the %d ranks are not in one NVLink domain (NCCL sees groups of %d): %s", w->ranks, reach, use_launch);
}

static slip_status alloc_arena(slip_windows *w, size_t bytes)
{
    ncclResult_t result = slip_libnccl.MemAlloc(&w->arena, bytes);
    if (result != ncclSuccess)
        return slip_fail(SLIP_ERR_FAILED, "NCCL: no %.1f MB of GPU memory for exchanges: %s (%s)", (double)bytes * 1e-6,
                         slip_libnccl.GetErrorString(result), slip_libnccl.GetLastError(NULL));
    SLIP_TRY_CUDA(cudaMemset(w->arena, 0, bytes), "clearing memory for exchanges");
    SLIP_TRY_CUDA(cudaDeviceSynchronize(), "clearing memory for exchanges");
    return SLIP_OK;
}

/* Where windows cannot be shared, NCCL 2.28 returns one that does not work, later versions NULL. Only a device communicator tells. */
static slip_status share_arena(slip_windows *w, size_t bytes)
{
#ifdef NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER
    ncclDevCommRequirements needs = NCCL_DEV_COMM_REQUIREMENTS_INITIALIZER;
#else
    ncclDevCommRequirements needs;
    memset(&needs, 0, sizeof needs);
#endif
    SLIP_TRY_NCCL(slip_libnccl.CommWindowRegister(w->nccl->handle, w->arena, bytes, &w->window, NCCL_WIN_COLL_SYMMETRIC),
                  "registering memory for exchanges");
    w->registered = w->window != NULL;
    ncclResult_t result = w->registered ? slip_libnccl.DevCommCreate(w->nccl->handle, &needs, &w->device) : ncclInvalidUsage;
    if (result == ncclInvalidUsage)
        return slip_fail(SLIP_ERR_INPUT, "the GPUs of the %d ranks cannot write to each other's memory (NCCL: %s): %s", w->ranks,
                         slip_libnccl.GetLastError(NULL), use_launch);
    if (result != ncclSuccess)
        return slip_nccl_failed(result, "making its device communicator");
    w->created = true;
    return SLIP_OK;
}

static __global__ void list_peers(ncclWindow_t window, void **peer)
{
    peer[threadIdx.x] = ncclGetLsaPointer(window, 0, (int)threadIdx.x);
}

static slip_status find_peers(slip_windows *w)
{
    void **table;
    SLIP_TRY_CUDA(cudaMalloc((void **)&table, sizeof w->peer), "allocating memory");
    void *arguments[] = {&w->window, &table};
    cudaError_t error = cudaLaunchKernel((const void *)list_peers, dim3(1), dim3((unsigned)w->ranks), arguments, 0, NULL);
    if (error == cudaSuccess)
        error = cudaMemcpy(w->peer, table, (size_t)w->ranks * sizeof *table, cudaMemcpyDeviceToHost);
    cudaFree(table);
    SLIP_TRY_CUDA(error, "asking for the other ranks' memory");
    return SLIP_OK;
}

static slip_status open_stages(slip_windows *w, slip_comm *comm, int device, size_t bytes)
{
    slip_status status = slip_nccl_open(comm, device, &w->nccl);
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, check_team(w));
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, alloc_arena(w, bytes)); // afterwards all arenas are zero
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, share_arena(w, bytes));
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, find_peers(w));
    return status;
}

static slip_windows *windows_of(int ranks)
{
    slip_windows *w = (slip_windows *)calloc(1, sizeof *w);
    if (w)
        w->ranks = ranks;
    return w;
}

extern "C" bool slip_windows_built(void)
{
    return true;
}

static slip_status check_ranks(int ranks)
{
    if (ranks <= SLIP_EXCHANGE_RANKS)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_INPUT, "%d ranks, and an exchange inside of a kernel has at most %d: %s", ranks, SLIP_EXCHANGE_RANKS,
                     use_launch);
}

extern "C" slip_status slip_windows_open(slip_comm *comm, int device, size_t bytes, slip_windows **out)
{
    slip_status status = check_ranks(slip_comm_ranks(comm));
    if (status != SLIP_OK)
        return status;
    slip_windows *w = windows_of(slip_comm_ranks(comm));
    status = slip_comm_agree(comm, w ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory"));
    if (status == SLIP_OK)
        status = open_stages(w, comm, device, bytes);
    if (status != SLIP_OK) {
        if (w)
            w->failed = true;
        slip_windows_close(w);
        return status;
    }
    *out = w;
    return SLIP_OK;
}

static slip_status alloc_arenas(slip_windows *w, int device, size_t bytes)
{
    SLIP_TRY_CUDA(cudaSetDevice(device), "selecting the device");
    for (int rank = 0; rank < w->ranks; rank++) {
        SLIP_TRY_CUDA(cudaMalloc(&w->peer[rank], bytes), "allocating memory for exchanges");
        SLIP_TRY_CUDA(cudaMemset(w->peer[rank], 0, bytes), "clearing memory for exchanges");
    }
    SLIP_TRY_CUDA(cudaDeviceSynchronize(), "clearing memory for exchanges");
    return SLIP_OK;
}

extern "C" slip_status slip_windows_emulate(int device, int ranks, size_t bytes, slip_windows **out)
{
    slip_status status = check_ranks(ranks);
    if (status != SLIP_OK)
        return status;
    slip_windows *w = windows_of(ranks);
    status = w ? alloc_arenas(w, device, bytes) : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status != SLIP_OK) {
        slip_windows_close(w);
        return status;
    }
    *out = w;
    return SLIP_OK;
}

extern "C" void *const *slip_windows_peers(const slip_windows *w)
{
    return w->peer;
}

/* In the order of NCCL's own example. A failed opening leaves the rest to ncclCommAbort(), which undoes what is registered. */
static void close_shared(slip_windows *w)
{
    if (w->created && !w->failed)
        slip_libnccl.DevCommDestroy(w->nccl->handle, &w->device);
    if (w->registered && !w->failed)
        slip_libnccl.CommWindowDeregister(w->nccl->handle, w->window);
    if (w->failed)
        slip_nccl_close(w->nccl, true);
    if (w->arena)
        slip_libnccl.MemFree(w->arena);
    if (!w->failed)
        slip_nccl_close(w->nccl, false);
}

extern "C" void slip_windows_close(slip_windows *w)
{
    if (w && w->nccl)
        close_shared(w);
    else if (w)
        for (int rank = 0; rank < w->ranks; rank++)
            cudaFree(w->peer[rank]); // NULL is allowed
    free(w);
}
