/* The CUDA executor: programs lowered to the engine's op list, steps posted to its kernel. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/window.h"
#include "kernels/cuda/host/fault.h"
#include "kernels/cuda/host/state.h"
#include "kernels/cuda/lower/work.h"
#include "kernels/cuda/layout/cache.h"

/* The timeout of a wait on the GPU is this fraction of the ranks' deadline: 1 s of 120. */
static const double DEADLINE_SHARE = 120;

static slip_status create_caches(slip_executor *e)
{
    for (int32_t i = 0; i < e->program->cache_count; i++) {
        slip_cuda_cache *cache = &e->caches[i];
        void *k, *v;
        *cache = slip_cuda_cache_of(&e->program->cache[i], &e->limits);
        size_t heads = slip_cuda_cache_heads(cache, &e->limits);
        slip_status status = slip_cuda_engine_alloc(e->engine, heads * (size_t)cache->k_width * sizeof(uint16_t), &k);
        if (status == SLIP_OK)
            status = slip_cuda_engine_alloc(e->engine, heads * (size_t)cache->v_width * sizeof(uint16_t), &v);
        if (status != SLIP_OK)
            return status;
        cache->k = k;
        cache->v = v;
    }
    return SLIP_OK;
}

static slip_status create_ropes(slip_executor *e)
{
    for (int32_t r = 0; r < e->program->rope_count; r++) {
        const slip_rope *rope = &e->program->rope[r];
        size_t half = (size_t)rope->rotary_dim / 2;
        void *device;
        float *values = malloc(half * sizeof *values + 1);
        if (!values)
            return slip_fail(SLIP_ERR_FAILED, "out of memory");
        for (size_t i = 0; i < half; i++)
            values[i] = (float)(1.0 / pow(rope->theta, 2.0 * (double)i / rope->rotary_dim));
        slip_status status = slip_cuda_engine_alloc(e->engine, half * sizeof *values, &device);
        if (status == SLIP_OK)
            status = slip_cuda_engine_upload(e->engine, device, values, half * sizeof *values);
        free(values);
        if (status != SLIP_OK)
            return status;
        e->inverse_frequency[r] = device;
    }
    return SLIP_OK;
}

/* The target keeps its taps on the GPU, by position; the draft reads them there. */
static slip_status create_taps(slip_executor *e)
{
    const slip_executor *target = e->options.target;
    void *device;
    if (target) {
        e->taps = target->taps;
        return SLIP_OK;
    }
    e->taps.width = (int32_t)e->program->width[SLIP_BUFFER_TAPS];
    if (e->taps.width == 0)
        return SLIP_OK;
    e->taps.window = e->program->tap_window;
    e->taps.slots = (int32_t)slip_ring_slots(e->taps.window, &e->limits);
    size_t floats = (size_t)slip_cache_slots(e->taps.window, &e->limits) * (size_t)e->taps.width;
    slip_status status = slip_cuda_engine_alloc(e->engine, floats * sizeof(float), &device);
    if (status == SLIP_OK)
        e->taps.data = device;
    return status;
}

static slip_status create_logits(slip_executor *e)
{
    size_t floats = (size_t)e->limits.logit_rows * (size_t)e->program->vocabulary.count;
    void *host, *device;
    slip_status status = slip_cuda_engine_alloc_host(e->engine, floats * sizeof(float), &host, &device);
    if (status == SLIP_OK) {
        e->logits = host;
        e->device_logits = device;
    }
    return status;
}

/* Nobody filters drafts. */
static slip_status create_histograms(slip_executor *e)
{
    void *host, *device;
    if (e->options.target)
        return SLIP_OK;
    slip_status status = slip_cuda_engine_alloc_host(e->engine, (size_t)e->limits.logit_rows * sizeof *e->histograms, &host, &device);
    if (status == SLIP_OK) {
        e->histograms = host;
        e->device_histograms = device;
        for (int32_t row = 0; row < e->limits.logit_rows; row++) /* HISTOGRAM writes the rest */
            e->histograms[row].tokens = (int32_t)e->program->vocabulary.count;
    }
    return status;
}

/* The same of what steps that are sampled again read and leave. */
static slip_status create_resampling(slip_executor *e)
{
    void *host, *device;
    if (e->options.target)
        return SLIP_OK;
    slip_status status = slip_cuda_engine_alloc_host(e->engine, (size_t)e->limits.logit_rows * sizeof *e->likeliest, &host, &device);
    if (status != SLIP_OK)
        return status;
    e->likeliest = host;
    e->device_likeliest = device;
    if ((status = slip_cuda_engine_alloc_host(e->engine, sizeof *e->adjusting, &host, &device)) != SLIP_OK)
        return status;
    e->adjusting = host;
    e->device_adjusting = device;
    return SLIP_OK;
}

/* Where a draft with an in-block head is cut over ranks. */
static slip_status create_sliced(slip_executor *e)
{
    if (e->program->walk.slots == 0 || !e->comm)
        return SLIP_OK;
    e->sliced = malloc((size_t)e->limits.logit_rows * SLIP_SLICES * sizeof *e->sliced);
    return e->sliced ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
}

static void destroy(slip_executor *e)
{
    if (e->engine)
        slip_cuda_engine_release(e->engine);
    slip_cuda_weights_free(&e->weights);
    free(e->caches);
    free(e->list.ops);
    free(e->sliced);
    free(e);
}

/* The draft shares its target's engine. `comm`: NULL for one rank. */
static slip_status open_engine(slip_executor *e, slip_comm *comm)
{
    slip_executor *target = e->options.target;
    slip_cuda_engine_options options = {
        .gpu = comm ? slip_comm_rank_here(comm) : 0,
        .launch = e->options.launch,
        .deadline = e->options.deadline / DEADLINE_SHARE,
        .profile = e->options.profile,
    };
    if (!target) {
        slip_status status = slip_cuda_fault(&options.drop_op);
        return status == SLIP_OK ? slip_cuda_engine_open(&options, &e->engine) : status;
    }
    slip_cuda_engine_hold(target->engine);
    e->engine = target->engine;
    return SLIP_OK;
}

/* The draft shares its target's arena, whose epochs count the exchanges of both. */
static slip_status join(slip_executor *e)
{
    if (e->options.target)
        return SLIP_OK;
    return slip_cuda_engine_join(e->engine, e->comm, e->limits.rows, (int32_t)e->program->width[SLIP_BUFFER_X]);
}

static slip_status create(const slip_program *program, const slip_limits *limits, slip_comm *comm, const slip_executor_options *options,
                          slip_executor **out)
{
    slip_executor *e = calloc(1, sizeof *e);
    if (!e)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    e->program = program;
    e->limits = *limits;
    e->comm = comm && slip_comm_ranks(comm) > 1 ? comm : NULL;
    if (options)
        e->options = *options;
    e->caches = calloc((size_t)program->cache_count + 1, sizeof *e->caches);
    slip_status status = e->caches ? slip_cuda_weights_make(program, &e->weights) : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK)
        status = open_engine(e, comm);
    if (status == SLIP_OK)
        status = create_caches(e);
    if (status == SLIP_OK)
        status = create_ropes(e);
    if (status == SLIP_OK)
        status = create_taps(e);
    if (status == SLIP_OK)
        status = create_logits(e);
    if (status == SLIP_OK)
        status = create_histograms(e);
    if (status == SLIP_OK)
        status = create_resampling(e);
    if (status == SLIP_OK)
        status = create_sliced(e);
    if (status != SLIP_OK) {
        destroy(e);
        return status;
    }
    *out = e;
    return SLIP_OK;
}

/* ---- steps ---- */

static slip_status run_watched(slip_executor *e, const slip_step *step)
{
    slip_cuda_step *device = slip_cuda_engine_step(e->engine);
    for (int32_t i = 0; i < device->op_count; i++) {
        slip_status status = slip_cuda_engine_run_op(e->engine, device->first_op + i);
        if (status == SLIP_OK)
            status = slip_cuda_watch(e, device->first_op - e->first_op + i, step);
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}

_Static_assert((int)SLIP_MAX_IN_FLIGHT < (int)SLIP_CUDA_STEPS, "a slot for each run in flight, and for the one waited for last");

/* The engine makes wide steps by launches, one at a time. What a step adjusts lies in each rank's host memory, and there is room for one. */
static int max_in_flight(const slip_executor *e, const slip_step *step)
{
    return step->adjust || e->options.launch || e->options.watched || slip_cuda_is_wide(step->row_count) ? 1 : SLIP_MAX_IN_FLIGHT;
}

static bool device_collects(const slip_executor *e, const slip_step *step)
{
    return e->comm && max_in_flight(e, step) > 1;
}

/* The device walks where it has the candidates of all ranks. */
static int32_t row_candidates(const slip_executor *e, const slip_step *step)
{
    return e->program->walk.slots > 0 && e->comm && !device_collects(e, step) ? SLIP_SLICES : 1;
}

/* An idle GPU's kernel leaves: it would poll for its next step, and give up after an hour. */
static void rest(slip_executor *e)
{
    slip_cuda_engine_rest(e->engine);
}

/* The ops of a step. Behind them a step that wants no histograms leaves out the HISTOGRAM, whose barrier costs time; but a graph is made
 * once, for all steps. */
static void pick_ops(const slip_executor *e, slip_phase phase, const slip_step *step, slip_cuda_step *device)
{
    const bool split = device->split_runs, spare = phase == SLIP_PHASE_RUN && e->histograms && max_in_flight(e, step) > 1;
    device->first_op = e->first_op + (split ? e->list.phase_first : e->list.whole_first)[phase];
    device->op_count = (split ? e->list.phase_count : e->list.whole_count)[phase] - (spare && step->want != SLIP_WANT_HISTOGRAMS);
    if (step->again) {
        const bool draws = !step->adjust && step->want != SLIP_WANT_LIKELIEST;
        device->first_op = e->first_op + (draws ? e->list.sample : e->list.again);
        device->op_count = draws ? 1 : e->list.again_count;
    }
}

static slip_status begin(slip_executor *e, slip_phase phase, const slip_step *step)
{
    slip_cuda_step *device = slip_cuda_engine_step(e->engine);
    slip_cuda_step_fill(e->program, step, device);
    if (step->adjust)
        slip_cuda_step_list(step, e->adjusting);
    /* Who looks wants to see what ROPE leaves, and steps of many rows have kernels for what ROPE and ATTEND_WINDOW do. */
    device->split_runs |= e->options.watch || e->options.watched || step->row_count > SLIP_CUDA_WHOLE_ABOVE;
    pick_ops(e, phase, step, device);
    device->epoch = slip_cuda_engine_epoch(e->engine, step->again ? 0 : e->list.exchanges[phase]);
    bool together = device_collects(e, step);
    int32_t sliced = phase == SLIP_PHASE_RUN && row_candidates(e, step) > 1 ? step->logit_rows : 0;
    e->run[e->begun++ % SLIP_MAX_IN_FLIGHT] = (slip_cuda_run_begun){phase, together, sliced};
    return e->options.watch ? run_watched(e, step) : slip_cuda_engine_begin(e->engine, together);
}

/* Each slice's candidates of a step that launches have made. */
static slip_status fetch_sliced(slip_executor *e, int32_t logit_rows)
{
    const size_t bytes = (size_t)logit_rows * SLIP_SLICES * sizeof *e->sliced;
    return logit_rows == 0 ? SLIP_OK
                           : slip_cuda_engine_download(e->engine, e->sliced, e->list.ops[e->list.sample].sample.candidates, bytes);
}

static slip_status wait(slip_executor *e, slip_run_cost *cost)
{
    slip_cuda_result result;
    slip_status status = slip_cuda_engine_wait(e->engine, &result);
    if (status != SLIP_OK)
        return status;
    e->best = result.candidates;
    slip_cuda_run_begun run = e->run[e->waited++ % SLIP_MAX_IN_FLIGHT];
    uint64_t ranks = run.together ? (uint64_t)slip_comm_ranks(e->comm) : 1;
    *cost = (slip_run_cost){e->dense_bytes[run.phase] + result.picked * e->expert_bytes / ranks, result.busy_ms};
    return fetch_sliced(e, run.sliced);
}

static float *row(slip_executor *e, slip_buffer buffer, int32_t index)
{
    return buffer == SLIP_BUFFER_LOGITS ? e->logits + (int64_t)index * e->program->vocabulary.count : NULL;
}

static void candidates(slip_executor *e, const slip_step *step, slip_candidate *out)
{
    const bool sliced = row_candidates(e, step) > 1;
    memcpy(out, sliced ? e->sliced : e->best, (size_t)step->logit_rows * (sliced ? SLIP_SLICES : 1) * sizeof *out);
}

static slip_status walk(slip_executor *e, const slip_step *step, const slip_candidate *candidates, slip_candidate *drafts)
{
    const slip_candidate *walked;
    slip_status status = slip_cuda_engine_walk(e->engine, e->first_op + e->list.sample, candidates, step->logit_rows, &walked);
    if (status == SLIP_OK)
        memcpy(drafts, walked, (size_t)step->logit_rows * sizeof *drafts);
    return status;
}

static const slip_histogram *histogram(const slip_executor *e, int32_t row)
{
    return &e->histograms[row];
}

static const slip_likeliest *likeliest(const slip_executor *e, int32_t row)
{
    return &e->likeliest[row];
}

static double stream_ceiling(slip_executor *e)
{
    return slip_cuda_engine_ceiling(e->engine);
}

static const char *device(const slip_executor *e)
{
    return slip_cuda_engine_name(e->engine);
}

void slip_cuda_first(char name[SLIP_GPU_NAME])
{
    slip_cuda_engine_first(name);
}

double slip_cuda_memory(void)
{
    return slip_cuda_engine_memory();
}

bool slip_cuda_present(int ranks, int here, const char **why_not)
{
    const char *why = slip_cuda_engine_why_not(here);
    if (!why && ranks > 1 && !slip_windows_built())
        why = "this build has no NCCL, by which the GPUs of several ranks meet";
    *why_not = why ? why : "";
    return why == NULL;
}

bool slip_cuda_expected(void)
{
    return slip_cuda_engine_expected();
}

const slip_executor_kind slip_executor_cuda = {
    .name = "cuda",
    .create = create,
    .join = join,
    .place = slip_cuda_place,
    .packed_bytes = slip_cuda_packed_bytes,
    .row_unit = SLIP_TILE_ROWS,
    .pack = slip_cuda_pack,
    .packed_layout = slip_cuda_packed_layout,
    .store = slip_cuda_store,
    .store_rows = slip_cuda_store_rows,
    .alloc_packed = slip_cuda_alloc_packed,
    .free_packed = slip_cuda_free_packed,
    .fill = slip_cuda_fill,
    .prepare = slip_cuda_prepare,
    .begin = begin,
    .wait = wait,
    .prompt_rows = SLIP_CUDA_PROMPT_ROWS,
    .max_in_flight = max_in_flight,
    .device_collects = device_collects,
    .rest = rest,
    .row = row,
    .candidates = candidates,
    .row_candidates = row_candidates,
    .walk = walk,
    .histogram = histogram,
    .likeliest = likeliest,
    .stream_ceiling = stream_ceiling,
    .cache_bytes = slip_cuda_cache_bytes,
    .work_bytes = slip_cuda_work_bytes,
    .device = device,
    .destroy = destroy,
};
