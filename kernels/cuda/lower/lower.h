/* From a program to the device's op list. Plain C: tested without a GPU.
 *
 * The program's ops are joined where one pass over the data serves several (ALLREDUCE, TAP and NORM), and split where SMs must meet
 * (ROUTE: product, then top-k; EXPERTS: up, then down). Each device op says which ops of the program it computes.
 */
#ifndef SLIP_KERNELS_CUDA_LOWER_LOWER_H
#define SLIP_KERNELS_CUDA_LOWER_LOWER_H

#ifdef __cplusplus
extern "C" {
#endif

#include "io/base/status.h"
#include "kernels/cuda/layout/op.h"
#include "kernels/cuda/layout/step.h"
#include "kernels/cuda/layout/weights.h"

/* Device memory allocated from one block. With base NULL it only counts. */
typedef struct {
    unsigned char *base;
    size_t used;
} slip_cuda_block;

void *slip_block_alloc(slip_cuda_block *block, size_t bytes); /* 256-byte aligned */

/* What a program is lowered with; everything is borrowed. */
typedef struct {
    const slip_program *program;
    const slip_limits *limits;
    const slip_cuda_tensor *tensors; /* [tensor_count] */
    const slip_cuda_cache *caches;   /* [cache_count] */
    const float *inverse_frequency[SLIP_MAX_ROPES];
    slip_cuda_taps taps;
    float *logits;                        /* host memory [logit_rows][vocabulary rows] as the device sees it */
    slip_histogram *histograms;           /* the same, [logit_rows]; NULL: no steps want any, nor are they sampled again */
    slip_likeliest *likeliest;            /* the same, [logit_rows] */
    const slip_cuda_adjusting *adjusting; /* the same */
    int32_t sms;
    int32_t absent_peers;
    int32_t ranks; /* that share sums; 1 or 0: this rank is alone */
    int32_t rank;  /* this one */
    bool gathered; /* with several ranks: by the host's all-gathers between ops, not inside REDUCE_NORM */
    bool watched;  /* some rank looks at what ops leave: each has all of it */
} slip_cuda_source;

/* The device's ops of a program, by phase. */
typedef struct {
    slip_cuda_op *ops; /* [count]; the caller frees */
    int32_t count;
    int32_t phase_first[SLIP_PHASES], phase_count[SLIP_PHASES]; /* for any step */
    int32_t whole_first[SLIP_PHASES], whole_count[SLIP_PHASES]; /* for steps without split runs (slip_cuda_step): fewer ops */
    int32_t exchanges[SLIP_PHASES];                             /* inside of the kernel, numbered from 1 in each phase */
    int32_t again, again_count; /* of steps that are sampled again for more than a draw, behind the phases: ADJUST and on, to a HISTOGRAM */
    int32_t sample;             /* a SAMPLE; a HISTOGRAM ends SLIP_PHASE_RUN where the source has room for histograms */
} slip_cuda_list;

/* All phases of the program. SLIP_ERR_INPUT for shapes that the engine does not take, naming them. `block` gives the buffers: call
 * once with base NULL to learn how much is used, then with that many zeroed bytes. */
slip_status slip_cuda_lower(const slip_cuda_source *source, slip_cuda_block *block, slip_cuda_list *list);

/* Fill in the step for the device: rows, logit rows and runs. The caller adds the ops. */
void slip_cuda_step_fill(const slip_program *program, const slip_step *step, slip_cuda_step *out);

/* What the step adjusts. `out` has room for all of it. */
void slip_cuda_step_list(const slip_step *step, slip_cuda_adjusting *out);

/* The op for steps whose products write whole sums: of what it reads and writes that were parts of sums, one part. A sum's bits are the same:
 * it is the same terms in the same order. */
slip_cuda_op slip_cuda_whole(slip_cuda_op op);

const char *slip_cuda_op_name(int32_t kind);

#ifdef __cplusplus
}
#endif

#endif
