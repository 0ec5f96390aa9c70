/* The engine: one GPU, its memory, and the kernel that is resident on it. Target and draft share one engine and so one kernel.
 *
 * The first run launches the kernel. It leaves when memory or ops are added, when a step has more rows than one row group (those are made by
 * launches), when it rests, when a wait on the GPU fails, or at the end. All
 * errors end in slip_fail() with one sentence; that of a failed wait names SM, role, op, layer, what was expected and what was seen.
 */
#ifndef SLIP_KERNELS_CUDA_ENGINE_ENGINE_H
#define SLIP_KERNELS_CUDA_ENGINE_ENGINE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "comm/comm.h"
#include "io/base/status.h"
#include "kernels/cuda/layout/op.h"
#include "kernels/cuda/layout/step.h"

typedef struct slip_cuda_engine slip_cuda_engine;

typedef struct {
    int gpu;             /* which of those that this process sees */
    bool launch;         /* one op a launch, in a CUDA graph; with several ranks NCCL's all-gathers between them */
    double deadline;     /* seconds of a wait on the GPU; 0: 1 s */
    const char *profile; /* Perfetto trace of one step; borrowed; NULL none */
    int drop_op;         /* fault injection: SM 1 drops its signal behind this op of the list; -1: none */
} slip_cuda_engine_options;

/* SLIP_ERR_INPUT: no GPU, a driver that is too old, an architecture that the kernels are not for. */
slip_status slip_cuda_engine_open(const slip_cuda_engine_options *options, slip_cuda_engine **engine);
void slip_cuda_engine_hold(slip_cuda_engine *engine);    /* one more owner */
void slip_cuda_engine_release(slip_cuda_engine *engine); /* the last one stops the kernel and frees all memory */

/* NULL, or the reason for which slip_cuda_engine_open() would fail on one of the first `here` GPUs. */
const char *slip_cuda_engine_why_not(int here);

/* There are GPUs, or a driver that fails: who runs here expects to use them. */
bool slip_cuda_engine_expected(void);

/* The UUID of the first GPU in hexadecimal digits; "" without one. */
void slip_cuda_engine_first(char name[SLIP_GPU_NAME]);

/* Bytes of the first GPU; 0 without one. */
double slip_cuda_engine_memory(void);

const char *slip_cuda_engine_name(const slip_cuda_engine *engine);
int slip_cuda_engine_sms(const slip_cuda_engine *engine);

/* Collective over the ranks of `comm`, before the first run: from now on all of them share sums of up to `rows` rows of `hidden` columns. The resident kernel exchanges through windows (comm/window.h: one NVLink domain), the launch engine through NCCL's host calls,
 * wherever the ranks are. */
slip_status slip_cuda_engine_join(slip_cuda_engine *engine, slip_comm *comm, int32_t rows, int32_t hidden);

/* The epoch before a step of `exchanges` exchanges; counts these. */
uint32_t slip_cuda_engine_epoch(slip_cuda_engine *engine, int32_t exchanges);

/* Zeroed device memory that lives as long as the engine. SLIP_ERR_FAILED says how much was wanted and how much is free. */
slip_status slip_cuda_engine_alloc(slip_cuda_engine *engine, size_t bytes, void **device);

/* Zeroed host memory that the GPU sees. */
slip_status slip_cuda_engine_alloc_host(slip_cuda_engine *engine, size_t bytes, void **host, void **device);

/* Host memory that copies to the GPU are fast from; not zeroed. NULL may be freed. */
slip_status slip_cuda_engine_alloc_pinned(slip_cuda_engine *engine, size_t bytes, unsigned char **host);
void slip_cuda_engine_free_pinned(slip_cuda_engine *engine, unsigned char *host);

/* Copies; the kernel must not be using what is written. */
slip_status slip_cuda_engine_upload(slip_cuda_engine *engine, void *device, const void *host, size_t bytes);
slip_status slip_cuda_engine_download(slip_cuda_engine *engine, void *host, const void *device, size_t bytes);

/* Append to the op list; *first is where. */
slip_status slip_cuda_engine_add(slip_cuda_engine *engine, const slip_cuda_op *ops, int32_t count, int32_t *first);

/* Host memory for the next step: fill it, then begin it. At most SLIP_CUDA_STEPS - 1 steps may be in flight. With `launch`, and of
 * more than one row group, beginning a step also makes it: those in flight end first. */
slip_cuda_step *slip_cuda_engine_step(slip_cuda_engine *engine);

/* `together`, of one row group: all ranks make the step, and rank 0 waits for the result of all. Rank 0's GPU distributes the step; what
 * the other hosts have filled in is ignored. */
slip_status slip_cuda_engine_begin(slip_cuda_engine *engine, bool together);

/* The result of a step. */
typedef struct {
    /* [logit rows], host memory, valid until SLIP_CUDA_STEPS more have been begun; of a step made together on rank 0 alone */
    const slip_candidate *candidates;
    uint32_t picked; /* experts that it read, over all layers and over the ranks that made it together */
    double busy_ms;  /* GPU time; with `launch`, host wall time */
} slip_cuda_result;

/* Wait for the oldest step that was begun. */
slip_status slip_cuda_engine_wait(slip_cuda_engine *engine, slip_cuda_result *result);

/* Drafts [logit rows] of the last step made by launches, whose SAMPLE is `op`, from `candidates` [logit rows][SLIP_SLICES] of all ranks. Host memory,
 * valid until the next step. */
slip_status slip_cuda_engine_walk(slip_cuda_engine *engine, int32_t op, const slip_candidate *candidates, int32_t logit_rows,
                                  const slip_candidate **drafts);

/* Run one op of the list on the step and wait, for looking at buffers between ops. */
slip_status slip_cuda_engine_run_op(slip_cuda_engine *engine, int32_t op);

/* No step comes for a while, and none is open: the resident kernel leaves. The next one starts it again. */
void slip_cuda_engine_rest(slip_cuda_engine *engine);

/* GB/s of a stream of weights through all SMs' rings, over a buffer beyond the caches; 0 when there is no memory for one or a call fails. */
double slip_cuda_engine_ceiling(slip_cuda_engine *engine);

#ifdef __cplusplus
}
#endif

#endif
