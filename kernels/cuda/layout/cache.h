/* The K/V caches of a program on the GPU: their shapes and sizes. */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_CACHE_H
#define SLIP_KERNELS_CUDA_LAYOUT_CACHE_H

#include "kernels/cuda/layout/buffer.h"

/* Everything but the memory. */
slip_cuda_cache slip_cuda_cache_of(const slip_cache *shape, const slip_limits *limits);

/* Heads of all slots of all sequences: each has k_width and v_width dimensions. */
size_t slip_cuda_cache_heads(const slip_cuda_cache *cache, const slip_limits *limits);

/* Bytes of all caches of a program. */
uint64_t slip_cuda_cache_bytes(const slip_program *program, const slip_limits *limits);

#endif
