#include "kernels/cuda/layout/cache.h"

enum { DIM_MULTIPLE = 16, SPLIT_SHORT = 64, SPLIT_LONG = 128 };

static int32_t widened(int32_t dim)
{
    return (dim + DIM_MULTIPLE - 1) / DIM_MULTIPLE * DIM_MULTIPLE;
}

slip_cuda_cache slip_cuda_cache_of(const slip_cache *shape, const slip_limits *limits)
{
    return (slip_cuda_cache){
        .slots = (int32_t)slip_ring_slots(shape->window, limits),
        .k_width = widened(shape->head_dim),
        .v_width = widened(shape->v_head_dim),
        .split = shape->window > 2 * SPLIT_LONG ? SPLIT_LONG : SPLIT_SHORT, /* without a window, splits grow: attend_size.h */
        .shape = *shape,
    };
}

size_t slip_cuda_cache_heads(const slip_cuda_cache *cache, const slip_limits *limits)
{
    return (size_t)slip_cache_slots(cache->shape.window, limits) * (size_t)cache->shape.kv_heads;
}

uint64_t slip_cuda_cache_bytes(const slip_program *program, const slip_limits *limits)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < program->cache_count; i++) {
        slip_cuda_cache cache = slip_cuda_cache_of(&program->cache[i], limits);
        bytes += (uint64_t)slip_cuda_cache_heads(&cache, limits) * (uint64_t)(cache.k_width + cache.v_width) * sizeof(uint16_t);
    }
    return bytes;
}
