/* An executor runs a program on steps. Every kind (cpu, cuda) fills this table; ranks/ and coordinator/ use nothing else.
 *
 * An executor owns its weights (in its own layout), its buffers and its K/V caches; all of it is allocated by the end of prepare().
 * Weights arrive one at a time, and in pieces, so that the checkpoint's form and ours exist together for a few pieces only.
 */
#ifndef SLIP_KERNELS_EXECUTOR_H
#define SLIP_KERNELS_EXECUTOR_H

#include "comm/comm.h"
#include "io/base/status.h"
#include "ranks/model/sampling/histogram.h"
#include "ranks/model/sampling/likeliest.h"
#include "ranks/model/sampling/walk.h"

typedef struct slip_executor slip_executor;

/* What a run cost, for the metrics. */
typedef struct {
    uint64_t weight_bytes; /* read, codes and scales: every matrix once, of the experts those that were picked */
    double device_ms;      /* device time, by the device's own clock where it has one */
} slip_run_cost;

/* Called after an op has run, once for each row of the buffer it wrote: `values` [count], f32. */
typedef void (*slip_watch)(void *context, int32_t op, slip_buffer buffer, int32_t row, const float *values, int64_t count);

/* How an executor is made. Zero is the default of everything. */
typedef struct {
    slip_executor *target;  /* the draft's: the executor whose taps it reads. NULL (cpu alone): row() of TAPS, as the host has filled it */
    bool round_activations; /* cpu: round operands as the GPU does, so that ops can be compared closely (kernels/cpu/round.c) */
    bool launch;            /* cuda: one op a launch, captured in a CUDA graph, instead of the persistent kernel */
    int32_t absent_peers;   /* cuda: ranks whose part of every exchange is emulated by a local copy */
    double deadline;        /* cuda: seconds that a wait on the GPU may take; 0: the default */
    const char *profile;    /* cuda: write a Perfetto trace of one step to this file; borrowed */
    slip_watch watch;       /* called after every op whose result is kept; slows everything down. NULL: nobody looks */
    void *watch_context;
    bool watched; /* some rank looks: the others must not run ahead of it */
} slip_executor_options;

typedef struct {
    const char *name;

    /* `program` is kept by reference. `comm` serves ALLREDUCE; NULL for a program on one rank. With one, all ranks run the same
     * sequence of phases, those of a draft beside its target among them. A target keeps its taps by (sequence, position), in a ring as
     * deep as the draft's window and a step, and the draft's inject phase reads them there: its step needs only spans. */
    slip_status (*create)(const slip_program *program, const slip_limits *limits, slip_comm *comm, const slip_executor_options *options,
                          slip_executor **executor);

    /* Collective, once all ranks of a program's `comm` have their executors: meet. If it fails on one rank, it fails on all. NULL: create()
     * is enough. */
    slip_status (*join)(slip_executor *executor);

    /* Tensor `index` will come in this form, whose data is not there yet: make room. */
    slip_status (*place)(slip_executor *executor, int32_t index, const slip_weight *form);

    /* Bytes of so many rows of an expert of a placed tensor on their way to a device. NULL: nothing is on a way, pack() writes where it stays. */
    size_t (*packed_bytes)(const slip_executor *executor, int32_t index, int64_t rows);

    /* A matrix that is not stacked may come in pieces of its rows, each but the last a multiple of so many. 0: all come whole. */
    int32_t row_unit;

    /* Bring expert `from` of a piece, the tensor's expert `to`, into our order, at `packed` [packed_bytes]. In any thread, in several at a
     * time, and not for longer than `piece` lives. */
    void (*pack)(slip_executor *executor, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed);

    /* Bytes [first, first + bytes) of a tensor's packed experts, one behind the other: send them there. */
    slip_status (*store)(slip_executor *executor, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed);

    /* The same of rows [first, first + rows) of a matrix that is not stacked, which were packed together; pieces come in their order. NULL
     * where packed_bytes is. */
    slip_status (*store_rows)(slip_executor *executor, int32_t index, int64_t first, int64_t rows, const unsigned char *packed);

    /* All tensors are placed: what decides their packed bytes, beside their values, in one word. Whatever was packed under the same word may
     * be stored. NULL: packed bytes are not worth keeping. */
    slip_status (*packed_layout)(const slip_executor *executor, uint64_t *layout);

    /* Memory that a device reads fast, for `packed`. NULL where packed_bytes is. */
    slip_status (*alloc_packed)(slip_executor *executor, size_t bytes, unsigned char **packed);
    void (*free_packed)(slip_executor *executor, unsigned char *packed);

    /* Instead of all that: fill tensor `index` with random values of this encoding at the scale of a trained model. NULL: cannot. */
    slip_status (*fill)(slip_executor *executor, int32_t index, slip_dtype dtype, uint64_t seed);

    /* All weights are there. With a `comm` of several ranks lockstep, and all have got here. */
    slip_status (*prepare)(slip_executor *executor);

    /* Begin one phase on a step, which is read before this returns. A step that is sampled `again` is the last SLIP_PHASE_RUN. A sequence's
     * cache is addressed by position: what was written at or after a position that is written again is gone, so rejected drafts need no
     * undoing. */
    slip_status (*begin)(slip_executor *executor, slip_phase phase, const slip_step *step);

    /* Wait for a run. Runs end in the order in which they were begun, over all executors that share a device (FIFO): whoever calls must
     * have begun the oldest. */
    slip_status (*wait)(slip_executor *executor, slip_run_cost *cost);

    /* Rows of a prompt in one step: more gain little. */
    int32_t prompt_rows;

    /* Runs like this step that may be begun before the first is waited for, at most SLIP_MAX_IN_FLIGHT; with more than one, tokens may be
     * SLIP_TOKEN_OF_LOGIT_ROW. NULL: one. */
    int (*max_in_flight)(const slip_executor *executor, const slip_step *step);

    /* Ranks make this step together: rank 0's device distributes the step and collects the best candidates and the mean cost of all; logits are
     * every rank's own. All hosts begin and wait as ever, only to notice failures (ranks/runner.h). NULL: no. */
    bool (*device_collects)(const slip_executor *executor, const slip_step *step);

    /* No run will come for a while, and none is open: a device need not go on waiting for one. The next begin() wakes it. NULL: it waits
     * without effort. */
    void (*rest)(slip_executor *executor);

    /* Row `row` of an f32 buffer, valid until the next run. The cuda executor has LOGITS alone, and only of a step that wanted them, `again`
     * of rows that are not left out. */
    float *(*row)(slip_executor *executor, slip_buffer buffer, int32_t row);

    /* The best candidate of this rank's vocabulary rows for each logit row of the last step waited for, by the sampling rule. */
    void (*candidates)(slip_executor *executor, const slip_step *step, slip_candidate *candidates);

    /* Candidates of each logit row of a step, one behind the other: one; or, of a draft with an in-block head, one a slice of the vocabulary,
     * SLIP_SLICES of them, for walk(). NULL, as is walk(): one. */
    int32_t (*row_candidates)(const slip_executor *executor, const slip_step *step);

    /* Rank 0: from the best candidates over all ranks of the last step waited for, [logit rows][SLIP_SLICES], to its drafts [logit rows]. */
    slip_status (*walk)(slip_executor *executor, const slip_step *step, const slip_candidate *candidates, slip_candidate *drafts);

    /* The histogram of this rank's vocabulary rows, for a logit row that filters apply to, of the last step waited for that wanted them;
     * valid until the next such step. Those of all rows lie one behind the other. NULL: steps do not want histograms, and filters need whole
     * rows. */
    const slip_histogram *(*histogram)(const slip_executor *executor, int32_t row);

    /* What logprobs need of this rank's vocabulary rows, of a logit row of the last step waited for, which wanted it; valid until the next
     * step. NULL: steps are sampled `again` neither for that nor with adjustments, and bias, penalties and logprobs need whole rows. */
    const slip_likeliest *(*likeliest)(const slip_executor *executor, int32_t row);

    /* GB/s at which this device reads memory, for the metrics; 0 = unknown. */
    double (*stream_ceiling)(slip_executor *executor);

    /* Bytes of K/V caches that create() will take, for the estimate before loading. */
    uint64_t (*cache_bytes)(const slip_program *program, const slip_limits *limits);

    /* Bytes of the device's memory that create() and prepare() will take beside weights and caches: taps, buffers for a step's rows, and what
     * `ranks` ranks exchange. `forms` [tensor_count]: as place() will get them. 0 for a program that create() or prepare() will refuse. */
    uint64_t (*work_bytes)(const slip_program *program, const slip_limits *limits, const slip_weight *forms, int32_t ranks);

    /* How often each expert was picked since create(), over all rows of all steps, rejected drafts among them: [SLIP_MAX_LAYERS, experts] of
     * the whole model, live. NULL, here or returned: not counted. */
    const int64_t *(*expert_picks)(const slip_executor *executor);

    /* What computes, for the metrics: "NVIDIA H200"; valid as long as the executor. */
    const char *(*device)(const slip_executor *executor);

    void (*destroy)(slip_executor *executor);
} slip_executor_kind;

enum { SLIP_MAX_IN_FLIGHT = 3, SLIP_CPU_PROMPT_ROWS = 64, SLIP_CUDA_PROMPT_ROWS = SLIP_MAX_ROWS };

static inline int slip_executor_max_in_flight(const slip_executor_kind *kind, const slip_executor *executor, const slip_step *step)
{
    return kind->max_in_flight ? kind->max_in_flight(executor, step) : 1;
}

static inline bool slip_executor_device_collects(const slip_executor_kind *kind, const slip_executor *executor, const slip_step *step)
{
    return kind->device_collects && kind->device_collects(executor, step);
}

static inline int32_t slip_executor_row_candidates(const slip_executor_kind *kind, const slip_executor *executor, const slip_step *step)
{
    return kind->row_candidates ? kind->row_candidates(executor, step) : 1;
}

/* Begin, and wait. */
static inline slip_status slip_executor_run(const slip_executor_kind *kind, slip_executor *executor, slip_phase phase,
                                            const slip_step *step, slip_run_cost *cost)
{
    slip_status status = kind->begin(executor, phase, step);
    return status == SLIP_OK ? kind->wait(executor, cost) : status;
}

extern const slip_executor_kind slip_executor_cpu;

/* Packs for GPUs on a machine that needs none, and keeps nothing: what a GPU would be sent goes to `store` of its sink, a tensor after the
 * other, each from its first byte to its last. It runs no step. For that order it holds a matrix that comes in pieces of its rows, since
 * chunks of columns lie apart, until it is whole. Its prepare() says whether the engine takes the program, once all tensors are placed. */
typedef struct {
    slip_status (*store)(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed);
    void *context;
    bool any_order; /* `store` takes a tensor's bytes in any order, as a device does */
} slip_packer_sink;

extern const slip_executor_kind slip_executor_packer; /* its create() is the function below */
slip_status slip_packer_create(const slip_program *program, const slip_packer_sink *sink, slip_executor **executor);

/* The GPU's. In a build without CUDA its create() fails with one clear line. slip_cuda_present(): this build has it and the
 * machine has GPUs that it runs on, enough for a job of `ranks` ranks of which `here` see the same ones; `why_not` (never NULL) says
 * what is missing otherwise. slip_cuda_expected(): this build has it, and the machine has GPUs or a driver that fails.
 * slip_cuda_first(): the name of the first GPU, for slip_comm_set_gpu(). */
extern const slip_executor_kind slip_executor_cuda;
bool slip_cuda_present(int ranks, int here, const char **why_not);
bool slip_cuda_expected(void);
void slip_cuda_first(char name[SLIP_GPU_NAME]);
double slip_cuda_memory(void); /* bytes of the first GPU; 0: there is none */

#endif
