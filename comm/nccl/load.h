/* NCCL's host calls, found in libnccl when ranks on GPUs first need them: a build for GPUs also starts on machines that have no NCCL,
 * the login node of a cluster for instance. Device code comes from NCCL's headers and needs no library.
 *
 * For the .cu files of this folder. The types are those of nccl.h, so that a call whose signature changes no longer compiles.
 */
#pragma once

#include <nccl.h>
#include <nccl_device.h>

#include "comm/comm.h"

static_assert(NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 7), "windows in kernels need NCCL 2.28.7 or later");

/* clang-format off */
#define SLIP_NCCL_CALLS(CALL) \
    CALL(GetVersion) CALL(GetErrorString) CALL(GetLastError) CALL(GetUniqueId) CALL(CommInitRankConfig) \
    CALL(CommGetAsyncError) CALL(CommAbort) CALL(CommDestroy) CALL(AllGather) CALL(MemAlloc) CALL(MemFree) \
    CALL(CommWindowRegister) CALL(CommWindowDeregister) CALL(DevCommCreate) CALL(DevCommDestroy)
/* clang-format on */

struct slip_nccl_table {
#define SLIP_NCCL_POINTER(name) decltype(&nccl##name) name;
    SLIP_NCCL_CALLS(SLIP_NCCL_POINTER)
#undef SLIP_NCCL_POINTER
    ncclTeam_t (*TeamLsa)(ncclComm_t); // the header overloads this name for device code
};

/* All NULL before slip_nccl_load() has succeeded. */
extern slip_nccl_table slip_libnccl;

/* Load libnccl.so.2, from where the dynamic linker finds it, and fill the table; later calls return at once. SLIP_ERR_FAILED: there is no
 * such library, it lacks a call, or it is not of the version that this build's headers are of. */
slip_status slip_nccl_load(void);
