#include "kernels/cuda/host/random.h"

#include <math.h>

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "ranks/model/random.h"

namespace {

constexpr int THREADS = 512; // one uint4 of a tile's codes each
static_assert(THREADS * 16 == SLIP_TILE_CODES, "a block fills a tile");

// Keys come from SplitMix64, the bits themselves from `lowbias32`, at a price that keeps up with the memory.
__device__ uint32_t mix32(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

// Word `index` of the place that `key` belongs to: distinct indices see distinct inputs, below and above the key.
__device__ uint32_t random_word(uint64_t key, uint32_t index)
{
    return mix32(mix32(index ^ (uint32_t)key) ^ (uint32_t)(key >> 32));
}

__device__ uint4 random_words(uint64_t key, uint32_t index)
{
    return make_uint4(random_word(key, 4 * index), random_word(key, 4 * index + 1), random_word(key, 4 * index + 2),
                      random_word(key, 4 * index + 3));
}

// 16 bits each: uniform in -bound .. bound.
__device__ uint32_t uniform_pair(uint32_t word, float bound)
{
    float step = bound / 32768;
    __nv_bfloat162 pair = __floats2bfloat162_rn((int16_t)(word & 0xffff) * step, (int16_t)(word >> 16) * step);
    return *reinterpret_cast<uint32_t *>(&pair);
}

__device__ uint4 uniform_bf16(uint4 words, float bound)
{
    return make_uint4(uniform_pair(words.x, bound), uniform_pair(words.y, bound), uniform_pair(words.z, bound),
                      uniform_pair(words.w, bound));
}

// Exponents -3 .. 0 with any mantissa and sign: the mean square is 137.5 / 64 x (1/64 + 1/16 + 1/4 + 1) / 4.
constexpr float F8_RMS = 0.84460f;

__device__ uint4 moderate_f8(uint4 words)
{
    constexpr uint32_t keep = 0x9f9f9f9fu, set = 0x20202020u;
    return make_uint4((words.x & keep) | set, (words.y & keep) | set, (words.z & keep) | set, (words.w & keep) | set);
}

// Every code equally often: (0 + 0.25 + 1 + 2.25 + 4 + 9 + 16 + 36) / 8.
constexpr float MXFP4_RMS = 2.92618f;

struct filling {
    float bound;     // bf16
    float scale;     // e4m3
    int exponent;    // mxfp4: E8M0 byte, one more ...
    uint32_t chance; // ... in this many of 256 blocks
};

__device__ void fill_scales(const slip_cuda_matrix &m, const filling &f, uint64_t key, unsigned char *tile)
{
    int i = threadIdx.x;
    if (m.format == SLIP_WEIGHT_F8 && i < SLIP_TILE_ROWS)
        *reinterpret_cast<float *>(tile + slip_tile_f8_scale_at(i)) = f.scale;
    if (m.format == SLIP_WEIGHT_MXFP4) // a byte a thread
        tile[SLIP_TILE_CODES + i] = (unsigned char)(f.exponent + ((random_word(~key, i) & 255) < f.chance));
}
static_assert(SLIP_TILE_MXFP4 - SLIP_TILE_CODES == THREADS, "a scale a thread");

__global__ void __launch_bounds__(THREADS) fill_matrix(slip_cuda_matrix m, int tile_bytes, int64_t tiles, uint64_t seed, filling f)
{
    int64_t expert_tiles = (int64_t)m.row_tiles * m.column_tiles;
    for (int64_t g = blockIdx.x; g < tiles; g += gridDim.x) {
        unsigned char *tile = m.data + g * tile_bytes;
        uint64_t key = slip_random_mix(seed ^ (uint64_t)g);
        uint4 words = random_words(key, threadIdx.x);
        if (m.format == SLIP_WEIGHT_BF16)
            words = uniform_bf16(words, slip_column_tile(&m, (int32_t)(g % expert_tiles)) >= m.plane_tiles ? f.bound / 512 : f.bound);
        else if (m.format == SLIP_WEIGHT_F8)
            words = moderate_f8(words);
        reinterpret_cast<uint4 *>(tile)[threadIdx.x] = words;
        if (m.format != SLIP_WEIGHT_BF16)
            fill_scales(m, f, key, tile);
    }
}

__global__ void __launch_bounds__(THREADS) fill_vector(float *out, int64_t count, uint64_t seed, float mean, float spread)
{
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += (int64_t)gridDim.x * THREADS)
        out[i] = mean + spread * ((int32_t)(slip_random_mix(seed ^ (uint64_t)i) >> 32) * 0x1p-31f);
}

__global__ void __launch_bounds__(THREADS) fill_rows(uint16_t *out, int64_t count, uint64_t seed, float bound)
{
    int64_t units = (count + 7) / 8; // of 16 bytes; the last may be shorter
    for (int64_t u = (int64_t)blockIdx.x * THREADS + threadIdx.x; u < units; u += (int64_t)gridDim.x * THREADS) {
        uint4 words = uniform_bf16(random_words(slip_random_mix(seed ^ (uint64_t)u), 0), bound);
        if (8 * u + 8 <= count) {
            reinterpret_cast<uint4 *>(out)[u] = words;
            continue;
        }
        const uint32_t word[4] = {words.x, words.y, words.z, words.w};
        for (int i = 0; i < count - 8 * u; i++)
            out[8 * u + i] = (uint16_t)(word[i / 2] >> (i % 2 * 16));
    }
}

// Blocks for `work` of them: all at once where there are few, else as many as a GPU of 132 to 160 SMs keeps busy.
int grid(int64_t work)
{
    return (int)(work < 2048 ? work : 2048);
}

filling filling_of(float size)
{
    filling f = {};
    f.bound = size * sqrtf(3.0f);
    f.scale = size / F8_RMS;
    // Scales of 2^e and 2^(e + 1), so often that the mean square is right.
    float wanted = size / MXFP4_RMS, floor_exponent = floorf(log2f(wanted)), over = wanted * exp2f(-floor_exponent);
    f.exponent = floor_exponent < -126 ? 1 : floor_exponent > 126 ? 253 : 127 + (int)floor_exponent;
    f.chance = (uint32_t)lrintf((over * over - 1) / 3 * 256);
    return f;
}

// Run a kernel of this file to its end.
slip_status run(const void *kernel, int blocks, void **arguments, const char *what)
{
    cudaError_t error = cudaLaunchKernel(kernel, dim3((unsigned)blocks), dim3(THREADS), arguments, 0, nullptr);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(nullptr);
    if (error != cudaSuccess)
        return slip_fail(SLIP_ERR_FAILED, "filling %s on the GPU: %s", what, cudaGetErrorString(error));
    return SLIP_OK;
}

} // namespace

slip_status slip_cuda_random(const slip_cuda_matrix *matrix, int64_t experts, uint64_t seed, float size)
{
    int64_t tiles = experts * matrix->row_tiles * matrix->column_tiles;
    if (tiles == 0)
        return SLIP_OK;
    if (!(size > 0) || !(size < 1e30f))
        return slip_fail(SLIP_ERR_INPUT, "random weights of size %g", (double)size);
    slip_cuda_matrix filled = *matrix;
    int bytes = slip_tile_bytes(matrix->format);
    uint64_t key = slip_random_mix(seed);
    filling f = filling_of(size);
    void *arguments[] = {&filled, &bytes, &tiles, &key, &f};
    return run((const void *)fill_matrix, grid(tiles), arguments, "a matrix");
}

slip_status slip_cuda_random_vector(float *device, int64_t count, uint64_t seed, float mean, float spread)
{
    if (count <= 0)
        return SLIP_OK;
    uint64_t key = slip_random_mix(seed);
    void *arguments[] = {&device, &count, &key, &mean, &spread};
    return run((const void *)fill_vector, grid((count + THREADS - 1) / THREADS), arguments, "a vector");
}

slip_status slip_cuda_random_rows(uint16_t *device, int64_t count, uint64_t seed, float size)
{
    if (count <= 0)
        return SLIP_OK;
    uint64_t key = slip_random_mix(seed);
    float bound = size * sqrtf(3.0f);
    void *arguments[] = {&device, &count, &key, &bound};
    return run((const void *)fill_rows, grid((count + 8 * THREADS - 1) / (8 * THREADS)), arguments, "rows");
}
