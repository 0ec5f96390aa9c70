/* What the engine owns on the host's side, shared by its files: engine.cu (device, memory), engine_run.cu (the resident kernel) and
 * engine_launch.cu (one op a launch). */
#pragma once

#include "comm/cuda_error.h"
#include "comm/nccl/host.h"
#include "comm/window.h"
#include "kernels/cuda/engine/engine.h"
#include "kernels/cuda/engine/kernel.h"

enum {
    MAX_BLOCKS = 8192,
    MAX_HOST_BLOCKS = 64,
    GATHERED_SIZES = 9, // values of slip_gathered_rows()
    MAX_GRAPHS = 8 * (GATHERED_SIZES + 3),
    MAX_BEGUN = 2 * SLIP_CUDA_STEPS,
};
static_assert(SLIP_TOKENS << (GATHERED_SIZES - 1) == SLIP_MAX_ROWS, "each step has a graph of its size");

static const double DEADLINE = 1.0, IDLE_DEADLINE = 3600.0; // seconds

// How a step is made.
typedef enum {
    SLIP_CUDA_NARROW, // one row group: by the resident kernel, unless --engine launch
    SLIP_CUDA_WIDE,   // by launches, with either engine (wide/)
    SLIP_CUDA_WHOLE   // and products leave whole sums: with so many rows, parts cost more than they give work to SMs
} slip_cuda_width;

typedef struct {
    int32_t first_op;
    int32_t rows; // gathered from each rank; 0: nothing is gathered
    slip_cuda_width width;
    bool many; // rows of its experts
    cudaGraphExec_t graph;
} captured;

struct slip_cuda_engine {
    slip_cuda_engine_options options;
    int owners, sms;
    char name[256];
    cudaStream_t stream;
    void *blocks[MAX_BLOCKS];
    int block_count;
    void *host_blocks[MAX_HOST_BLOCKS];
    int host_block_count;

    slip_cuda_op *ops; // host copy of the list, [2][op_count]: behind it as slip_cuda_whole() makes it
    int32_t op_count;
    int32_t longest; // ops of the longest program that has run

    slip_cuda_step *steps;      // host, [SLIP_CUDA_SLOTS]; the resident kernel's number n in slot n % SLIP_CUDA_STEPS
    slip_candidate *candidates; // host, [SLIP_CUDA_SLOTS][SLIP_MAX_LOGIT_ROWS]
    slip::host_words *words;    // host
    slip_cuda_event *events;    // host, NULL without --profile
    int32_t *event_counts;
    int profiled; // runs of the longest program so far

    slip_windows *windows; // NULL: this rank is alone, or NCCL's host calls gather
    slip_nccl *nccl;       // with `launch` and other ranks, else NULL
    uint32_t epoch;        // of the last exchange
    uint32_t serial;       // of the last step that all ranks made together
    slip::kernel_parameters parameters;
    slip_cuda_op *device_ops; // NULL while the list is not on the device; behind it lies the list of slip_cuda_whole()
    bool running, failed;
    unsigned posted;          // last step given to the kernel, by our host or rank 0's GPU
    unsigned begun, ended;    // steps, ever; those in between:
    unsigned made[MAX_BEGUN]; // the kernel's number; 0: it was made by launches
    double launched_ms;       // host wall time of the last of these
    captured graphs[MAX_GRAPHS];
    int graph_count;
};

// The slot of number `number` of the resident kernel.
static inline int slip_cuda_engine_slot(unsigned number)
{
    return (int)(number % SLIP_CUDA_STEPS);
}

static inline slip_cuda_width slip_cuda_width_of(const slip_cuda_step *step)
{
    return !slip_cuda_is_wide(step->rows) ? SLIP_CUDA_NARROW : step->rows <= SLIP_CUDA_WHOLE_ABOVE ? SLIP_CUDA_WIDE : SLIP_CUDA_WHOLE;
}

static inline double slip_cuda_engine_deadline(const slip_cuda_engine *e)
{
    return e->options.deadline > 0 ? e->options.deadline : DEADLINE;
}

// Make the resident kernel leave, if it runs: memory is allocated, ops are added and single ops are run without it.
void slip_cuda_engine_stop(slip_cuda_engine *engine);

void slip_cuda_engine_forget_graphs(slip_cuda_engine *engine);

// Copy the list of ops to the device, unless it is there.
slip_status slip_cuda_engine_upload_ops(slip_cuda_engine *engine);

// Make the step in the next slot by launches, while the resident kernel is away.
slip_status slip_cuda_engine_run_graph(slip_cuda_engine *engine);

// Another rank failed: let it report first.
void slip_cuda_engine_let_cause_speak(void);
