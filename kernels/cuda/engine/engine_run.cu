/* The resident kernel and the steps it makes; begin and wait for both ways to run. */
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
#include "kernels/cuda/engine/profile.h"
#include "kernels/cuda/engine/record.h"
#include "kernels/cuda/arch.cuh"

enum { PROFILED_STEP = 12 };

// ---- steps in host memory ----

extern "C" slip_cuda_step *slip_cuda_engine_step(slip_cuda_engine *e)
{
    return &e->steps[slip_cuda_engine_slot(e->posted + 1)];
}

// ---- starting and stopping the kernel ----

// Wait, with a deadline, until the kernel has left.
static cudaError_t wait_left(slip_cuda_engine *e, double limit)
{
    cudaError_t error;
    slip_timer timer = slip_timer_start(slip_now_s());
    while ((error = cudaStreamQuery(e->stream)) == cudaErrorNotReady && slip_timer_read(&timer, slip_now_s()) < limit)
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
    if (wait_left(e, 2) == cudaErrorNotReady)
        __atomic_store_n(&e->words->abort, 1u, __ATOMIC_RELEASE);
    wait_left(e, 2);
}

extern "C" void slip_cuda_engine_rest(slip_cuda_engine *e)
{
    slip_cuda_engine_stop(e);
}

slip_status slip_cuda_engine_upload_ops(slip_cuda_engine *e)
{
    void *device;
    if (e->device_ops)
        return SLIP_OK;
    slip_status status = slip_cuda_engine_alloc(e, 2 * (size_t)e->op_count * sizeof *e->ops, &device);
    if (status == SLIP_OK)
        status = slip_cuda_engine_upload(e, device, e->ops, 2 * (size_t)e->op_count * sizeof *e->ops);
    if (status == SLIP_OK)
        e->parameters.ops = e->device_ops = (slip_cuda_op *)device;
    return status;
}

static slip_status start_kernel(slip_cuda_engine *e)
{
    slip_status status = slip_cuda_engine_upload_ops(e);
    if (status != SLIP_OK || e->running)
        return status;
    SLIP_TRY_CUDA(cudaMemsetAsync(e->parameters.words, 0, sizeof *e->parameters.words, e->stream), "clearing the barrier");
    memset((void *)e->words, 0, sizeof *e->words);
    e->parameters.made = e->words->post = e->words->done = e->posted;
    e->parameters.serial = e->serial;
    // Shared memory allows one CTA an SM. A cooperative launch makes sure that all of them are resident.
    void *arguments[] = {&e->parameters};
    SLIP_TRY_CUDA(cudaLaunchCooperativeKernel(slip::persistent_kernel_of(e->windows != NULL), dim3((unsigned)e->sms),
                                              dim3((unsigned)slip::kernel_threads()), arguments, slip::kernel_shared_bytes(), e->stream),
                  "starting the kernel");
    e->running = true;
    return SLIP_OK;
}

// ---- ops and steps ----

extern "C" slip_status slip_cuda_engine_add(slip_cuda_engine *e, const slip_cuda_op *ops, int32_t count, int32_t *first)
{
    slip_cuda_engine_stop(e);
    slip_cuda_op *grown = (slip_cuda_op *)realloc(e->ops, 2 * (size_t)(e->op_count + count) * sizeof *grown);
    if (!grown)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d ops", count);
    memcpy(grown + e->op_count, ops, (size_t)count * sizeof *ops);
    *first = e->op_count;
    e->ops = grown;
    e->op_count += count;
    for (int32_t i = 0; i < e->op_count; i++)
        grown[e->op_count + i] = slip_cuda_whole(grown[i]);
    e->device_ops = NULL;
    slip_cuda_engine_forget_graphs(e);
    return SLIP_OK;
}

void slip_cuda_engine_let_cause_speak(void)
{
    const struct timespec moment = {1, 0};
    nanosleep(&moment, NULL);
}

// Why the kernel did not make step number `number`, in one sentence. `error`: what the stream has said. The kernel is told to leave, where
// it has not left.
static slip_status explain(slip_cuda_engine *e, unsigned number, cudaError_t error)
{
    __atomic_store_n(&e->words->abort, 1u, __ATOMIC_RELEASE);
    const cudaError_t left = wait_left(e, 2);
    error = error == cudaSuccess || error == cudaErrorNotReady ? left : error;
    e->running = false;
    e->failed = true;
    if (e->words->record.set)
        return slip_cuda_record_failed(&e->words->record);
    if (e->words->left_by) {
        slip_cuda_engine_let_cause_speak();
        return slip_fail(SLIP_ERR_FAILED, "GPU: rank %u failed, and this rank left with it", e->words->left_by - 1);
    }
    if (error != cudaSuccess && error != cudaErrorNotReady)
        return slip_cuda_failed(error, "the kernel stopped");
    return slip_fail(SLIP_ERR_FAILED, "GPU: step %llu did not end, and no wait on the GPU says why",
                     (unsigned long long)e->steps[slip_cuda_engine_slot(number)].number);
}

// Post the next step; or, on other ranks, rank 0's GPU will.
static slip_status begin_persistent(slip_cuda_engine *e, bool together)
{
    slip_status status = start_kernel(e);
    if (status != SLIP_OK)
        return status;
    assert(e->begun - e->ended < SLIP_CUDA_STEPS - 1);
    slip_cuda_step *step = slip_cuda_engine_step(e);
    step->serial = together ? (e->serial = slip_exchange_epoch_after(e->serial, 1)) : 0;
    e->made[e->begun++ % MAX_BEGUN] = ++e->posted;
    if (!together || e->parameters.exchange.rank == 0)
        __atomic_store_n(&e->words->post, e->posted, __ATOMIC_RELEASE);
    return SLIP_OK;
}

static slip_status wait_persistent(slip_cuda_engine *e, unsigned number)
{
    enum { LOOK = 1 << 14 }; // polls between looks at the stream and the clock
    // The kernel's own timeouts are far shorter. This limit is for a kernel that cannot report at all.
    slip_timer timer = slip_timer_start(slip_now_s());
    double limit = 30 + 20 * (double)e->steps[slip_cuda_engine_slot(number)].rows * slip_cuda_engine_deadline(e);
    for (unsigned tries = 1; (int)(__atomic_load_n(&e->words->done, __ATOMIC_ACQUIRE) - number) < 0; tries++) {
        if (tries % LOOK != 0)
            continue;
        const cudaError_t error = cudaStreamQuery(e->stream);
        if (*(volatile int32_t *)&e->words->record.set || *(volatile unsigned *)&e->words->left_by || error != cudaErrorNotReady ||
            slip_timer_read(&timer, slip_now_s()) > limit)
            return explain(e, number, error);
    }
    return SLIP_OK;
}

static void event_name(void *context, int32_t op, char *text, size_t size)
{
    const slip_cuda_op *o = &((const slip_cuda_engine *)context)->ops[op];
    snprintf(text, size, "%s layer %d", slip_cuda_op_name(o->kind), o->layer);
}

// Profile verify step number PROFILED_STEP of the longest program: everything is warm by then.
static slip_status profile_step(slip_cuda_engine *e, const slip_cuda_step *step)
{
    bool verifies = step->logit_rows == step->rows; // prompts are another matter, and have other lists of ops
    if (verifies && step->op_count > e->longest) {
        e->longest = step->op_count;
        e->profiled = 0;
    }
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
    bool launch = e->options.launch || slip_cuda_width_of(slip_cuda_engine_step(e)) != SLIP_CUDA_NARROW;
    slip_status status = launch ? slip_cuda_engine_run_graph(e) : begin_persistent(e, together);
    e->launched_ms = 1e3 * (slip_now_s() - start);
    e->failed |= status != SLIP_OK;
    return status;
}

extern "C" slip_status slip_cuda_engine_wait(slip_cuda_engine *e, slip_cuda_result *result)
{
    // Ops that were run one by one have begun nothing.
    const unsigned number = e->begun != e->ended ? e->made[e->ended++ % MAX_BEGUN] : 0;
    const int slot = number ? slip_cuda_engine_slot(number) : (int)SLIP_CUDA_LAUNCHED;
    const slip::host_result *made = &e->words->result[slot];
    slip_status status = number ? wait_persistent(e, number) : SLIP_OK;
    e->failed |= status != SLIP_OK;
    if (status != SLIP_OK)
        return status;
    *result = (slip_cuda_result){e->candidates + slot * SLIP_MAX_LOGIT_ROWS, made->picked, number ? 1e-6 * made->busy : e->launched_ms};
    return e->events && number ? profile_step(e, &e->steps[slot]) : SLIP_OK;
}

extern "C" double slip_cuda_engine_ceiling(slip_cuda_engine *e)
{
    slip_cuda_engine_stop(e);
    return slip::stream_ceiling(e->sms, e->stream);
}
