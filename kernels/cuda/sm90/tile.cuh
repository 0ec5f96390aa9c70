/* A tile of weights times one row group: 64 rows x 8 tokens in the registers of a warpgroup.
 *
 * Thread (warp, g = lane / 4, t = lane % 4) holds rows 16 * warp + g and + 8, tokens 2t and 2t + 1:
 *     c[0] (g, 2t)   c[1] (g, 2t + 1)   c[2] (g + 8, 2t)   c[3] (g + 8, 2t + 1)
 * The tensor core adds up one tile of bf16 or e4m3 (its accumulators keep 14 bits of those) and 32 columns of mxfp4, whose
 * scales differ; beyond that sums are f32 additions in the order of the columns. Stages hold two tiles. Both of bf16 and e4m3 are
 * always multiplied, without a branch between wgmmas: nobody looks at what a stage of one left of the second.
 */
#pragma once

#include "kernels/cuda/layout/buffer.h"
#include "kernels/cuda/sm90/bulk.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace slip {

// Where a tile's activations lie in the arena, shared addresses.
struct operand_address {
    uint32_t codes; // e4m3 codes, or bf16 hi
    uint32_t scale; // e4m3's f32 scales [128-column block][8]
};

__device__ __forceinline__ float2 shared_float2(uint32_t address)
{
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address));
    return v;
}

__device__ __forceinline__ float shared_float(uint32_t address)
{
    float v;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address));
    return v;
}

__device__ __forceinline__ uint4 shared_uint4(uint32_t address)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address));
    return v;
}

// Scales of the thread's two tokens in a block of 128 columns.
__device__ __forceinline__ float2 token_scales(uint32_t scale, int block)
{
    return shared_float2(scale + (block * SLIP_TOKENS + threadIdx.x % 4 * 2) * 4);
}

constexpr int BLOCK_SCALES = SLIP_TOKENS * 4; // bytes of a block's scales

// ---- bf16: 64 columns a tile, tokens twice: hi and lo ----

constexpr int BF16_BYTES = 64 * SLIP_TOKENS * 2; // of activations a tile

__device__ __forceinline__ void tile_bf16(uint32_t tile, uint32_t codes, uint32_t lo, float (&c)[8])
{
    uint64_t a = matrix_descriptor(tile, 1024, 128), b = matrix_descriptor(codes, 128, lo);
    matrix_bf16<true>(c, a, b);
#pragma unroll
    for (int k = 1; k < 4; k++) // 16 columns: two units of 1024 bytes of weights, of 128 of activations
        matrix_bf16<false>(c, a + k * (2048 >> 4), b + k * (256 >> 4));
}

// `lo`: bytes from the activations' hi to their lo.
__device__ __forceinline__ void stage_bf16(uint32_t stage, uint32_t lo, const operand_address &x, const operand_address &y, float (&one)[4],
                                           float (&two)[4])
{
    float c[8], d[8];
    matrix_fence();
    tile_bf16(stage, x.codes, lo, c);
    tile_bf16(stage + SLIP_TILE_BF16, y.codes, lo, d);
    matrix_commit();
    matrix_wait<0>();
    pin(c);
    pin(d);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        one[i] = c[i] + c[i + 4];
        two[i] = d[i] + d[i + 4];
    }
}

// ---- e4m3 with scales: 128 columns a tile ----

constexpr int F8_BYTES = 128 * SLIP_TOKENS;

__device__ __forceinline__ void tile_f8(uint32_t tile, uint32_t codes, float (&c)[4])
{
    uint64_t a = matrix_descriptor(tile, 1024, 128), b = matrix_descriptor(codes, 128, 256);
    matrix_f8<true>(c, a, b);
#pragma unroll
    for (int k = 1; k < 4; k++)
        matrix_f8<false>(c, a + k * (2048 >> 4), b + k * (256 >> 4));
}

__device__ __forceinline__ void scale_f8(uint32_t tile, uint32_t scale, const float (&c)[4], float (&v)[4])
{
    uint32_t rows = tile + SLIP_TILE_CODES + (threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4) * 4;
    float2 token = token_scales(scale, 0);
    float upper = shared_float(rows), lower = shared_float(rows + 8 * 4);
    v[0] = c[0] * (upper * token.x);
    v[1] = c[1] * (upper * token.y);
    v[2] = c[2] * (lower * token.x);
    v[3] = c[3] * (lower * token.y);
}

__device__ __forceinline__ void stage_f8(uint32_t stage, const operand_address &x, const operand_address &y, float (&one)[4], float (&two)[4])
{
    float c[4], d[4];
    matrix_fence();
    tile_f8(stage, x.codes, c);
    tile_f8(stage + SLIP_TILE_F8, y.codes, d);
    matrix_commit();
    matrix_wait<0>();
    pin(c);
    pin(d);
    scale_f8(stage, x.scale, c, one);
    scale_f8(stage + SLIP_TILE_F8, y.scale, d, two);
}

// ---- mxfp4: 256 columns a tile ----

constexpr int MXFP4_BYTES = 256 * SLIP_TOKENS;
constexpr float DECODED = 64; // what undoes the decoder's factor: it goes into the tokens' factors

// 8 codes of two rows to e4m3 of value * 2^-6, in 5 instructions: the bits lie where e4m3 wants them.
__device__ __forceinline__ void decode(uint32_t word, uint32_t &upper, uint32_t &lower)
{
    upper = word & 0x9C9C9C9Cu;
    lower = ((word << 2) & 0x8C8C8C8Cu) | ((word >> 2) & 0x10101010u);
}

// E8M0: 2^(byte - 127). Byte 0, a subnormal (all-zero blocks have it), counts as zero; 255, not a number, as infinity.
__device__ __forceinline__ float power(uint32_t scales, int byte)
{
    return __uint_as_float(__byte_perm(scales, 0, 0x0444 | byte << 12) >> 1);
}

// 64 columns, a quarter of a tile: two blocks of 32, each with scales of its own. Its products are under way when this returns.
__device__ __forceinline__ void start_quarter(const uint4 &words, uint32_t b, uint32_t (&a)[2][4], float (&c)[2][4])
{
    decode(words.x, a[0][0], a[0][1]);
    decode(words.y, a[0][2], a[0][3]);
    decode(words.z, a[1][0], a[1][1]);
    decode(words.w, a[1][2], a[1][3]);
    pin(a[0]);
    pin(a[1]);
    matrix_fence();
    matrix_f8_registers(c[0], a[0], b);
    matrix_f8_registers(c[1], a[1], b + (256 >> 4));
    matrix_commit();
}

// part += the products of blocks 2 * QUARTER and 2 * QUARTER + 1; `upper`, `lower`: the scales of four blocks of rows g and g + 8.
template <int QUARTER> __device__ __forceinline__ void finish_quarter(float (&c)[2][4], uint32_t upper, uint32_t lower, float (&part)[4])
{
#pragma unroll
    for (int k = 0; k < 2; k++) {
        pin(c[k]);
        float up = power(upper, QUARTER % 2 * 2 + k), low = power(lower, QUARTER % 2 * 2 + k);
        part[0] += c[k][0] * up;
        part[1] += c[k][1] * up;
        part[2] += c[k][2] * low;
        part[3] += c[k][3] * low;
    }
}

__device__ __forceinline__ void add_scaled(float (&sum)[4], float (&part)[4], float2 token)
{
    sum[0] += part[0] * token.x;
    sum[1] += part[1] * token.y;
    sum[2] += part[2] * token.x;
    sum[3] += part[3] * token.y;
    part[0] = part[1] = part[2] = part[3] = 0;
}

// A quarter is decoded while the tensor core is at the one before.
__device__ __forceinline__ void tile_mxfp4(uint32_t tile, const operand_address &x, float (&sum)[4])
{
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, codes = tile + warp * 2048 + lane * 16, a[2][2][4];
    uint4 scales = shared_uint4(tile + SLIP_TILE_CODES + warp * 128 + lane / 4 * 16); // rows g and g + 8, 8 blocks each
    uint32_t b = __shfl_sync(~0u, (uint32_t)matrix_descriptor(x.codes, 128, 256), 0);
    float c[2][2][4], part[4] = {};
    start_quarter(shared_uint4(codes), b, a[0], c[0]);
    start_quarter(shared_uint4(codes + 512), b + (512 >> 4), a[1], c[1]);
    matrix_wait<1>();
    finish_quarter<0>(c[0], scales.x, scales.z, part);
    start_quarter(shared_uint4(codes + 1024), b + (1024 >> 4), a[0], c[0]);
    matrix_wait<1>();
    finish_quarter<1>(c[1], scales.x, scales.z, part);
    add_scaled(sum, part, token_scales(x.scale, 0));
    start_quarter(shared_uint4(codes + 1536), b + (1536 >> 4), a[1], c[1]);
    matrix_wait<1>();
    finish_quarter<2>(c[0], scales.y, scales.w, part);
    matrix_wait<0>();
    finish_quarter<3>(c[1], scales.y, scales.w, part);
    add_scaled(sum, part, token_scales(x.scale, 1));
}

__device__ __forceinline__ void clear(float (&sum)[4])
{
    sum[0] = sum[1] = sum[2] = sum[3] = 0;
}

__device__ __forceinline__ void copy_to(float (&to)[4], const float (&from)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        to[i] = from[i];
}

__device__ __forceinline__ void add_to(float (&sum)[4], const float (&v)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum[i] += v[i];
}

} // namespace slip
