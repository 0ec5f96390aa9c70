/* The host's side of the engine: the kernel that stays, and the steps it makes. */
#include "kernels/cuda/engine/engine.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/base/clock.h"
#include "kernels/cuda/engine/engine_state.h"
#include "kernels/cuda/lower/lower.h"
#include "kernels/cuda/host/profile.h"
#include "kernels/cuda/sm90/stream.h"

enum { PROFILED_STEP = 12 };

// ---- what a record says ----

static const char *role_name(int role)
{
    static const char *const names[SLIP_ROLES] = {"producer", "consumers", "control"};
    return role >= 0 && role < SLIP_ROLES ? names[role] : "?";
}

static const char *wait_name(int wait)
{
    static const char *const names[SLIP_WAITS] = {
        "nothing", "all SMs at the end of the op", "another rank", "a stage of weights", "room in the ring", "the list of experts",
        "the end of the product before", "the next step",
    };
    return wait >= 0 && wait < SLIP_WAITS ? names[wait] : "?";
}

static slip_status record_failed(const slip_cuda_record *r)
{
    if (r->wait == SLIP_WAIT_PEER)
        return slip_fail(SLIP_ERR_FAILED, "GPU: rank %d does not send its part: step %llu, op %d (%s), layer %d: expected %u, seen %u "
                         "(SM %d)", r->peer, (unsigned long long)r->step, r->op, slip_cuda_op_name(r->kind), r->layer, r->expected, r->seen, r->sm);
    return slip_fail(SLIP_ERR_FAILED, "GPU: SM %d, %s: waited too long for %s: step %llu, op %d (%s), layer %d: expected %u, seen %u", r->sm,
                     role_name(r->role), wait_name(r->wait), (unsigned long long)r->step, r->op, slip_cuda_op_name(r->kind), r->layer,
                     r->expected, r->seen);
}

// ---- steps in host memory ----

static int next_slot(const slip_cuda_engine *e)
{
    return (int)((e->posted + 1) % SLIP_CUDA_STEPS);
}

extern "C" slip_cuda_step *slip_cuda_engine_step(slip_cuda_engine *e)
{
    return &e->steps[next_slot(e)];
}

// The oldest that has not been waited for.
static int open_slot(const slip_cuda_engine *e)
{
    return (int)((e->waited + 1) % SLIP_CUDA_STEPS);
}

// ---- starting and stopping the kernel ----

static double deadline(const slip_cuda_engine *e)
{
    return e->options.deadline > 0 ? e->options.deadline : DEADLINE;
}

// The kernel has left or is about to: wait for it, with a deadline.
static cudaError_t wait_left(slip_cuda_engine *e, double limit)
{
    cudaError_t error;
    for (double start = slip_now_s(); (error = cudaStreamQuery(e->stream)) == cudaErrorNotReady && slip_now_s() - start < limit;)
        ;
    return error;
}

void slip_cuda_engine_stop(slip_cuda_engine *e)
{
    if (!e->running)
        return;
    e->running = false;
    slip_cuda_step *end = slip_cuda_engine_step(e);
    end->stop = 1;
    end->serial = 0;
    __atomic_store_n(&e->words->post, ++e->posted, __ATOMIC_RELEASE);
    e->waited = e->posted;
    if (wait_left(e, 2) == cudaErrorNotReady)
        __atomic_store_n(&e->words->abort, 1u, __ATOMIC_RELEASE);
    wait_left(e, 2);
}

extern "C" void slip_cuda_engine_rest(slip_cuda_engine *e)
{
    slip_cuda_engine_stop(e);
}

static slip_status upload_ops(slip_cuda_engine *e)
{
    void *device;
    if (e->device_ops)
        return SLIP_OK;
    slip_status status = slip_cuda_engine_take(e, (size_t)e->op_count * sizeof *e->ops, &device);
    if (status == SLIP_OK)
        status = slip_cuda_engine_upload(e, device, e->ops, (size_t)e->op_count * sizeof *e->ops);
    if (status == SLIP_OK)
        e->parameters.ops = e->device_ops = (slip_cuda_op *)device;
    return status;
}

static slip_status start_kernel(slip_cuda_engine *e)
{
    slip_status status = upload_ops(e);
    if (status != SLIP_OK || e->running)
        return status;
    SLIP_TRY_CUDA(cudaMemsetAsync(e->parameters.words, 0, sizeof *e->parameters.words, e->stream), "clearing the barrier");
    memset((void *)e->words, 0, sizeof *e->words);
    e->parameters.made = e->words->post = e->words->done = e->posted;
    e->parameters.serial = e->serial;
    // All CTAs are resident: one an SM, by its shared memory. A cooperative launch makes sure of it.
    void *arguments[] = {&e->parameters};
    SLIP_TRY_CUDA(cudaLaunchCooperativeKernel(slip::persistent_kernel_of(e->windows != NULL), dim3((unsigned)e->sms),
                                    dim3((unsigned)slip::kernel_threads()), arguments, slip::kernel_shared_bytes(), e->stream),
        "starting the kernel");
    e->running = true;
    return SLIP_OK;
}

void slip_cuda_engine_forget_graphs(slip_cuda_engine *e)
{
    for (int i = 0; i < e->graph_count; i++)
        cudaGraphExecDestroy(e->graphs[i].graph);
    e->graph_count = 0;
}

// ---- ops and steps ----

extern "C" slip_status slip_cuda_engine_add(slip_cuda_engine *e, const slip_cuda_op *ops, int32_t count, int32_t *first)
{
    slip_cuda_engine_stop(e);
    slip_cuda_op *grown = (slip_cuda_op *)realloc(e->ops, (size_t)(e->op_count + count) * sizeof *grown);
    if (!grown)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d ops", count);
    memcpy(grown + e->op_count, ops, (size_t)count * sizeof *ops);
    *first = e->op_count;
    e->ops = grown;
    e->op_count += count;
    e->device_ops = NULL;
    slip_cuda_engine_forget_graphs(e);
    return SLIP_OK;
}

// Another rank failed: it should speak first.
static void let_cause_speak(void)
{
    const struct timespec moment = {1, 0};
    nanosleep(&moment, NULL);
}

// The kernel did not answer: why, in one sentence.
static slip_status explain(slip_cuda_engine *e)
{
    cudaError_t error = wait_left(e, 2);
    e->running = false;
    e->failed = true;
    if (e->words->record.set)
        return record_failed(&e->words->record);
    if (e->words->left_by) {
        let_cause_speak();
        return slip_fail(SLIP_ERR_FAILED, "GPU: rank %u failed, and this rank left with it", e->words->left_by - 1);
    }
    if (error != cudaSuccess && error != cudaErrorNotReady)
        return slip_cuda_failed(error, "the kernel stopped");
    return slip_fail(SLIP_ERR_FAILED, "GPU: step %llu did not end, and no wait on the GPU says why",
                     (unsigned long long)e->steps[open_slot(e)].number);
}

// The kernel has been told to make the next step, or rank 0's GPU tells it.
static slip_status begin_persistent(slip_cuda_engine *e, bool together)
{
    slip_status status = start_kernel(e);
    if (status != SLIP_OK)
        return status;
    assert(e->posted - e->waited < SLIP_CUDA_STEPS - 1);
    slip_cuda_step *step = slip_cuda_engine_step(e);
    step->serial = together ? (e->serial = slip_exchange_epoch_after(e->serial, 1)) : 0;
    e->posted++;
    if (!together || e->parameters.exchange.rank == 0)
        __atomic_store_n(&e->words->post, e->posted, __ATOMIC_RELEASE);
    return SLIP_OK;
}

static slip_status wait_persistent(slip_cuda_engine *e)
{
    enum { LOOK = 1 << 14 }; // polls between looks at the stream and the clock
    // The kernel's own deadlines are far shorter: this one is for a kernel that cannot answer at all.
    double start = slip_now_s(), limit = 30 + 20 * (double)e->steps[open_slot(e)].rows * deadline(e);
    unsigned number = e->waited + 1;
    for (unsigned tries = 1; (int)(__atomic_load_n(&e->words->done, __ATOMIC_ACQUIRE) - number) < 0; tries++) {
        if (tries % LOOK != 0)
            continue;
        if (*(volatile int32_t *)&e->words->record.set || *(volatile unsigned *)&e->words->left_by ||
            cudaStreamQuery(e->stream) != cudaErrorNotReady)
            return explain(e);
        if (slip_now_s() - start > limit) {
            __atomic_store_n(&e->words->abort, 1u, __ATOMIC_RELEASE);
            return explain(e);
        }
    }
    return SLIP_OK;
}

// One op and, behind a GATHER, the all-gather to what the REDUCE_NORM that follows reads.
static slip_status enqueue_op(slip_cuda_engine *e, int32_t op)
{
    void *arguments[] = {&e->parameters, &op};
    SLIP_TRY_CUDA(cudaLaunchKernel(slip::launch_kernel_of(e->windows != NULL, e->nccl != NULL), dim3((unsigned)e->sms),
                         dim3((unsigned)slip::kernel_threads()), arguments, slip::kernel_shared_bytes(), e->stream),
        "launching an op");
    if (e->ops[op].kind != SLIP_CUDA_GATHER)
        return SLIP_OK;
    const slip_cuda_partial *own = &e->ops[op].gather.out, *all = &e->ops[op + 1].reduce_norm.terms.in;
    size_t count = (size_t)slip_gathered_rows(slip_cuda_engine_step(e)->rows) * (size_t)own->stride;
    return slip_nccl_allgather(e->nccl, own->data, all->data, count, e->stream);
}

// The stream's work is done. An all-gather has no deadline of its own, and a rank that is gone never comes to it.
static slip_status wait_enqueued(slip_cuda_engine *e, const char *what)
{
    cudaError_t error = e->nccl ? cudaErrorNotReady : cudaStreamSynchronize(e->stream);
    // All of a step's gathers: 0.05 s a row is enough for the largest model, 16 ranks and a network of 10 Gbit/s.
    const slip_cuda_step *step = slip_cuda_engine_step(e);
    double start = slip_now_s(), limit = (4 + 0.05 * slip_gathered_rows(step->rows)) * deadline(e);
    while (error == cudaErrorNotReady && (error = cudaStreamQuery(e->stream)) == cudaErrorNotReady) {
        sched_yield(); // to NCCL's threads, where a network has some
        slip_status status = slip_nccl_check(e->nccl);
        if (status != SLIP_OK) {
            let_cause_speak();
            return status;
        }
        if (slip_now_s() - start > limit)
            return slip_fail(SLIP_ERR_FAILED, "GPU: %s: step %llu: waited %.1f s for other ranks' parts of its sums", what,
                             (unsigned long long)step->number, limit);
    }
    SLIP_TRY_CUDA(error, what);
    return e->words->record.set ? record_failed(&e->words->record) : SLIP_OK;
}

static slip_status enqueue_step(slip_cuda_engine *e)
{
    const slip_cuda_step *step = slip_cuda_engine_step(e);
    int32_t first = step->first_op, last = first + step->op_count;
    SLIP_TRY_CUDA(cudaMemcpyAsync(e->parameters.step, step, sizeof *step, cudaMemcpyHostToDevice, e->stream), "copying the step");
    for (int32_t i = first; i < last; i++) {
        slip_status status = enqueue_op(e, i);
        if (status != SLIP_OK)
            return status;
    }
    slip::finish_kernel<<<1, (unsigned)slip::kernel_finish_threads(), 0, e->stream>>>(e->parameters, last - 1, e->sms, next_slot(e));
    SLIP_TRY_CUDA(cudaGetLastError(), "launching the last op");
    return SLIP_OK;
}

static slip_status capture(slip_cuda_engine *e, int32_t rows, captured *c)
{
    cudaGraph_t graph = NULL;
    // Relaxed: NCCL connects the ranks when they first need it, in here.
    SLIP_TRY_CUDA(cudaStreamBeginCapture(e->stream, cudaStreamCaptureModeRelaxed), "capturing the step");
    slip_status status = enqueue_step(e);
    cudaError_t error = cudaStreamEndCapture(e->stream, &graph);
    if (status != SLIP_OK) {
        cudaGraphDestroy(graph);
        return status;
    }
    SLIP_TRY_CUDA(error, "capturing the step");
    *c = captured{slip_cuda_engine_step(e)->first_op, rows, NULL};
    error = cudaGraphInstantiate(&c->graph, graph, 0);
    cudaGraphDestroy(graph);
    SLIP_TRY_CUDA(error, "making a graph of the step");
    return SLIP_OK;
}

static slip_status run_graph(slip_cuda_engine *e)
{
    slip_status status = upload_ops(e);
    if (status != SLIP_OK)
        return status;
    const slip_cuda_step *step = slip_cuda_engine_step(e);
    int32_t rows = e->nccl ? slip_gathered_rows(step->rows) : 0;
    int i = 0;
    while (i < e->graph_count && (e->graphs[i].first_op != step->first_op || e->graphs[i].rows != rows))
        i++;
    if (i == MAX_GRAPHS)
        return slip_fail(SLIP_ERR_FAILED, "GPU: more than %d graphs of programs", MAX_GRAPHS);
    if (i == e->graph_count) {
        if ((status = capture(e, rows, &e->graphs[i])) != SLIP_OK)
            return status;
        e->graph_count++;
    }
    SLIP_TRY_CUDA(cudaGraphLaunch(e->graphs[i].graph, e->stream), "launching the step");
    return wait_enqueued(e, "running the step");
}

static void event_name(void *context, int32_t op, char *text, size_t size)
{
    const slip_cuda_op *o = &((const slip_cuda_engine *)context)->ops[op];
    snprintf(text, size, "%s layer %d", slip_cuda_op_name(o->kind), o->layer);
}

// The n-th verify step of the longest program, when everything is warm.
static slip_status profile_step(slip_cuda_engine *e, const slip_cuda_step *step)
{
    if (step->op_count > e->longest) {
        e->longest = step->op_count;
        e->profiled = 0;
    }
    bool verifies = step->heads == step->rows; // prompts are another matter
    if (step->op_count < e->longest || !verifies || ++e->profiled != PROFILED_STEP)
        return SLIP_OK;
    slip_cuda_profile profile = {0, e->sms, e->events, e->event_counts, event_name, e};
    return slip_cuda_profile_write(e->options.profile, &profile);
}

extern "C" slip_status slip_cuda_engine_begin(slip_cuda_engine *e, bool together)
{
    if (e->failed)
        return slip_fail(SLIP_ERR_FAILED, "GPU: it has failed before");
    double start = slip_now_s();
    slip_status status = e->options.launch ? run_graph(e) : begin_persistent(e, together);
    e->launched_ms = 1e3 * (slip_now_s() - start);
    e->failed |= status != SLIP_OK;
    return status;
}

extern "C" slip_status slip_cuda_engine_wait(slip_cuda_engine *e, slip_cuda_result *result)
{
    const int slot = open_slot(e);
    const slip::host_result *made = &e->words->result[slot];
    bool resident = e->waited != e->posted; // else it was launched
    slip_status status = resident ? wait_persistent(e) : SLIP_OK;
    e->failed |= status != SLIP_OK;
    if (status != SLIP_OK)
        return status;
    e->waited += resident;
    *result = (slip_cuda_result){e->candidates + slot * SLIP_MAX_ROWS, made->picked, resident ? 1e-6 * made->busy : e->launched_ms};
    return e->events && resident ? profile_step(e, &e->steps[slot]) : SLIP_OK;
}

static slip_status run_op(slip_cuda_engine *e, int32_t op)
{
    slip_status status = upload_ops(e);
    if (status == SLIP_OK)
        status = slip_cuda_engine_upload(e, e->parameters.step, slip_cuda_engine_step(e), sizeof(slip_cuda_step));
    if (status == SLIP_OK)
        status = enqueue_op(e, op);
    if (status != SLIP_OK)
        return status;
    if (e->ops[op].kind == SLIP_CUDA_SAMPLE)
        slip::finish_kernel<<<1, (unsigned)slip::kernel_finish_threads(), 0, e->stream>>>(e->parameters, op, e->sms, next_slot(e));
    return wait_enqueued(e, "running an op");
}

extern "C" slip_status slip_cuda_engine_run_op(slip_cuda_engine *e, int32_t op)
{
    slip_cuda_engine_stop(e);
    slip_status status = run_op(e, op);
    e->failed |= status != SLIP_OK;
    return status;
}

extern "C" double slip_cuda_engine_ceiling(slip_cuda_engine *e)
{
    slip_cuda_engine_stop(e);
    return slip::stream_ceiling(e->sms, e->stream);
}
