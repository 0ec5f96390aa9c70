/* The reference executor: one C function an op, on one core. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/activity/activity.h"
#include "io/base/clock.h"
#include "kernels/cpu/state.h"
#include "ranks/model/build.h"

void *slip_cpu_zeros(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (memory)
        memset(memory, 0, (bytes + 64) / 64 * 64);
    return memory;
}

static uint64_t cache_bytes(const slip_program *program, const slip_limits *limits)
{
    uint64_t floats = 0;
    for (int32_t i = 0; i < program->cache_count; i++) {
        const slip_cache *shape = &program->cache[i];
        floats += (uint64_t)slip_cache_slots(shape->window, limits) * (uint64_t)shape->kv_heads *
                  (uint64_t)(slip_padded(shape->head_dim) + slip_padded(shape->v_head_dim));
    }
    return floats * sizeof(float);
}

static size_t buffer_rows(const slip_limits *limits, int buffer)
{
    return (size_t)(buffer == SLIP_BUFFER_SELECT || buffer == SLIP_BUFFER_LOGITS ? limits->logit_rows : limits->rows);
}

/* The larger part of it: buffers by name, and the taps, which a draft reads. */
static uint64_t work_bytes(const slip_program *program, const slip_limits *limits, const slip_weight *forms, int32_t ranks)
{
    uint64_t bytes = 0;
    (void)forms, (void)ranks;
    for (int b = 0; b < SLIP_BUFFERS; b++)
        bytes += buffer_rows(limits, b) * (uint64_t)slip_padded(program->width[b]) *
                 (b == SLIP_BUFFER_PARTIAL ? sizeof(double) : sizeof(float));
    if (program->phase_count[SLIP_PHASE_INJECT] == 0)
        bytes += (uint64_t)slip_cache_slots(program->tap_window, limits) * (uint64_t)program->width[SLIP_BUFFER_TAPS] * sizeof(float);
    return bytes;
}

static void *zeroed_piece(slip_executor *executor, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    void *memory = slip_large_piece(&executor->memory, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

static bool create_caches(slip_executor *executor)
{
    for (int32_t i = 0; i < executor->program->cache_count; i++) {
        const slip_cache *shape = &executor->program->cache[i];
        slip_cpu_cache *cache = &executor->cache[i];
        cache->slots = slip_ring_slots(shape->window, &executor->limits);
        cache->k_width = slip_padded(shape->head_dim);
        cache->v_width = slip_padded(shape->v_head_dim);
        size_t heads = (size_t)slip_cache_slots(shape->window, &executor->limits) * (size_t)shape->kv_heads;
        cache->k = zeroed_piece(executor, heads, (size_t)cache->k_width * sizeof(float));
        cache->v = zeroed_piece(executor, heads, (size_t)cache->v_width * sizeof(float));
        if (!cache->k || !cache->v)
            return false;
    }
    return true;
}

static bool create_ropes(slip_executor *executor)
{
    for (int32_t r = 0; r < executor->program->rope_count; r++) {
        const slip_rope *rope = &executor->program->rope[r];
        size_t half = (size_t)rope->rotary_dim / 2, rows = (size_t)executor->limits.rows;
        executor->cosine[r] = slip_cpu_zeros(rows * half, sizeof(float));
        executor->sine[r] = slip_cpu_zeros(rows * half, sizeof(float));
        executor->inverse_frequency[r] = slip_cpu_zeros(half, sizeof(float));
        if (!executor->cosine[r] || !executor->sine[r] || !executor->inverse_frequency[r])
            return false;
        for (size_t i = 0; i < half; i++)
            executor->inverse_frequency[r][i] = (float)(1.0 / pow(rope->theta, 2.0 * (double)i / rope->rotary_dim));
    }
    return true;
}

/* What steps that are sampled `again` need; no draft's are. */
static bool create_resampling(slip_executor *executor)
{
    if (executor->options.target)
        return true;
    executor->unadjusted = slip_cpu_zeros(SLIP_MAX_ADJUSTED, sizeof *executor->unadjusted);
    executor->likeliest = slip_cpu_zeros((size_t)executor->limits.logit_rows, sizeof *executor->likeliest);
    return executor->unadjusted && executor->likeliest;
}

/* Rows of TAPS lie in their buffer, unless a draft comes to read them. */
static bool create_tap_rows(slip_executor *executor)
{
    size_t rows = (size_t)executor->limits.rows;
    executor->tap_row = slip_cpu_zeros(rows, sizeof *executor->tap_row);
    for (size_t i = 0; executor->tap_row && i < rows; i++)
        executor->tap_row[i] = executor->buffer[SLIP_BUFFER_TAPS] + (int64_t)i * executor->stride[SLIP_BUFFER_TAPS];
    return executor->tap_row != NULL;
}

/* For as many queries as attention takes together. */
static bool create_queries(slip_executor *executor)
{
    for (int32_t i = 0; i < executor->program->cache_count; i++) {
        const slip_cpu_cache *cache = &executor->cache[i];
        executor->k_width = cache->k_width > executor->k_width ? cache->k_width : executor->k_width;
        executor->v_width = cache->v_width > executor->v_width ? cache->v_width : executor->v_width;
    }
    executor->score_stride = executor->limits.context + 32;
    executor->heads = slip_cpu_zeros(SLIP_QUERIES, (size_t)(executor->k_width + executor->v_width) * sizeof(float));
    executor->score = slip_cpu_zeros(SLIP_QUERIES, (size_t)executor->score_stride * sizeof(float));
    return executor->heads && executor->score;
}

/* Rows of the in-block head's matrices. */
static bool create_walk(slip_executor *executor)
{
    const slip_walk *walk = &executor->program->walk;
    if (walk->slots == 0)
        return true;
    executor->previous = slip_cpu_zeros((size_t)walk->rank, sizeof(float));
    executor->following = slip_cpu_zeros((size_t)walk->rank, sizeof(float));
    return executor->previous && executor->following;
}

static bool create_rounded(slip_executor *executor)
{
    for (int b = 0; b < SLIP_BUFFERS; b++)
        if (executor->stride[b] > executor->rounded_stride)
            executor->rounded_stride = executor->stride[b];
    executor->rounded = slip_cpu_zeros((size_t)executor->limits.rows * (size_t)executor->rounded_stride, sizeof(float));
    return executor->rounded != NULL;
}

static bool create_buffers(slip_executor *executor)
{
    const slip_program *program = executor->program;
    for (int b = 0; b < SLIP_BUFFERS; b++) {
        size_t rows = buffer_rows(&executor->limits, b);
        executor->stride[b] = slip_padded(program->width[b]);
        if (b != SLIP_BUFFER_PARTIAL)
            executor->buffer[b] = slip_cpu_zeros(rows * (size_t)executor->stride[b], sizeof(float));
        else
            executor->partial = slip_cpu_zeros(rows * (size_t)program->width[b], sizeof(double));
        if (!executor->buffer[b] && b != SLIP_BUFFER_PARTIAL)
            return false;
    }
    if (!create_tap_rows(executor) || (executor->options.round_activations && !create_rounded(executor)))
        return false;
    size_t rows = (size_t)executor->limits.rows;
    executor->x_rows = slip_cpu_zeros(rows, sizeof *executor->x_rows);
    executor->wide_rows = slip_cpu_zeros(rows, sizeof *executor->wide_rows);
    executor->wide_stride = executor->stride[SLIP_BUFFER_HEADS];
    executor->wide = slip_cpu_zeros(rows * (size_t)executor->wide_stride, sizeof(double));
    executor->product = slip_cpu_zeros(rows * (size_t)program->width[SLIP_BUFFER_PARTIAL], sizeof(float));
    executor->y_rows = slip_cpu_zeros(rows, sizeof *executor->y_rows);
    executor->sum_rows = slip_cpu_zeros(rows, sizeof *executor->sum_rows);
    executor->gain = slip_cpu_zeros(rows, sizeof *executor->gain);
    executor->router = slip_cpu_zeros(rows * (size_t)program->experts, sizeof(float));
    executor->picks = slip_cpu_zeros((size_t)program->experts * SLIP_MAX_LAYERS, sizeof(int64_t));
    return executor->partial && executor->x_rows && executor->wide_rows && executor->wide && executor->product && executor->y_rows &&
           executor->sum_rows && executor->gain && executor->router && executor->picks;
}

static void destroy(slip_executor *executor)
{
    for (int32_t i = 0; executor->weights && i < executor->program->tensor_count; i++)
        slip_matrix_free(&executor->weights[i]);
    for (int32_t i = 0; executor->vectors && i < executor->program->tensor_count; i++)
        free(executor->vectors[i]);
    for (int b = 0; b < SLIP_BUFFERS; b++)
        free(executor->buffer[b]);
    for (int32_t r = 0; r < SLIP_MAX_ROPES; r++) {
        free(executor->cosine[r]);
        free(executor->sine[r]);
        free(executor->inverse_frequency[r]);
    }
    free(executor->taps);
    free(executor->tap_row);
    free(executor->weights);
    free(executor->vectors);
    free(executor->partial);
    free(executor->x_rows);
    free(executor->wide_rows);
    free(executor->wide);
    free(executor->product);
    free(executor->rounded);
    free(executor->y_rows);
    free(executor->sum_rows);
    free(executor->gain);
    free(executor->score);
    free(executor->router);
    free(executor->picks);
    free(executor->unadjusted);
    free(executor->likeliest);
    free(executor->previous);
    free(executor->following);
    free(executor->heads);
    slip_large_free_pieces(&executor->memory);
    free(executor);
}

static slip_status create(const slip_program *program, const slip_limits *limits, slip_comm *comm, const slip_executor_options *options,
                          slip_executor **executor)
{
    slip_executor *e = slip_cpu_zeros(1, sizeof *e);
    if (!e)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    e->program = program;
    e->limits = *limits;
    e->comm = comm;
    if (options)
        e->options = *options;
    e->math = slip_math_best();
    e->weights = slip_cpu_zeros((size_t)program->tensor_count, sizeof *e->weights);
    e->vectors = slip_cpu_zeros((size_t)program->tensor_count, sizeof *e->vectors);
    slip_status status = e->options.target ? slip_cpu_taps_open(e->options.target) : SLIP_OK;
    if (status != SLIP_OK) {
        destroy(e);
        return status;
    }
    if (!e->weights || !e->vectors || !create_caches(e) || !create_ropes(e) || !create_buffers(e) || !create_queries(e) ||
        !create_resampling(e) || !create_walk(e)) {
        destroy(e);
        return slip_fail(SLIP_ERR_FAILED, "out of memory: %d sequences, %lld positions together, need %llu MB of K/V a rank",
                         limits->sequences, (long long)limits->kv_tokens, (unsigned long long)(cache_bytes(program, limits) >> 20));
    }
    *executor = e;
    return SLIP_OK;
}

static slip_status place(slip_executor *executor, int32_t index, const slip_weight *form)
{
    slip_status status = slip_matrix_make(form, &executor->memory, &executor->weights[index]);
    if (status != SLIP_OK || !executor->program->tensors[index].vector)
        return status;
    executor->vectors[index] = slip_cpu_zeros((size_t)slip_padded(form->columns), sizeof(float));
    return executor->vectors[index] ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for a weight");
}

static void pack(slip_executor *executor, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    (void)packed;
    slip_matrix_pack(piece, from, &executor->weights[index], to);
}

/* Vectors are needed as floats; matrices stay packed. */
static slip_status store(slip_executor *executor, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    (void)first, (void)bytes, (void)packed;
    if (!executor->vectors[index])
        return SLIP_OK;
    slip_matrix_row(&executor->weights[index], 0, executor->vectors[index]);
    slip_matrix_free(&executor->weights[index]);
    return SLIP_OK;
}

static slip_status (*const run_op[SLIP_OP_KINDS])(slip_executor *, const slip_op *) = {
#define RUN(kind, name) [SLIP_OP_##kind] = slip_cpu_##name,
    SLIP_OP_TABLE(RUN)
#undef RUN
};

static slip_status prepare(slip_executor *executor)
{
    (void)executor;
    return SLIP_OK;
}

static slip_status run_ops(slip_executor *executor, slip_phase phase)
{
    const slip_program *program = executor->program;
    slip_cpu_taps_begin(executor, phase);
    slip_cpu_rope_tables(executor);
    for (int32_t i = 0; i < program->phase_count[phase]; i++) {
        const slip_op *op = &program->ops[program->phase_first[phase] + i];
        slip_activity_op(op->layer, slip_op_name(op->kind));
        slip_status status = run_op[op->kind](executor, op);
        if (status != SLIP_OK)
            return status;
        if (executor->options.watch)
            slip_cpu_watch(executor, op);
    }
    return SLIP_OK;
}

/* All of it: nothing is left for the wait. */
static slip_status begin(slip_executor *executor, slip_phase phase, const slip_step *step)
{
    double start = slip_now_ms();
    slip_status status = SLIP_OK;
    executor->step = step;
    executor->cost = (slip_run_cost){0};
    if (step->again)
        slip_cpu_resample(executor);
    else
        status = run_ops(executor, phase);
    executor->cost.device_ms = slip_now_ms() - start;
    return status;
}

static slip_status wait(slip_executor *executor, slip_run_cost *cost)
{
    *cost = executor->cost;
    return SLIP_OK;
}

static float *buffer_row(slip_executor *executor, slip_buffer buffer, int32_t row)
{
    return slip_cpu_row(executor, buffer, row);
}

static const char *device(const slip_executor *executor)
{
    (void)executor;
    return "cpu";
}

static const int64_t *expert_picks(const slip_executor *executor)
{
    return executor->picks;
}

const slip_executor_kind slip_executor_cpu = {
    .name = "cpu",
    .prompt_rows = SLIP_CPU_PROMPT_ROWS,
    .create = create,
    .place = place,
    .row_unit = SLIP_GROUP,
    .pack = pack,
    .store = store,
    .prepare = prepare,
    .begin = begin,
    .wait = wait,
    .row = buffer_row,
    .candidates = slip_cpu_candidates,
    .row_candidates = slip_cpu_row_candidates,
    .walk = slip_cpu_walk,
    .likeliest = slip_cpu_likeliest,
    .stream_ceiling = slip_cpu_ceiling,
    .cache_bytes = cache_bytes,
    .work_bytes = work_bytes,
    .expert_picks = expert_picks,
    .device = device,
    .destroy = destroy,
};
