/* libnccl.so.2 for the runtime of fake_cuda.cu: ranks that never meet. */
#include <nccl.h>
#include <stdlib.h>

typedef struct {
    int ranks, rank, stride;
} team;

struct ncclComm {
    team world;
};

#define NCCL(name, parameters, result) \
    __attribute__((visibility("default"))) ncclResult_t nccl##name parameters \
    { \
        return result; \
    }

static ncclResult_t make(ncclComm_t *comm, int ranks, int rank)
{
    *comm = malloc(sizeof **comm);
    if (!*comm)
        return ncclSystemError;
    (*comm)->world = (team){ranks, rank, 1};
    return ncclSuccess;
}

static ncclResult_t allocate(void **memory, size_t size)
{
    *memory = malloc(size);
    return *memory ? ncclSuccess : ncclSystemError;
}

NCCL(GetVersion, (int *version), (*version = NCCL_VERSION_CODE, ncclSuccess))
NCCL(GetUniqueId, (ncclUniqueId * id), (id->internal[0] = 1, ncclSuccess))
NCCL(CommInitRankConfig, (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config),
     ((void)id, (void)config, make(comm, ranks, rank)))
NCCL(CommGetAsyncError, (ncclComm_t comm, ncclResult_t *seen), ((void)comm, *seen = ncclSuccess, ncclSuccess))
NCCL(CommAbort, (ncclComm_t comm), (free(comm), ncclSuccess))
NCCL(CommDestroy, (ncclComm_t comm), (free(comm), ncclSuccess))
NCCL(AllGather, (const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream),
     ((void)from, (void)to, (void)count, (void)type, (void)comm, (void)stream, ncclSuccess))
NCCL(MemAlloc, (void **memory, size_t size), allocate(memory, size))
NCCL(MemFree, (void *memory), (free(memory), ncclSuccess))
NCCL(CommWindowRegister, (ncclComm_t comm, void *memory, size_t size, ncclWindow_t *window, int flags),
     ((void)comm, (void)size, (void)flags, *window = memory, ncclSuccess))
NCCL(CommWindowDeregister, (ncclComm_t comm, ncclWindow_t window), ((void)comm, (void)window, ncclSuccess))

/* The others are declared by nccl_device.h, which is C++. */
ncclResult_t ncclDevCommCreate(ncclComm_t comm, const void *needs, void *made);
ncclResult_t ncclDevCommDestroy(ncclComm_t comm, const void *made);
team ncclTeamLsa(ncclComm_t comm);

NCCL(DevCommCreate, (ncclComm_t comm, const void *needs, void *made), ((void)comm, (void)needs, (void)made, ncclSuccess))
NCCL(DevCommDestroy, (ncclComm_t comm, const void *made), ((void)comm, (void)made, ncclSuccess))

team ncclTeamLsa(ncclComm_t comm)
{
    return comm->world;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static char text[] = "NCCL error 0";
    text[sizeof text - 2] = (char)('0' + result);
    return text;
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "";
}
