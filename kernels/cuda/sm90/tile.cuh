/* A weight tile times a block of N tokens: 64 rows x N columns in the registers of a warpgroup. A column's sums
 * are the same for every N, bit for bit: additions and multiplications are written so that the compiler cannot join them here and not there.
 *
 * Thread (warp, g = lane / 4, t = lane % 4) holds rows 16 * warp + g and + 8 of N / 4 tokens, 2t and 2t + 1 of every 8:
 *     c[4 b]     (g, 8 b + 2t)       c[4 b + 1]  (g, 8 b + 2t + 1)
 *     c[4 b + 2] (g + 8, 8 b + 2t)   c[4 b + 3]  (g + 8, 8 b + 2t + 1)
 * The tensor core adds up one tile of bf16 or e4m3 (its accumulators keep 14 bits of those) and 32 columns of mxfp4, whose scales differ;
 * beyond that sums are f32 additions in the order of the columns. Stages hold two tiles. A stage of one tile of bf16 or e4m3 still
 * multiplies both, without a branch between wgmmas; the second result is ignored.
 */
#pragma once

#include "kernels/cuda/sm90/copy.cuh"
#include "kernels/cuda/sm90/wgmma.cuh"

namespace slip {

// Where the operand of a tile's columns lies, shared addresses.
struct operand_address {
    uint32_t codes; // e4m3 codes, or bf16 hi
    uint32_t scale; // e4m3's f32 scales [8 tokens' group][128-column block][8]
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

// Bytes of N tokens' operand: of a tile's columns, and the scales of a block of 128 columns.
template <int N>
constexpr int BF16_BYTES = 64 * N * 2; // hi, or lo
template <int N>
constexpr int F8_BYTES = 128 * N;
template <int N>
constexpr int MXFP4_BYTES = 256 * N;
template <int N>
constexpr int BLOCK_SCALES = N * 4;

// The scales of the thread's tokens 8 b + 2t and the next, in a block of 128 columns, of which a tile has BLOCKS.
template <int BLOCKS>
__device__ __forceinline__ float2 token_scales(uint32_t scale, int block, int b)
{
    return shared_float2(scale + (b * BLOCKS + block) * BLOCK_SCALES<8> + threadIdx.x % 4 * 2 * 4);
}

// ---- bf16: 64 columns a tile, tokens twice: hi and lo ----

template <int N>
__device__ __forceinline__ void tile_bf16(uint32_t tile, uint32_t codes, uint32_t lo, float (&c)[2 * SUMS<N>])
{
    uint64_t a = matrix_descriptor(tile, 1024, 128), b = matrix_descriptor(codes, 128, lo);
    matrix_bf16<N, true>(c, a, b);
#pragma unroll
    for (int k = 1; k < 4; k++) // 16 columns: two slices of 1024 bytes of weights, of 128 of the operand
        matrix_bf16<N, false>(c, a + k * (2048 >> 4), b + k * (256 >> 4));
}

// `lo`: bytes from the operand's hi to its lo.
template <int N>
__device__ __forceinline__ void stage_bf16(uint32_t stage, uint32_t lo, const operand_address &x, const operand_address &y,
                                           float (&one)[SUMS<N>], float (&two)[SUMS<N>])
{
    float c[2 * SUMS<N>], d[2 * SUMS<N>];
    matrix_fence();
    tile_bf16<N>(stage, x.codes, lo, c);
    tile_bf16<N>(stage + SLIP_TILE_BF16, y.codes, lo, d);
    matrix_commit();
    matrix_wait<0>();
    pin(c);
    pin(d);
#pragma unroll
    for (int i = 0; i < SUMS<N>; i++) {
        one[i] = c[i] + c[i + SUMS<N>];
        two[i] = d[i] + d[i + SUMS<N>];
    }
}

// ---- e4m3 with scales: 128 columns a tile ----

template <int N>
__device__ __forceinline__ void tile_f8(uint32_t tile, uint32_t codes, float (&c)[SUMS<N>])
{
    uint64_t a = matrix_descriptor(tile, 1024, 128), b = matrix_descriptor(codes, 128, F8_BYTES<8>);
    matrix_f8<N, true>(c, a, b);
#pragma unroll
    for (int k = 1; k < 4; k++)
        matrix_f8<N, false>(c, a + k * (2048 >> 4), b + k * (256 >> 4));
}

// The scales of a thread's rows g and g + 8 of a tile, and of its tokens.
template <int N>
struct f8_scales {
    float upper, lower;
    float2 token[N / 8];
};

template <int N>
__device__ __forceinline__ f8_scales<N> load_f8_scales(uint32_t tile, uint32_t scale)
{
    const uint32_t rows = tile + slip_tile_f8_scale_at(threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4);
    f8_scales<N> scales = {shared_float(rows), shared_float(rows + 8 * 4)};
#pragma unroll
    for (int b = 0; b < N / 8; b++)
        scales.token[b] = token_scales<1>(scale, 0, b);
    return scales;
}

template <int N>
__device__ __forceinline__ void scale_f8(const f8_scales<N> &scales, const float (&c)[SUMS<N>], float (&v)[SUMS<N>])
{
#pragma unroll
    for (int b = 0; b < N / 8; b++) {
        const float2 token = scales.token[b];
        v[4 * b] = c[4 * b] * (scales.upper * token.x);
        v[4 * b + 1] = c[4 * b + 1] * (scales.upper * token.y);
        v[4 * b + 2] = c[4 * b + 2] * (scales.lower * token.x);
        v[4 * b + 3] = c[4 * b + 3] * (scales.lower * token.y);
    }
}

template <int N>
__device__ __forceinline__ void stage_f8(uint32_t stage, const operand_address &x, const operand_address &y, float (&one)[SUMS<N>],
                                         float (&two)[SUMS<N>])
{
    float c[SUMS<N>], d[SUMS<N>];
    matrix_fence();
    tile_f8<N>(stage, x.codes, c);
    tile_f8<N>(stage + SLIP_TILE_F8, y.codes, d);
    matrix_commit();
    matrix_wait<0>();
    pin(c);
    pin(d);
    scale_f8<N>(load_f8_scales<N>(stage, x.scale), c, one);
    scale_f8<N>(load_f8_scales<N>(stage + SLIP_TILE_F8, y.scale), d, two);
}

// ---- mxfp4: 256 columns a tile ----

constexpr float DECODED = 64; // undoes the decoder's factor; it is multiplied into the tokens' factors

__device__ __forceinline__ float undo_of(int format)
{
    return format == SLIP_WEIGHT_MXFP4 ? DECODED : 1;
}

// Decodes 8 codes of two rows to e4m3 of value * 2^-6 in 5 instructions: slip_tile_mxfp4_merge() has put the bits where e4m3 has them.
__device__ __forceinline__ void decode(uint32_t word, uint32_t &upper, uint32_t &lower)
{
    upper = word & 0x9C9C9C9Cu;
    lower = ((word << 2) & 0x8C8C8C8Cu) | ((word >> 2) & 0x10101010u);
}

// E8M0: 2^(byte - 127). Byte 0, a subnormal (all-zero blocks have it), counts as zero; 255, not a number, as infinity.
__device__ __forceinline__ float power(uint32_t scales, int byte)
{
    return __uint_as_float(__byte_perm(scales, 0, 0x4440 | byte) << 23); // to the left: not by the pipe that decodes
}

// Starts the products of 64 columns, a quarter of a tile: two blocks of 32, each with its own scales.
template <int N>
__device__ __forceinline__ void start_quarter(const uint4 &words, uint32_t b, uint32_t (&a)[2][4], float (&c)[2][SUMS<N>])
{
    decode(words.x, a[0][0], a[0][1]);
    decode(words.y, a[0][2], a[0][3]);
    decode(words.z, a[1][0], a[1][1]);
    decode(words.w, a[1][2], a[1][3]);
    pin(a[0]);
    pin(a[1]);
    matrix_fence();
    matrix_f8_registers<N>(c[0], a[0], b);
    matrix_f8_registers<N>(c[1], a[1], b + (256 >> 4));
    matrix_commit();
}

// part += the products of blocks 2 * QUARTER and 2 * QUARTER + 1; `upper`, `lower`: the scales of four blocks of rows g and g + 8.
template <int N, int QUARTER>
__device__ __forceinline__ void finish_quarter(float (&c)[2][SUMS<N>], uint32_t upper, uint32_t lower, float (&part)[SUMS<N>])
{
#pragma unroll
    for (int k = 0; k < 2; k++) {
        pin(c[k]);
        float up = power(upper, QUARTER % 2 * 2 + k), low = power(lower, QUARTER % 2 * 2 + k);
#pragma unroll
        for (int i = 0; i < SUMS<N>; i++)
            part[i] = fmaf(c[k][i], i % 4 < 2 ? up : low, part[i]);
    }
}

// sum += part, block `block` of 128 columns, which is cleared.
template <int N>
__device__ __forceinline__ void add_scaled(float (&sum)[SUMS<N>], float (&part)[SUMS<N>], uint32_t scale, int block)
{
#pragma unroll
    for (int b = 0; b < N / 8; b++) {
        float2 token = token_scales<2>(scale, block, b);
#pragma unroll
        for (int i = 4 * b; i < 4 * b + 4; i++) {
            sum[i] = fmaf(part[i], i % 2 ? token.y : token.x, sum[i]);
            part[i] = 0;
        }
    }
}

// Decodes block BLOCK of 32 columns, of a tile's 8; two of them share 16 bytes.
template <int BLOCK>
__device__ __forceinline__ void decode_block(uint32_t codes, uint4 &words, uint32_t (&a)[4])
{
    if (BLOCK % 2 == 0)
        words = shared_uint4(codes + BLOCK / 2 * SLIP_TILE_MXFP4_LOAD);
    decode(BLOCK % 2 == 0 ? words.x : words.z, a[0], a[1]);
    decode(BLOCK % 2 == 0 ? words.y : words.w, a[2], a[3]);
    pin(a);
}

// Many tokens, whose sums leave few registers: PIECES of them are multiplied one after the other. Two products are under way, a product being
// a piece of 32 columns; the next 32 columns are decoded meanwhile.
template <int N, int PIECES>
struct tile_walk {
    static constexpr int WIDTH = N / PIECES, PRODUCTS = 8 * PIECES;
    uint32_t codes, b;
    uint4 words, scales;
    uint32_t a[2][4];
    float c[2][SUMS<WIDTH>], part[SUMS<N>];

    template <int PRODUCT>
    __device__ __forceinline__ void start()
    {
        constexpr int BLOCK = PRODUCT / PIECES, PIECE = PRODUCT % PIECES;
        matrix_fence();
        matrix_f8_registers<WIDTH>(c[PRODUCT % 2], a[BLOCK % 2], b + (BLOCK * 256 + PIECE * WIDTH / 8 * MXFP4_GROUP >> 4));
        matrix_commit();
    }

    template <int PRODUCT>
    __device__ __forceinline__ void finish()
    {
        constexpr int BLOCK = PRODUCT / PIECES, FIRST = PRODUCT % PIECES * SUMS<WIDTH>;
        pin(c[PRODUCT % 2]);
        const float up = power(BLOCK < 4 ? scales.x : scales.y, BLOCK % 4), low = power(BLOCK < 4 ? scales.z : scales.w, BLOCK % 4);
#pragma unroll
        for (int i = 0; i < SUMS<WIDTH>; i++)
            part[FIRST + i] = fmaf(c[PRODUCT % 2][i], i % 4 < 2 ? up : low, part[FIRST + i]);
    }

    // From product PRODUCT on, which is under way with the next one.
    template <int PRODUCT>
    __device__ __forceinline__ void go(uint32_t scale, float (&sum)[SUMS<N>])
    {
        constexpr int NEXT = PRODUCT + 2, BLOCK = NEXT / PIECES;
        if constexpr (NEXT < PRODUCTS && NEXT % PIECES == 0)
            decode_block<BLOCK>(codes, words, a[BLOCK % 2]);
        matrix_wait<(PRODUCT + 1 < PRODUCTS)>();
        finish<PRODUCT>();
        if constexpr (NEXT < PRODUCTS)
            start<NEXT>();
        if constexpr ((PRODUCT + 1) % (4 * PIECES) == 0)
            add_scaled<N>(sum, part, scale, PRODUCT / (4 * PIECES));
        if constexpr (PRODUCT + 1 < PRODUCTS)
            go<PRODUCT + 1>(scale, sum);
    }
};

// Where a thread finds what it needs of a tile of mxfp4 and its operand, shared addresses.
struct mxfp4_address {
    uint32_t codes, scales; // its codes; the scales of its rows g and g + 8, 8 blocks each
    uint32_t b;             // the low word of the operand's descriptor, from a shuffle
    uint32_t token;         // the scales of the operand's tokens
};

__device__ __forceinline__ mxfp4_address mxfp4_address_of(uint32_t tile, const operand_address &x, uint32_t thread)
{
    const uint32_t lane = thread % 32, row = thread / 32 % 4 * 16 + lane / 4;
    return {tile + thread / 32 % 4 * SLIP_TILE_MXFP4_WARP + lane * 16, tile + slip_tile_mxfp4_scales_at(row),
            __shfl_sync(~0u, (uint32_t)matrix_descriptor(x.codes, 128, MXFP4_GROUP), 0), x.scale};
}

template <int N, int PIECES>
__device__ __forceinline__ void tile_mxfp4_in_turn(const mxfp4_address &at, float (&sum)[SUMS<N>])
{
    tile_walk<N, PIECES> t;
    t.codes = at.codes;
    t.b = at.b;
    t.scales = shared_uint4(at.scales);
#pragma unroll
    for (int i = 0; i < SUMS<N>; i++)
        t.part[i] = 0;
    decode_block<0>(t.codes, t.words, t.a[0]);
    t.template start<0>();
    if (PIECES == 1)
        decode_block<1>(t.codes, t.words, t.a[1]);
    t.template start<1>();
    t.template go<0>(at.token, sum);
}

// A quarter is decoded while the tensor core multiplies the one before, and the codes of the next are on their way.
template <int N>
__device__ __forceinline__ void tile_mxfp4(const mxfp4_address &at, float (&sum)[SUMS<N>])
{
    uint4 even = shared_uint4(at.codes), odd = shared_uint4(at.codes + SLIP_TILE_MXFP4_LOAD);
    const uint4 scales = shared_uint4(at.scales);
    uint32_t a[2][2][4];
    float c[2][2][SUMS<N>], part[SUMS<N>] = {};
    start_quarter<N>(even, at.b, a[0], c[0]);
    even = shared_uint4(at.codes + 2 * SLIP_TILE_MXFP4_LOAD);
    start_quarter<N>(odd, at.b + (512 >> 4), a[1], c[1]);
    odd = shared_uint4(at.codes + 3 * SLIP_TILE_MXFP4_LOAD);
    matrix_wait<1>();
    finish_quarter<N, 0>(c[0], scales.x, scales.z, part);
    start_quarter<N>(even, at.b + (1024 >> 4), a[0], c[0]);
    matrix_wait<1>();
    finish_quarter<N, 1>(c[1], scales.x, scales.z, part);
    add_scaled<N>(sum, part, at.token, 0);
    start_quarter<N>(odd, at.b + (1536 >> 4), a[1], c[1]);
    matrix_wait<1>();
    finish_quarter<N, 2>(c[0], scales.y, scales.w, part);
    matrix_wait<0>();
    finish_quarter<N, 3>(c[1], scales.y, scales.w, part);
    add_scaled<N>(sum, part, at.token, 1);
}

} // namespace slip
