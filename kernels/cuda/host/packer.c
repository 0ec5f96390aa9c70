/* What packs for GPUs without one: the first half of loading, with a sink in the device's place. */
#include <stdlib.h>
#include <string.h>

#include "io/base/memory/large.h"
#include "kernels/cuda/layout/cache.h"
#include "kernels/cuda/lower/lower_state.h"
#include "kernels/executor.h"

struct slip_executor {
    slip_cuda_weights weights;
    slip_packer_sink sink;
    unsigned char
        *gathered; /* a matrix that came in pieces of its rows: the sink takes bytes in their order, and chunks of columns lie apart */
};

static void destroy(slip_executor *e)
{
    slip_cuda_weights_free(&e->weights);
    free(e->gathered);
    free(e);
}

slip_status slip_packer_create(const slip_program *program, const slip_packer_sink *sink, slip_executor **executor)
{
    slip_executor *e = calloc(1, sizeof *e);
    if (!e)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    e->sink = *sink;
    slip_status status = slip_cuda_weights_make(program, &e->weights);
    if (status == SLIP_OK)
        *executor = e;
    else
        destroy(e);
    return status;
}

static slip_status place(slip_executor *e, int32_t index, const slip_weight *form)
{
    return slip_cuda_weights_plan(&e->weights, index, form);
}

/* Would the engine take the program? Its sizes alone decide, and none of these limits decides any of what is looked at. */
static slip_status prepare(slip_executor *e)
{
    const slip_program *program = e->weights.program;
    slip_limits limits = {.rows = 1, .logit_rows = 1, .sequences = 1, .span_rows = 1, .context = 1, .kv_tokens = 1};
    slip_cuda_cache caches[SLIP_MAX_LAYERS];
    for (int32_t i = 0; i < program->cache_count; i++)
        caches[i] = slip_cuda_cache_of(&program->cache[i], &limits);
    slip_cuda_source source = {.program = program,
                               .limits = &limits,
                               .tensors = e->weights.tensors,
                               .caches = caches,
                               .taps = {.width = (int32_t)program->width[SLIP_BUFFER_TAPS]},
                               .sms = SLIP_ARCH_SMS};
    return slip_lower_check(&source);
}

static size_t packed_bytes(const slip_executor *e, int32_t index, int64_t rows)
{
    return slip_cuda_weights_bytes(&e->weights, index, rows);
}

static void pack(slip_executor *e, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    (void)to;
    slip_cuda_weights_pack(&e->weights, index, piece, from, packed);
}

static slip_status packed_layout(const slip_executor *e, uint64_t *layout)
{
    return slip_cuda_weights_layout(&e->weights, layout);
}

static slip_status store(slip_executor *e, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    return e->sink.store(e->sink.context, index, first, bytes, packed);
}

static slip_status send(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    slip_executor *e = context;
    return store(e, index, first, bytes, packed);
}

static slip_status gather(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    (void)index;
    slip_executor *e = context;
    memcpy(e->gathered + first, packed, (size_t)bytes);
    return SLIP_OK;
}

static slip_status store_rows(slip_executor *e, int32_t index, int64_t first, int64_t rows, const unsigned char *packed)
{
    int64_t all = e->weights.program->tensors[index].rows;
    size_t bytes = packed_bytes(e, index, all);
    if (e->sink.any_order || !slip_cuda_weights_is_matrix(&e->weights, index))
        return slip_cuda_weights_send_rows(&e->weights, index, first, rows, packed, send, e);
    if (first == 0) {
        free(e->gathered);
        e->gathered = slip_large_alloc(bytes);
        if (!e->gathered)
            return slip_fail(SLIP_ERR_FAILED, "out of memory: %zu bytes to pack a weight", bytes);
    }
    slip_status status = slip_cuda_weights_send_rows(&e->weights, index, first, rows, packed, gather, e);
    if (status != SLIP_OK || first + rows < all)
        return status;
    status = store(e, index, 0, (int64_t)bytes, e->gathered);
    free(e->gathered);
    e->gathered = NULL;
    return status;
}

static slip_status alloc_packed(slip_executor *e, size_t bytes, unsigned char **packed)
{
    (void)e;
    *packed = slip_large_alloc(bytes);
    return *packed ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory: %zu bytes to pack weights", bytes);
}

static void free_packed(slip_executor *e, unsigned char *packed)
{
    (void)e;
    free(packed);
}

const slip_executor_kind slip_executor_packer = {
    .name = "packer",
    .place = place,
    .packed_bytes = packed_bytes,
    .row_unit = SLIP_TILE_ROWS,
    .pack = pack,
    .packed_layout = packed_layout,
    .store = store,
    .store_rows = store_rows,
    .alloc_packed = alloc_packed,
    .free_packed = free_packed,
    .prepare = prepare,
    .destroy = destroy,
};
