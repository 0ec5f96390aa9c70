/* Every call of NCCL that the program makes. It finds them by dlsym(), which the linker hands to us. */
#include <nccl.h>
#include <stdio.h>
#include <string.h>

#include "fail_cuda.h"

/* As in nccl_device.h, which is C++. */
typedef struct {
    int ranks, rank, stride;
} team;

#define DEFINE(type, name, parameters) \
    static type(*real_##name) parameters; \
    static type fail_##name parameters

/* A call that fails does nothing. */
#define NCCL(name, parameters, ...) \
    DEFINE(ncclResult_t, name, parameters) \
    { \
        return fail_cuda("nccl" #name) ? ncclSystemError : real_##name(__VA_ARGS__); \
    }

/* The other ranks have their part of it, and it fails here. What it makes is held from then on, and `undo` is done where it fails. */
#define MAKES(undo, name, parameters, ...) \
    DEFINE(ncclResult_t, name, parameters) \
    { \
        const fail_way way = fail_cuda("nccl" #name); \
        const ncclResult_t result = way == FAIL_STICKY ? ncclUnhandledCudaError : real_##name(__VA_ARGS__); \
        if (way != FAIL_ERROR || result != ncclSuccess) { \
            fail_cuda_hold("nccl" #name, result == ncclSuccess); \
            return result; \
        } \
        undo; \
        return ncclSystemError; \
    }

#define FREES(what, name, parameters, ...) \
    DEFINE(ncclResult_t, name, parameters) \
    { \
        const fail_way way = fail_cuda("nccl" #name); \
        const ncclResult_t result = way == FAIL_STICKY ? ncclUnhandledCudaError : real_##name(__VA_ARGS__); \
        fail_cuda_hold(what, -1); \
        return way ? ncclSystemError : result; \
    }

NCCL(GetVersion, (int *version), version)
NCCL(GetUniqueId, (ncclUniqueId * id), id)
NCCL(CommGetAsyncError, (ncclComm_t comm, ncclResult_t *seen), comm, seen)
NCCL(AllGather, (const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm, void *stream), from, to, count, type, comm,
     stream)
FREES("ncclMemAlloc", MemFree, (void *memory), memory)
FREES("ncclCommInitRankConfig", CommDestroy, (ncclComm_t comm), comm)
FREES("ncclCommWindowRegister", CommWindowDeregister, (ncclComm_t comm, void *window), comm, window)
FREES("ncclDevCommCreate", DevCommDestroy, (ncclComm_t comm, const void *made), comm, made)
MAKES((real_MemFree(*memory), *memory = NULL), MemAlloc, (void **memory, size_t size), memory, size)
MAKES(*window = NULL, CommWindowRegister, (ncclComm_t comm, void *memory, size_t size, void **window, int flags), comm, memory, size,
      window, flags)
MAKES((void)0, DevCommCreate, (ncclComm_t comm, const void *needs, void *made), comm, needs, made)

/* It undoes what is registered. */
DEFINE(ncclResult_t, CommAbort, (ncclComm_t comm))
{
    const fail_way way = fail_cuda("ncclCommAbort");
    fail_cuda_hold("ncclCommInitRankConfig", -1);
    fail_cuda_forget("ncclCommWindowRegister");
    fail_cuda_forget("ncclDevCommCreate");
    const ncclResult_t result = way == FAIL_STICKY ? ncclUnhandledCudaError : real_CommAbort(comm);
    return way ? ncclSystemError : result;
}
MAKES((real_CommAbort(*comm), *comm = NULL), CommInitRankConfig, (ncclComm_t * comm, int ranks, ncclUniqueId id, int rank, void *config),
      comm, ranks, id, rank, config)

DEFINE(team, TeamLsa, (ncclComm_t comm))
{
    fail_cuda("ncclTeamLsa");
    return real_TeamLsa(comm);
}
DEFINE(const char *, GetErrorString, (ncclResult_t result))
{
    return real_GetErrorString(result);
}
DEFINE(const char *, GetLastError, (ncclComm_t comm))
{
    return real_GetLastError(comm);
}

extern void *__real_dlsym(void *library, const char *name);
extern void *__wrap_dlsym(void *library, const char *name);

void *__wrap_dlsym(void *library, const char *name)
{
    void *found = __real_dlsym(library, name);
#define OURS(call) \
    if (strcmp(name, "nccl" #call) == 0) { \
        *(void **)&real_##call = found; \
        return found ? (void *)fail_##call : NULL; \
    }
    OURS(GetVersion)
    OURS(GetErrorString)
    OURS(GetLastError)
    OURS(GetUniqueId)
    OURS(CommInitRankConfig)
    OURS(CommGetAsyncError)
    OURS(CommAbort)
    OURS(CommDestroy)
    OURS(AllGather)
    OURS(MemAlloc)
    OURS(MemFree)
    OURS(CommWindowRegister)
    OURS(CommWindowDeregister)
    OURS(DevCommCreate)
    OURS(DevCommDestroy)
    OURS(TeamLsa)
    if (strncmp(name, "nccl", strlen("nccl")) != 0)
        return found;
    fprintf(stderr, "fail_cuda: %s is missing in fail_nccl_calls.c\n", name);
    return NULL;
}
