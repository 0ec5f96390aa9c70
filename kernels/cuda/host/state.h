/* What the CUDA executor owns, shared by its files: executor.c (the table), weights.c (load and fill), prepare.c (the op
 * list), watch.c (buffers for tests). */
#ifndef SLIP_KERNELS_CUDA_HOST_STATE_H
#define SLIP_KERNELS_CUDA_HOST_STATE_H

#include "kernels/cuda/engine/engine.h"
#include "kernels/cuda/lower/lower.h"
#include "kernels/executor.h"

typedef struct {
    slip_phase phase;
    bool together;  /* by all ranks' devices, without their hosts */
    int32_t sliced; /* logit rows whose candidates a walk waits for */
} slip_cuda_run_begun;

struct slip_executor {
    const slip_program *program;
    slip_limits limits;
    slip_executor_options options;
    slip_cuda_engine *engine; /* shared with the draft's executor */
    slip_cuda_weights weights;
    slip_cuda_cache *caches; /* [cache_count] */
    float *inverse_frequency[SLIP_MAX_ROPES];
    slip_cuda_taps taps;                            /* the target's ring; of a draft its target's */
    float *logits, *device_logits;                  /* host memory, and as the device sees it: [logit_rows][vocabulary rows] */
    slip_histogram *histograms, *device_histograms; /* the same: [logit_rows]; NULL: a draft's */
    slip_likeliest *likeliest, *device_likeliest;   /* the same */
    slip_cuda_adjusting *adjusting, *device_adjusting;
    slip_cuda_list list; /* its ops are the engine's from `first_op` on */
    int32_t first_op;
    slip_comm *comm;                             /* of the ranks that share its sums; NULL: alone */
    uint32_t begun, waited;                      /* runs, ever */
    slip_cuda_run_begun run[SLIP_MAX_IN_FLIGHT]; /* those in between */
    const slip_candidate *best;                  /* of the last one waited for */
    slip_candidate *sliced;                      /* the same, [logit rows][SLIP_SLICES], where hosts bring ranks' together for a walk */
    uint64_t expert_bytes;                       /* of one expert, the mean over layers' */
    uint64_t dense_bytes[SLIP_PHASES];           /* of all other matrices that a phase reads */
};

/* weights.c */
slip_status slip_cuda_place(slip_executor *executor, int32_t index, const slip_weight *form);
size_t slip_cuda_packed_bytes(const slip_executor *executor, int32_t index, int64_t rows);
void slip_cuda_pack(slip_executor *executor, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed);
slip_status slip_cuda_store(slip_executor *executor, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed);
slip_status slip_cuda_store_rows(slip_executor *executor, int32_t index, int64_t first, int64_t rows, const unsigned char *packed);
slip_status slip_cuda_packed_layout(const slip_executor *executor, uint64_t *layout);
slip_status slip_cuda_alloc_packed(slip_executor *executor, size_t bytes, unsigned char **packed);
void slip_cuda_free_packed(slip_executor *executor, unsigned char *packed);
slip_status slip_cuda_fill(slip_executor *executor, int32_t index, slip_dtype dtype, uint64_t seed);

/* prepare.c */
slip_status slip_cuda_prepare(slip_executor *executor);

/* watch.c: the values of the buffers that device op `op` of the list wrote, to the options' watch. */
slip_status slip_cuda_watch(slip_executor *executor, int32_t op, const slip_step *step);

#endif
