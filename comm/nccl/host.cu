/* The communicator and its host calls. slip_comm_agree() precedes each stage that all ranks enter together, so that a rank that failed before
 * does not leave the others waiting inside NCCL. */
#include "comm/nccl/host.h"

#include <stdlib.h>
#include <string.h>

#include "comm/nccl/state.h"

/* No multicast: NCCL would set it up although nobody uses it, and where the fabric forbids it, start-up fails. No thread and port
 * for its status service. No registration of captured buffers: ranks may need each other for it, and one of them may capture anew while
 * the others replay. A user's own setting wins. */
static void prepare_environment(void)
{
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    setenv("NCCL_RAS_ENABLE", "0", 0);
    setenv("NCCL_GRAPH_REGISTER", "0", 0);
}

static slip_status prepare(const slip_nccl *n, int device, ncclUniqueId *id)
{
    if (!n)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    prepare_environment();
    slip_status status = slip_nccl_load();
    if (status != SLIP_OK)
        return status;
    SLIP_TRY_CUDA(cudaSetDevice(device), "selecting the device");
    if (n->rank == 0)
        SLIP_TRY_NCCL(slip_libnccl.GetUniqueId(id), "making an id for the ranks to meet under");
    return SLIP_OK;
}

static slip_status start(slip_nccl *n, ncclUniqueId id)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclResult_t result = slip_libnccl.CommInitRankConfig(&n->handle, n->ranks, id, n->rank, &config);
    if (result == ncclInvalidUsage && strstr(slip_libnccl.GetLastError(NULL), "Duplicate GPU"))
        return slip_fail(SLIP_ERR_INPUT, "two ranks were given one GPU: start no more ranks on a node than it has GPUs (%s)",
                         slip_libnccl.GetLastError(NULL));
    if (result != ncclSuccess)
        return slip_nccl_failed(result, "connecting the ranks");
    return SLIP_OK;
}

extern "C" slip_status slip_nccl_open(slip_comm *comm, int device, slip_nccl **out)
{
    ncclUniqueId id;
    slip_nccl *n = (slip_nccl *)calloc(1, sizeof *n);
    if (n) {
        n->rank = slip_comm_rank(comm);
        n->ranks = slip_comm_ranks(comm);
    }
    slip_status status = slip_comm_agree(comm, prepare(n, device, &id));
    if (status == SLIP_OK)
        status = slip_comm_broadcast(comm, &id, sizeof id);
    /* Agree once more: MPI may leave a broadcast half done until the next call, and rank 0 is about to wait inside NCCL. */
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, SLIP_OK);
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, start(n, id));
    if (status != SLIP_OK) {
        slip_nccl_close(n, true);
        return status;
    }
    *out = n;
    return SLIP_OK;
}

extern "C" slip_status slip_nccl_allgather(slip_nccl *n, const float *from, float *to, size_t count, void *stream)
{
    SLIP_TRY_NCCL(slip_libnccl.AllGather(from, to, count, ncclFloat32, n->handle, (cudaStream_t)stream), "an all-gather");
    return SLIP_OK;
}

extern "C" slip_status slip_nccl_check(slip_nccl *n)
{
    ncclResult_t seen = ncclSuccess;
    SLIP_TRY_NCCL(slip_libnccl.CommGetAsyncError(n->handle, &seen), "asking for its state");
    if (seen != ncclSuccess && seen != ncclInProgress)
        return slip_nccl_failed(seen, "talking to the other ranks");
    return SLIP_OK;
}

extern "C" void slip_nccl_close(slip_nccl *n, bool failed)
{
    if (n && n->handle && failed)
        slip_libnccl.CommAbort(n->handle);
    else if (n && n->handle)
        slip_libnccl.CommDestroy(n->handle);
    free(n);
}
