#include "kernels/cuda/lower/work.h"

#include <stdlib.h>

#include "kernels/cuda/layout/cache.h"
#include "kernels/cuda/layout/mail.h"
#include "kernels/cuda/layout/weights.h"
#include "kernels/cuda/lower/lower.h"

/* What the program is lowered with. */
typedef struct {
    slip_cuda_weights weights;
    slip_cuda_cache caches[SLIP_MAX_LAYERS];
} shapes;

static bool alike(const shapes *s, const slip_weight *forms, int32_t i, int32_t j)
{
    return forms[i].dtype == forms[j].dtype && forms[i].experts == forms[j].experts && forms[i].rows == forms[j].rows &&
           forms[i].columns == forms[j].columns && forms[i].scale_skew == forms[j].scale_skew && s->weights.use[i] == s->weights.use[j];
}

/* Layers are alike, and a plan takes long: the last one of the same form is used again. */
static slip_status plan(const slip_weight *forms, int32_t i, shapes *s)
{
    slip_cuda_tensor *tensors = s->weights.tensors;
    for (int32_t j = i - 1; j >= 0; j--)
        if (tensors[j].matrix.rows > 0 && alike(s, forms, i, j)) {
            tensors[i].matrix = tensors[j].matrix;
            return SLIP_OK;
        }
    return slip_cuda_weights_plan(&s->weights, i, &forms[i]);
}

static slip_status plan_matrices(const slip_program *program, const slip_weight *forms, shapes *s)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < program->tensor_count && status == SLIP_OK; i++)
        if (slip_cuda_weights_is_matrix(&s->weights, i))
            status = plan(forms, i, s);
    return status;
}

/* Buffers, by lowering into a block without memory. */
static slip_status count_buffers(const slip_program *program, const slip_limits *limits, const shapes *s, int32_t ranks, size_t *bytes)
{
    const slip_cuda_source source = {
        .program = program,
        .limits = limits,
        .tensors = s->weights.tensors,
        .caches = s->caches,
        .taps = {.width = (int32_t)program->width[SLIP_BUFFER_TAPS]},
        .sms = SLIP_ARCH_SMS,
        .ranks = ranks,
    };
    slip_cuda_block block = {0};
    slip_cuda_list list;
    slip_status status = slip_cuda_lower(&source, &block, &list);
    if (status == SLIP_OK)
        free(list.ops);
    *bytes = block.used;
    return status;
}

/* The target's: its draft has none of its own. */
static size_t taps_and_arena(const slip_program *program, const slip_limits *limits, int32_t ranks)
{
    size_t bytes = (size_t)slip_cache_slots(program->tap_window, limits) * (size_t)program->width[SLIP_BUFFER_TAPS] * sizeof(float);
    if (ranks > 1 && ranks <= SLIP_EXCHANGE_RANKS)
        bytes += slip_cuda_exchange_plan(ranks, limits->rows, (int)program->width[SLIP_BUFFER_X]).bytes;
    return bytes;
}

uint64_t slip_cuda_work_bytes(const slip_program *program, const slip_limits *limits, const slip_weight *forms, int32_t ranks)
{
    size_t bytes = 0;
    shapes s = {0};
    slip_status status = slip_cuda_weights_make(program, &s.weights);
    for (int32_t i = 0; i < program->cache_count; i++)
        s.caches[i] = slip_cuda_cache_of(&program->cache[i], limits);
    if (status == SLIP_OK)
        status = plan_matrices(program, forms, &s);
    if (status == SLIP_OK)
        status = count_buffers(program, limits, &s, ranks, &bytes);
    if (status == SLIP_OK && program->phase_count[SLIP_PHASE_INJECT] == 0)
        bytes += taps_and_arena(program, limits, ranks);
    slip_cuda_weights_free(&s.weights);
    if (status == SLIP_OK)
        return bytes;
    slip_clear(); /* create() and prepare() will say why */
    return 0;
}
