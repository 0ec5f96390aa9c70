/* A unit of weights times one row group: 64 rows x 8 tokens in the registers of a warpgroup.
 *
 * Thread (warp, g = lane / 4, t = lane % 4) holds rows 16 * warp + g and + 8, tokens 2t and 2t + 1:
 *     c[0] (g, 2t)   c[1] (g, 2t + 1)   c[2] (g + 8, 2t)   c[3] (g + 8, 2t + 1)
 * The tensor core adds up one granule of bf16 or e4m3 (its accumulators keep 14 bits of those) and 32 columns of mxfp4, whose
 * scales differ; beyond that sums are f32 additions in the order of the columns. Stages hold two granules: both are always
 * multiplied, without a branch between wgmmas, and the second counts only if it belongs to the tile.
 */
#pragma once

#include "kernels/cuda/ring.cuh"

namespace slip {

// Activations in the arena: granule j of the operand lies at address + j * (bytes of 8 tokens x the granule's columns).
struct activations {
    uint32_t address; // shared: e4m3 codes, or bf16 hi
    uint32_t lo;      // bf16: bytes from hi to lo
    uint32_t scale;   // shared: e4m3's f32 scales [128-column block][8]
    int plane;        // bf16: granules of the operand; granule j of the matrix meets j % plane
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
__device__ __forceinline__ float2 token_scales(const activations &x, int block)
{
    return shared_float2(x.scale + (block * SLIP_TOKENS + threadIdx.x % 4 * 2) * 4);
}

// ---- bf16: 64 columns a granule, tokens twice: hi and lo ----

constexpr int BF16_BYTES = 64 * SLIP_TOKENS * 2; // of activations a granule

__device__ __forceinline__ void granule_bf16(uint32_t tile, const activations &x, int granule, float (&c)[8])
{
    int at = granule < x.plane ? granule : granule - x.plane;
    uint64_t a = operand(tile, 1024, 128), b = operand(x.address + at * BF16_BYTES, 128, x.lo);
    matrix_bf16<true>(c, a, b);
#pragma unroll
    for (int k = 1; k < 4; k++) // 16 columns: two units of 1024 bytes of weights, of 128 of activations
        matrix_bf16<false>(c, a + k * (2048 >> 4), b + k * (256 >> 4));
}

__device__ __forceinline__ void add_bf16(const float (&c)[8], float (&sum)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        sum[i] += c[i] + c[i + 4];
}

__device__ __forceinline__ void stage_bf16(uint32_t tile, int granules, const activations &x, int granule, float (&sum)[4])
{
    float c0[8], c1[8];
    matrix_fence();
    granule_bf16(tile, x, granule, c0);
    granule_bf16(tile + SLIP_GRANULE_BF16, x, granule + 1, c1);
    matrix_commit();
    matrix_wait<0>();
    pin(c0);
    pin(c1);
    add_bf16(c0, sum);
    if (granules > 1)
        add_bf16(c1, sum);
}

// ---- e4m3 with scales: 128 columns a granule ----

constexpr int F8_BYTES = 128 * SLIP_TOKENS;

__device__ __forceinline__ void granule_f8(uint32_t tile, const activations &x, int granule, float (&c)[4])
{
    uint64_t a = operand(tile, 1024, 128), b = operand(x.address + granule * F8_BYTES, 128, 256);
    matrix_f8<true>(c, a, b);
#pragma unroll
    for (int k = 1; k < 4; k++)
        matrix_f8<false>(c, a + k * (2048 >> 4), b + k * (256 >> 4));
}

__device__ __forceinline__ void scale_f8(uint32_t granule, const activations &x, int index, const float (&c)[4], float (&sum)[4])
{
    uint32_t scale = granule + SLIP_CODE_BYTES + (threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4) * 4;
    float2 token = token_scales(x, index);
    float upper = shared_float(scale), lower = shared_float(scale + 8 * 4);
    sum[0] += c[0] * (upper * token.x);
    sum[1] += c[1] * (upper * token.y);
    sum[2] += c[2] * (lower * token.x);
    sum[3] += c[3] * (lower * token.y);
}

__device__ __forceinline__ void stage_f8(uint32_t tile, int granules, const activations &x, int granule, float (&sum)[4])
{
    float c0[4], c1[4];
    matrix_fence();
    granule_f8(tile, x, granule, c0);
    granule_f8(tile + SLIP_GRANULE_F8, x, granule + 1, c1);
    matrix_commit();
    matrix_wait<0>();
    pin(c0);
    pin(c1);
    scale_f8(tile, x, granule, c0, sum);
    if (granules > 1)
        scale_f8(tile + SLIP_GRANULE_F8, x, granule + 1, c1, sum);
}

// ---- mxfp4: 256 columns a granule ----

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

// 128 columns: four blocks of 32, each with scales of its own.
__device__ __forceinline__ void decode_half(const uint4 &first, const uint4 &second, uint32_t (&a)[4][4])
{
    decode(first.x, a[0][0], a[0][1]);
    decode(first.y, a[0][2], a[0][3]);
    decode(first.z, a[1][0], a[1][1]);
    decode(first.w, a[1][2], a[1][3]);
    decode(second.x, a[2][0], a[2][1]);
    decode(second.y, a[2][2], a[2][3]);
    decode(second.z, a[3][0], a[3][1]);
    decode(second.w, a[3][2], a[3][3]);
#pragma unroll
    for (int k = 0; k < 4; k++)
        pin(a[k]);
}

__device__ __forceinline__ void half_mxfp4(const uint32_t (&a)[4][4], uint32_t upper, uint32_t lower, uint64_t b, float2 token, float (&sum)[4])
{
    float c[4][4], part[4] = {};
    matrix_fence();
#pragma unroll
    for (int k = 0; k < 4; k++)
        matrix_f8_registers(c[k], a[k], b + k * (256 >> 4));
    matrix_commit();
    matrix_wait<0>();
#pragma unroll
    for (int k = 0; k < 4; k++) {
        pin(c[k]);
        float up = power(upper, k), low = power(lower, k);
        part[0] += c[k][0] * up;
        part[1] += c[k][1] * up;
        part[2] += c[k][2] * low;
        part[3] += c[k][3] * low;
    }
    sum[0] += part[0] * token.x;
    sum[1] += part[1] * token.y;
    sum[2] += part[2] * token.x;
    sum[3] += part[3] * token.y;
}

// `last`: nothing else of the stage is needed, so that it is given back as soon as the codes are in registers.
__device__ __forceinline__ void granule_mxfp4(uint32_t tile, const activations &x, int granule, bool last, consumer &r, float (&sum)[4])
{
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, codes = tile + warp * 2048 + lane * 16, a[4][4];
    uint4 scales = shared_uint4(tile + SLIP_CODE_BYTES + warp * 128 + lane / 4 * 16); // rows g and g + 8, 8 blocks each
    uint64_t b = operand(x.address + granule * MXFP4_BYTES, 128, 256);
    decode_half(shared_uint4(codes), shared_uint4(codes + 512), a);
    half_mxfp4(a, scales.x, scales.z, b, token_scales(x, granule * 2), sum);
    decode_half(shared_uint4(codes + 1024), shared_uint4(codes + 1536), a);
    if (last)
        stage_release(r);
    half_mxfp4(a, scales.y, scales.w, b + (1024 >> 4), token_scales(x, granule * 2 + 1), sum);
}

// ---- a whole unit ----

__device__ __forceinline__ void clear(float (&sum)[4])
{
    sum[0] = sum[1] = sum[2] = sum[3] = 0;
}

// A unit in the hands of a warpgroup: which tile, and how many of its granules are done.
struct progress {
    int tile, done, length;
};

// The granules of one stage that belong to the tile in hand; returns how many. mxfp4 gives the stage back itself.
__device__ __forceinline__ int multiply_stage(int store, uint32_t stage, int here, const activations &x, int granule, consumer &r,
                                              progress &p, float (&sum)[4])
{
    int mine = min(here, p.length - p.done);
    if (store == SLIP_STORE_BF16) {
        stage_bf16(stage, mine, x, granule + p.done, sum);
    } else if (store == SLIP_STORE_F8) {
        stage_f8(stage, mine, x, granule + p.done, sum);
    } else {
#pragma unroll 1
        for (int i = 0; i < mine; i++)
            granule_mxfp4(stage + i * SLIP_GRANULE_MXFP4, x, granule + p.done + i, i + 1 == here, r, sum);
    }
    p.done += mine;
    return mine;
}

// The unit's granules in order; `granule` is the operand's index of the chunk's first one. `write(tile, sum)` takes each tile.
template <class Write>
__device__ __forceinline__ void multiply(const waiter &w, consumer &r, int store, const unit &u, const activations &x, int granule, Write write)
{
    float sum[4] = {};
    progress p = {u.tile, 0, u.length};
    int bytes = slip_store_bytes(store);
#pragma unroll 1
    for (int left = u.tiles * u.length; left > 0; left -= SLIP_STAGE_GRANULES) {
        uint32_t stage = stage_wait(w, r);
        int here = min(left, (int)SLIP_STAGE_GRANULES);
#pragma unroll 1
        for (int at = 0; at < here;) { // once, but where a stage holds the single granules of two tiles
            at += multiply_stage(store, stage + at * bytes, here - at, x, granule, r, p, sum);
            if (p.done < p.length)
                continue;
            write(p.tile++, sum);
            clear(sum);
            p.done = 0;
        }
        if (store != SLIP_STORE_MXFP4)
            stage_release(r);
    }
}

} // namespace slip
