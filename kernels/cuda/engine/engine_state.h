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
    GATHERED_SIZES = 7, // values of slip_gathered_rows()
    MAX_GRAPHS = 8 * GATHERED_SIZES,
};
static_assert(SLIP_TOKENS << (GATHERED_SIZES - 1) == SLIP_MAX_ROWS, "each step has a graph of its size");

static const double DEADLINE = 1.0, IDLE_DEADLINE = 3600.0; // seconds

typedef struct {
    int32_t first_op;
    int32_t rows; // gathered from each rank; 0: nothing is gathered
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

    slip_cuda_op *ops; // host copy of the list
    int32_t op_count;
    int32_t longest; // ops of the longest program that has run

    slip_cuda_step *steps;      // host, [SLIP_CUDA_STEPS]; number n in slot n % SLIP_CUDA_STEPS; with `launch` always the same slot
    slip_candidate *candidates; // host, [SLIP_CUDA_STEPS][SLIP_MAX_ROWS]
    slip::host_words *words;    // host
    slip_cuda_event *events;    // host, NULL without --profile
    int32_t *event_counts;
    int profiled; // runs of the longest program so far

    slip_windows *windows; // NULL: this rank is alone, or NCCL's host calls gather
    slip_nccl *nccl;       // with `launch` and other ranks, else NULL
    uint32_t epoch;        // of the last exchange
    uint32_t serial;       // of the last step that all ranks made together
    slip::kernel_parameters parameters;
    slip_cuda_op *device_ops; // NULL while the list is not on the device
    bool running, failed;
    unsigned posted;    // last step given to the kernel, by our host or rank 0's GPU
    unsigned waited;    // last step that the host has waited for
    double launched_ms; // host wall time of the last step with `launch`
    captured graphs[MAX_GRAPHS];
    int graph_count;
};

// Slots of steps in host memory: that of the next step, and that of the oldest in flight.
static inline int slip_cuda_engine_next_slot(const slip_cuda_engine *e)
{
    return (int)((e->posted + 1) % SLIP_CUDA_STEPS);
}

static inline int slip_cuda_engine_open_slot(const slip_cuda_engine *e)
{
    return (int)((e->waited + 1) % SLIP_CUDA_STEPS);
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

// Make the step in the next slot by launches.
slip_status slip_cuda_engine_run_graph(slip_cuda_engine *engine);

// Another rank failed: let it report first.
void slip_cuda_engine_let_cause_speak(void);
