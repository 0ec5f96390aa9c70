/* An executor runs a program on steps. Every kind (cpu, later cuda) fills this table; ranks/ uses nothing else.
 *
 * An executor owns its weights (in its own layout), its buffers and its K/V caches; all of it is allocated by create(),
 * nothing in run(). Weights arrive one at a time, so that the checkpoint's form and ours exist together for one tensor only.
 */
#ifndef SLIP_KERNELS_EXECUTOR_H
#define SLIP_KERNELS_EXECUTOR_H

#include "comm/comm.h"
#include "io/status.h"
#include "ranks/program.h"

typedef struct slip_executor slip_executor;

/* What a run cost, for the figures. */
typedef struct {
    uint64_t weight_bytes; /* read, codes and scales: every matrix once, of the experts those that were picked */
} slip_run_cost;

typedef struct {
    const char *name;

    /* `program` is kept by reference. `comm` serves ALLREDUCE; NULL for a program on one rank. */
    slip_status (*create)(const slip_program *program, const slip_limits *limits, slip_comm *comm, slip_executor **executor);

    /* Hand over tensor `index`. Takes what it needs; the caller frees `weight` afterwards. */
    slip_status (*load)(slip_executor *executor, int32_t index, const slip_weight *weight);

    /* Run one phase on a step. A sequence's cache is addressed by position: what was written at or after a position that is
     * written again is gone, so rejected drafts need no undoing. */
    slip_status (*run)(slip_executor *executor, slip_phase phase, const slip_step *step, slip_run_cost *cost);

    /* Row `row` of an f32 buffer, valid until the next run; the host may write TAPS before an inject. */
    float *(*row)(slip_executor *executor, slip_buffer buffer, int32_t row);

    /* The best candidate of this rank's vocabulary rows for each head row of the last step, by the sampling rule. */
    void (*candidates)(slip_executor *executor, const slip_step *step, slip_candidate *candidates);

    void (*destroy)(slip_executor *executor);
} slip_executor_kind;

extern const slip_executor_kind slip_executor_cpu;

/* Bytes of K/V caches that create() will take, for the estimate before loading. */
uint64_t slip_cpu_cache_bytes(const slip_program *program, const slip_limits *limits);

#endif
