/* NCCL's host calls: one communicator over all ranks, and an all-gather for engines that launch one op at a time. It works across
 * nodes, over whatever network NCCL finds, and may be captured in a CUDA graph. Sums are the caller's, in rank order: ncclAllReduce
 * changes its order with the size of the message.
 *
 * A build without NCCL has the same functions, and opening fails with SLIP_ERR_INPUT.
 */
#ifndef SLIP_COMM_NCCL_HOST_H
#define SLIP_COMM_NCCL_HOST_H

#include "comm/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slip_nccl slip_nccl;

/* Collective: the ranks of `comm`, this one on CUDA device `device`. If it fails on one rank, it fails on all, with that rank's
 * reason. SLIP_ERR_INPUT: a GPU given to two ranks. SLIP_ERR_FAILED: the NCCL found is not the one built for, or NCCL failed. */
slip_status slip_nccl_open(slip_comm *comm, int device, slip_nccl **out);

/* Enqueue: each rank's `from` [count] f32 to `to` [ranks][count] of all, in rank order; device memory. `stream`: a cudaStream_t. All ranks
 * enqueue the same calls in the same order. SLIP_ERR_FAILED with NCCL's words. */
slip_status slip_nccl_allgather(slip_nccl *nccl, const float *from, float *to, size_t count, void *stream);

/* SLIP_OK, or an error that NCCL has noticed meanwhile, such as a lost peer: call it while waiting for the stream. */
slip_status slip_nccl_check(slip_nccl *nccl);

/* NULL is allowed. `failed`: an all-gather may be waiting for a peer that does not come; it is given up instead of waited for. */
void slip_nccl_close(slip_nccl *nccl, bool failed);

#ifdef __cplusplus
}
#endif

#endif
