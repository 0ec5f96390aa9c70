/* Memory that all ranks' GPUs can reach: one arena a rank, mapped by all, for exchanges inside of a kernel (comm/exchange.h).
 *
 * NCCL finds the peers, maps the memory and checks that all ranks are in one NVLink domain; nothing of it runs afterwards. No
 * multicast. Open them before the resident kernel starts and close them after it has left: both allocate and synchronise. NCCL's calls have no
 * deadline here; a rank that fails before one tells the others first, and comm.h gives up ranks that wait for a silent one.
 *
 * A build without NCCL has the same functions, and opening fails with SLIP_ERR_INPUT.
 */
#ifndef SLIP_COMM_WINDOW_H
#define SLIP_COMM_WINDOW_H

#include "comm/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slip_windows slip_windows;

/* This build can open windows. */
bool slip_windows_built(void);

/* Collective: an arena of `bytes`, the same on all ranks, zeroed, on CUDA device `device`. When it returns, all arenas may be written
 * to. If it fails on one rank, it fails on all, with that rank's reason. SLIP_ERR_INPUT: ranks outside of one NVLink
 * domain, a GPU given to two ranks, more ranks than an exchange can have. SLIP_ERR_FAILED: the NCCL found is not the one built for,
 * memory, NCCL or CUDA failed. */
slip_status slip_windows_open(slip_comm *comm, int device, size_t bytes, slip_windows **out);

/* `ranks` arenas on one GPU, without NCCL or MPI: a kernel can play all ranks, for tests where there is only one GPU. */
slip_status slip_windows_emulate(int device, int ranks, size_t bytes, slip_windows **out);

/* [ranks]: where this GPU sees each rank's arena. Owned by the windows. */
void *const *slip_windows_peers(const slip_windows *windows);

/* NULL is allowed. No kernel may be using an arena, of this rank or of others. */
void slip_windows_close(slip_windows *windows);

#ifdef __cplusplus
}
#endif

#endif
