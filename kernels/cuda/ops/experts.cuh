/* EXPERTS, in two ops: MOE_GATE_UP, gate | up of every picked expert, then MOE_DOWN, swiglu and the way back, one result a pick,
 * unweighted; REDUCE_NORM weights them and adds them up in ascending order of the experts.
 *
 * Every SM builds the same list of the row group's distinct experts from the picks and works on its range of the list's units. A product
 * multiplies by all 8 tokens of the group; only results of tokens that picked the expert are kept, so a token's result does not depend on
 * who else picked it.
 */
#pragma once

#include "kernels/cuda/ops/operand.cuh"

namespace slip {

constexpr int BITMAP_WORDS = SLIP_MAX_EXPERTS / 32;

// A word that another SM stores whole.
__device__ __forceinline__ uint64_t load_word(const uint64_t *p)
{
    uint64_t v;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ void store_word(uint64_t *p, uint64_t v)
{
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

// Local expert of pick `i` of the group, -1 where another rank has it. Waits until the row has picked.
__device__ __forceinline__ int local_expert(const slip_cuda_product &op, const context &c, int group, int i)
{
    const uint64_t *from = op.picks.word + slip_pick_of(group * SLIP_TOKENS, op.top_k, i);
    const uint32_t turn = slip_cuda_turn(c.number, op.route);
    uint64_t word;
    wait_for(*c.wait, SLIP_WAIT_PICKS, turn, c.wait->timeout_cycles, [&](unsigned &seen) {
        word = load_word(from);
        seen = (unsigned)(word >> 32);
        return seen == turn || c.number == 0;
    });
    int e = (int)(uint32_t)word - op.first_expert;
    return e >= 0 && e < op.experts ? e : -1;
}

// Index of `expert` in the ascending list.
__device__ __forceinline__ int rank_of(const uint32_t *bitmap, int expert)
{
    int rank = __popc(bitmap[expert / 32] & ((1u << expert % 32) - 1));
#pragma unroll 4
    for (int i = 0; i < expert / 32; i++)
        rank += __popc(bitmap[i]);
    return rank;
}

// All consumers call this before build_list(), with a barrier in between.
__device__ __forceinline__ void clear_list(shared_memory &s)
{
    const context &c = s.here;
    mbarrier_wait(s.consumers.wait, SLIP_WAIT_LIST, &s.list_free, s.consumers.lists + 1); // producers may still read the previous list
    for (int i = c.thread(); i < BITMAP_WORDS; i += CONSUMERS)
        s.bitmap[i] = 0;
    for (int i = c.thread(); i < SLIP_LIST_MAX; i += CONSUMERS)
        s.list.tokens[i] = 0;
}

// By all consumers. Afterwards the list is there for them and, through list_ready, for the producers.
static __device__ __noinline__ void build_list(shared_memory &s, const slip_cuda_op &op, int group)
{
    const context &c = s.here;
    const slip_cuda_product &p = op.product;
    int picks = min(SLIP_TOKENS, c.rows - group * SLIP_TOKENS) * p.top_k;
    int mine = c.thread() < picks ? local_expert(p, c, group, c.thread()) : -1;
    static_assert(SLIP_LIST_MAX <= CONSUMERS, "a thread a pick");
    bool names = false; // one of the threads with the same expert writes it
    if (mine >= 0)
        names = (atomicOr(&s.bitmap[mine / 32], 1u << mine % 32) >> mine % 32 & 1) == 0;
    consumers_sync();
    if (mine >= 0) {
        int at = rank_of(s.bitmap, mine), token = c.thread() / p.top_k;
        if (names)
            s.list.expert[at] = mine;
        atomicOr(&s.list.tokens[at], 1u << token);
        s.list.pick[at][token] = (uint8_t)(c.thread() - token * p.top_k);
    }
    if (c.thread() == CONSUMERS - 1)
        s.list.count = rank_of(s.bitmap, p.experts - 1) + (s.bitmap[(p.experts - 1) / 32] >> (p.experts - 1) % 32 & 1);
    consumers_sync();
    // Each thread arrives for what it has written. One arrival behind the barrier would do, but racecheck does not understand that.
    mbarrier_arrive(&s.list_ready);
    if (c.thread() == 0) {
        s.consumers.lists++;
        if (c.sm == 0 && op.kind == SLIP_CUDA_MOE_GATE_UP)
            atomicAdd(&s.consumers.wait.words->picked, (unsigned)s.list.count);
    }
}

// MOE_DOWN reuses MOE_GATE_UP's list of the same row group, unless it is the first op of its launch.
__device__ __forceinline__ bool list_kept(const slip_cuda_op &op, int rows, bool first)
{
    return op.kind == SLIP_CUDA_MOE_DOWN && rows <= SLIP_TOKENS && !first;
}

// ---- down ----

__device__ __forceinline__ float silu(float x)
{
    return __fdividef(x, 1 + __expf(-x));
}

__device__ __forceinline__ float4 swiglu(const float4 &gate, const float4 &up)
{
    return make_float4(silu(gate.x) * up.x, silu(gate.y) * up.y, silu(gate.z) * up.z, silu(gate.w) * up.w);
}

// Four neighbouring columns of silu(gate) * up, zeros beyond `width`, a multiple of 4. The parts of gate | up lie `step` floats apart; loads
// of both are in flight together.
__device__ __forceinline__ float4 swiglu_at(const float *parts, int count, int step, int width, int column)
{
    if (column >= width)
        return zero();
    constexpr int BATCH = 4; // see sum_parts; SLIP_GATE_UP_PARTS keeps to it
    float4 gate = zero(), up = zero();
    parts += column;
#pragma unroll 1
    for (int i = 0; i < count; i += BATCH, parts += (int64_t)BATCH * step) {
        float4 v[BATCH], w[BATCH];
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            v[j] = i + j < count ? *(const float4 *)(parts + (int64_t)j * step) : zero();
            w[j] = i + j < count ? *(const float4 *)(parts + (int64_t)j * step + width) : zero();
        }
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            gate = add(gate, v[j]);
            up = add(up, w[j]);
        }
    }
    return swiglu(gate, up);
}

// Shared memory of one expert's operand.
__device__ __forceinline__ int down_bytes(const slip_cuda_matrix &m)
{
    int bytes = m.plane_tiles * operand_bytes<SLIP_TOKENS>(m.format);
    return m.format == SLIP_WEIGHT_BF16 ? 2 * bytes
                                        : bytes + m.plane_tiles * slip_tile_columns(m.format) / SLIP_F8_BLOCK * BLOCK_SCALES<SLIP_TOKENS>;
}

// Stores the warp's 128 columns of one token to an expert's operand in the arena. A bf16 operand may end inside the last block.
__device__ __forceinline__ void store_operand(unsigned char *to, const slip_cuda_matrix &m, int token, int block, float4 v)
{
    int lane = threadIdx.x % 32, column = block * SLIP_F8_BLOCK + lane * 4;
    if (m.format == SLIP_WEIGHT_BF16) {
        if (column >= m.plane_tiles * slip_tile_columns(m.format))
            return;
        unsigned char *at = to + slip_operand_bf16_at(0, 0, token, column) * 2;
        uint2 high = bf16_pack(v);
        *(uint2 *)at = high;
        *(uint2 *)(at + m.plane_tiles * BF16_BYTES<SLIP_TOKENS>) = bf16_rest(high, v);
        return;
    }
    float scale = f8_scale(warp_most(fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)))));
    *(uint32_t *)(to + slip_operand_q8_at(0, 0, token, column)) = f8_pack(v, scale);
    float *scales = (float *)(to + m.plane_tiles * operand_bytes<SLIP_TOKENS>(m.format));
    if (lane == 0)
        scales[slip_operand_block_at(0, 0, token, block)] = scale;
}

// Makes the operands of the batch's experts. Blocks of 128 columns are dealt out to the warps in turn, across tokens and experts. Tokens that
// did not pick an expert keep what was there: their products are ignored.
static __device__ __noinline__ void down_operands(shared_memory &s, const slip_cuda_product &op, int group, unit_range batch)
{
    const context &c = s.here;
    const slip_cuda_matrix &m = op.matrix;
    int each = down_bytes(m), first = batch.first / m.units, last = (batch.last + m.units - 1) / m.units;
    int blocks = (m.plane_tiles * slip_tile_columns(m.format) + SLIP_F8_BLOCK - 1) / SLIP_F8_BLOCK;
    int turn = c.thread() / 32; // this warp's next block, counted from the current token
#pragma unroll 1
    for (int at = first; at < last; at++)
#pragma unroll 1
        for (uint32_t tokens = s.list.tokens[at]; tokens; tokens &= tokens - 1) {
            int token = __ffs(tokens) - 1;
            int pick = slip_pick_of(group * SLIP_TOKENS + token, op.top_k, s.list.pick[at][token]);
            const float *parts = op.in.data + slip_pick_at(&op.in, pick, 0);
#pragma unroll 1
            for (; turn < blocks; turn += CONSUMER_WARPS) {
                float4 v = swiglu_at(parts, op.in.parts, op.in.stride, op.width, turn * SLIP_F8_BLOCK + c.thread() % 32 * 4);
                store_operand(c.arena + (at - first) * each, m, token, turn, v);
            }
            turn -= blocks;
        }
    if (c.thread() < SLIP_TOKENS)
        s.factor[c.thread()] = undo_of(m.format);
    uint32_t arena = shared_address(c.arena);
    if (c.thread() == 0)
        s.job = {arena,
                 (uint32_t)(m.plane_tiles * BF16_BYTES<SLIP_TOKENS>),
                 arena + m.plane_tiles * operand_bytes<SLIP_TOKENS>(m.format),
                 m.plane_tiles,
                 0,
                 first,
                 each};
}

} // namespace slip
