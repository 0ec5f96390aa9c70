/* Steps as a CUDA graph of launches, an op a launch or, of a wide step's products, a few: all steps with --engine launch, wide ones with
 * either engine. Either engine also runs single ops for looking at buffers. */
#include "kernels/cuda/engine/engine.h"

#include <sched.h>

#include "io/base/clock.h"
#include "kernels/cuda/engine/engine_state.h"
#include "kernels/cuda/engine/record.h"
#include "kernels/cuda/arch.cuh"
#include "kernels/cuda/wide/wide.h"

static const slip_cuda_step *launched(const slip_cuda_engine *e)
{
    return &e->steps[SLIP_CUDA_LAUNCHED];
}

// Is what was enqueued before this op of the step a kernel, and not a copy or an all-gather?
static bool kernel_before(const slip_cuda_engine *e, int32_t op)
{
    return op > launched(e)->first_op && e->ops[op - 1].kind != SLIP_CUDA_GATHER;
}

// Enqueue op `op` of the step, by a kernel of its own where wide steps have one. A step does not begin with a product. `host`: the op as it is
// in the list that begins at number `list`. `together`: all others of the step are enqueued, too.
static cudaError_t launch_op(slip_cuda_engine *e, const slip_cuda_op *host, int32_t list, int32_t op, bool together)
{
    slip::kernel_parameters parameters = e->parameters;
    parameters.ops = e->device_ops + list;
    const slip_cuda_width width = slip_cuda_width_of(launched(e));
    if (width != SLIP_CUDA_NARROW) {
        const slip::wide_ranks ranks = {parameters.exchange, parameters.words, parameters.host, parameters.timeout_cycles};
        const slip::wide_step step = {
            parameters.ops, parameters.step, &parameters.words->picked, launched(e)->rows, width == SLIP_CUDA_WHOLE, together, e->sms,
            e->stream,      &ranks};
        if (slip_cuda_is_product(host->kind))
            return slip::wide_enqueue(step, host, op);
        if (slip::wide_attention_takes(step, host))
            return slip::wide_attention_enqueue(step, *host, op);
        if (step.whole && slip::wide_rows_takes(*host))
            return slip::wide_rows_enqueue(step, *host, op, kernel_before(e, op));
    }
    void *arguments[] = {&parameters, &op};
    return slip::launch_behind(slip::launch_kernel_of(e->windows != NULL, e->nccl != NULL), e->sms, slip::kernel_threads(),
                               slip::kernel_shared_bytes(), e->stream, arguments, kernel_before(e, op));
}

// Enqueue one op and, behind a GATHER, the all-gather whose result the next op, a REDUCE_NORM, reads.
static slip_status enqueue_op(slip_cuda_engine *e, int32_t op, bool together)
{
    const int32_t list = slip_cuda_width_of(launched(e)) == SLIP_CUDA_WHOLE ? e->op_count : 0;
    const slip_cuda_op *host = &e->ops[list + op];
    SLIP_TRY_CUDA(launch_op(e, host, list, op, together), "launching an op");
    if (host->kind != SLIP_CUDA_GATHER)
        return SLIP_OK;
    const slip_cuda_partial *own = &host->gather.out, *all = &host[1].reduce_norm.terms.in;
    size_t count = (size_t)slip_gathered_rows(launched(e)->rows) * (size_t)own->stride;
    return slip_nccl_allgather(e->nccl, own->data, all->data, count, e->stream);
}

// Wait for the stream. An all-gather has no deadline of its own, and a rank that is gone never joins it.
static slip_status wait_enqueued(slip_cuda_engine *e, const char *what)
{
    cudaError_t error = e->nccl ? cudaErrorNotReady : cudaStreamSynchronize(e->stream);
    // For all gathers of a step, 0.05 s a row is enough with the largest model, 16 ranks and a network of 10 Gbit/s.
    const slip_cuda_step *step = launched(e);
    slip_timer timer = slip_timer_start(slip_now_s());
    const double limit = (4 + 0.05 * slip_gathered_rows(step->rows)) * slip_cuda_engine_deadline(e);
    while (error == cudaErrorNotReady && (error = cudaStreamQuery(e->stream)) == cudaErrorNotReady) {
        sched_yield(); // to NCCL's network threads
        slip_status status = slip_nccl_check(e->nccl);
        if (status != SLIP_OK) {
            slip_cuda_engine_let_cause_speak();
            return status;
        }
        if (slip_timer_read(&timer, slip_now_s()) > limit)
            return slip_fail(SLIP_ERR_FAILED, "GPU: %s: step %llu: waited %.1f s for other ranks' parts of its sums", what,
                             (unsigned long long)step->number, limit);
    }
    SLIP_TRY_CUDA(error, what);
    return e->words->record.set ? slip_cuda_record_failed(&e->words->record) : SLIP_OK;
}

// Does the op leave all that a walk needs? Else hosts bring together the candidates of all ranks first.
static bool walks_alone(const slip_cuda_op *op)
{
    return op->kind == SLIP_CUDA_SAMPLE && op->sample.walk.slots > 0 && op->sample.walk.alone;
}

static slip_status enqueue_walk(slip_cuda_engine *e, int32_t op)
{
    int slot = SLIP_CUDA_LAUNCHED;
    void *arguments[] = {&e->parameters, &op, &slot};
    SLIP_TRY_CUDA(cudaLaunchKernel((const void *)slip::walk_kernel, dim3(SLIP_MAX_SPANS), dim3((unsigned)slip::kernel_finish_threads()),
                                   arguments, 0, e->stream),
                  "launching the walk");
    return SLIP_OK;
}

// Enqueue what delivers the candidates of `op`, a SAMPLE.
static slip_status enqueue_finish(slip_cuda_engine *e, int32_t op)
{
    int slot = SLIP_CUDA_LAUNCHED;
    const int warps = slip::kernel_finish_threads() / 32, ctas = (launched(e)->logit_rows + warps) / warps; // a row a warp, and one more
    void *arguments[] = {&e->parameters, &op, &e->sms, &slot};
    SLIP_TRY_CUDA(cudaLaunchKernel((const void *)slip::finish_kernel, dim3((unsigned)ctas), dim3((unsigned)slip::kernel_finish_threads()),
                                   arguments, 0, e->stream),
                  "launching the last op");
    return walks_alone(&e->ops[op]) ? enqueue_walk(e, op) : SLIP_OK;
}

static slip_status enqueue_step(slip_cuda_engine *e)
{
    const slip_cuda_step *step = launched(e);
    int32_t first = step->first_op, last = first + step->op_count;
    SLIP_TRY_CUDA(cudaMemcpyAsync(e->parameters.step, step, sizeof *step, cudaMemcpyHostToDevice, e->stream), "copying the step");
    for (int32_t i = first; i < last; i++) {
        slip_status status = enqueue_op(e, i, true);
        if (status != SLIP_OK)
            return status;
    }
    return enqueue_finish(e, last - 1);
}

// What a graph is made for beside its ops and width: which kernels experts have.
static bool experts_are_many(const slip_cuda_engine *e)
{
    const slip_cuda_step *step = launched(e);
    for (int32_t i = step->first_op; i < step->first_op + step->op_count; i++)
        if (e->ops[i].kind == SLIP_CUDA_MOE_GATE_UP)
            return slip_slots_are_many(step->rows, e->ops[i].product.top_k, e->ops[i].product.all_experts);
    return false;
}

static slip_status capture(slip_cuda_engine *e, int32_t rows, captured *c)
{
    cudaGraph_t graph = NULL;
    // Relaxed: NCCL connects the ranks on first use, during the capture.
    SLIP_TRY_CUDA(cudaStreamBeginCapture(e->stream, cudaStreamCaptureModeRelaxed), "capturing the step");
    slip_status status = enqueue_step(e);
    cudaError_t error = cudaStreamEndCapture(e->stream, &graph);
    if (status != SLIP_OK) {
        cudaGraphDestroy(graph);
        return status;
    }
    SLIP_TRY_CUDA(error, "capturing the step");
    *c = captured{launched(e)->first_op, rows, slip_cuda_width_of(launched(e)), experts_are_many(e), NULL};
    error = cudaGraphInstantiate(&c->graph, graph, 0);
    cudaGraphDestroy(graph);
    SLIP_TRY_CUDA(error, "making a graph of the step");
    return SLIP_OK;
}

// Graphs read the step from one place.
static void take_step(slip_cuda_engine *e)
{
    e->steps[SLIP_CUDA_LAUNCHED] = *slip_cuda_engine_step(e);
}

static int find_graph(const slip_cuda_engine *e, int32_t rows)
{
    const slip_cuda_step *step = launched(e);
    const captured wanted = {step->first_op, rows, slip_cuda_width_of(step), experts_are_many(e), NULL};
    for (int i = 0; i < e->graph_count; i++) {
        const captured *had = &e->graphs[i];
        if (had->first_op == wanted.first_op && had->rows == wanted.rows && had->width == wanted.width && had->many == wanted.many)
            return i;
    }
    return e->graph_count;
}

slip_status slip_cuda_engine_run_graph(slip_cuda_engine *e)
{
    take_step(e); // before the kernel is stopped, by a step in the same slot
    slip_cuda_engine_stop(e);
    slip_status status = slip_cuda_engine_upload_ops(e);
    if (status != SLIP_OK)
        return status;
    int32_t rows = e->nccl ? slip_gathered_rows(launched(e)->rows) : 0;
    int i = find_graph(e, rows);
    if (i == MAX_GRAPHS)
        return slip_fail(SLIP_ERR_FAILED, "GPU: more than %d graphs of programs", MAX_GRAPHS);
    if (i == e->graph_count) {
        if ((status = capture(e, rows, &e->graphs[i])) != SLIP_OK)
            return status;
        e->graph_count++;
    }
    SLIP_TRY_CUDA(cudaGraphLaunch(e->graphs[i].graph, e->stream), "launching the step");
    status = wait_enqueued(e, "running the step");
    if (status == SLIP_OK)
        e->made[e->begun++ % MAX_BEGUN] = 0;
    return status;
}

void slip_cuda_engine_forget_graphs(slip_cuda_engine *e)
{
    for (int i = 0; i < e->graph_count; i++)
        cudaGraphExecDestroy(e->graphs[i].graph);
    e->graph_count = 0;
}

static slip_status run_op(slip_cuda_engine *e, int32_t op)
{
    take_step(e);
    slip_cuda_engine_stop(e);
    slip_status status = slip_cuda_engine_upload_ops(e);
    if (status == SLIP_OK)
        status = slip_cuda_engine_upload(e, e->parameters.step, launched(e), sizeof(slip_cuda_step));
    if (status == SLIP_OK)
        status = enqueue_op(e, op, false);
    if (status == SLIP_OK && e->ops[op].kind == SLIP_CUDA_SAMPLE)
        status = enqueue_finish(e, op);
    return status == SLIP_OK ? wait_enqueued(e, "running an op") : status;
}

extern "C" slip_status slip_cuda_engine_run_op(slip_cuda_engine *e, int32_t op)
{
    slip_status status = run_op(e, op);
    e->failed |= status != SLIP_OK;
    return status;
}

extern "C" slip_status slip_cuda_engine_walk(slip_cuda_engine *e, int32_t op, const slip_candidate *candidates, int32_t logit_rows,
                                             const slip_candidate **drafts)
{
    const size_t bytes = (size_t)logit_rows * SLIP_SLICES * sizeof *candidates;
    slip_cuda_engine_stop(e);
    slip_status status = slip_cuda_engine_upload(e, e->ops[op].sample.candidates, candidates, bytes);
    if (status == SLIP_OK)
        status = enqueue_walk(e, op);
    if (status == SLIP_OK)
        status = wait_enqueued(e, "walking through blocks");
    e->failed |= status != SLIP_OK;
    *drafts = e->candidates + SLIP_CUDA_LAUNCHED * SLIP_MAX_LOGIT_ROWS;
    return status;
}
