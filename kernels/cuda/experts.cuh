/* EXPERTS, in two ops: UP, gate | up of every picked expert, then DOWN, swiglu and the way back, one result a pick, unweighted; SUM
 * weights them and adds them up in ascending order of the experts.
 *
 * Which tiles there are is made on the GPU from the routing: each SM builds the same list of distinct experts of the row group and
 * takes its range of the list's units. A product always has all 8 tokens of the group; only those that picked the expert are kept,
 * so a token's result does not depend on who else picked it.
 */
#pragma once

#include "kernels/cuda/linear.cuh"

namespace slip {

constexpr int BITMAP_WORDS = SLIP_MAX_EXPERTS / 32;

// Local expert of pick `i` of the group, -1 where another rank has it.
__device__ __forceinline__ int local_expert(const slip_cuda_op &op, int group, int i)
{
    int e = op.picks.expert[(int64_t)group * SLIP_TOKENS * op.top_k + i] - op.first_expert;
    return e >= 0 && e < op.experts ? e : -1;
}

// Place of `expert` in the ascending list.
__device__ __forceinline__ int rank_of(const uint32_t *bitmap, int expert)
{
    int rank = __popc(bitmap[expert / 32] & ((1u << expert % 32) - 1));
    for (int i = 0; i < expert / 32; i++)
        rank += __popc(bitmap[i]);
    return rank;
}

// All consumers. Behind it the list is there for them and, through list_ready, for the producers. `built` counts the lists before
// this one.
__device__ __forceinline__ void build_list(const waiter &w, const slip_cuda_op &op, const context &c, shared_memory &s, int group, unsigned built)
{
    int picks = min(SLIP_TOKENS, c.step->rows - group * SLIP_TOKENS) * op.top_k;
    if (c.thread == 0) // the producers may still be at the last one
        mbarrier_wait(w, SLIP_WAIT_LIST, &s.list_free, built + 1);
    for (int i = c.thread; i < BITMAP_WORDS; i += CONSUMERS)
        s.bitmap[i] = 0;
    consumers_sync();
    for (int i = c.thread; i < picks; i += CONSUMERS) {
        int e = local_expert(op, group, i);
        if (e >= 0)
            atomicOr(&s.bitmap[e / 32], 1u << e % 32);
    }
    for (int i = c.thread; i < SLIP_LIST_MAX; i += CONSUMERS)
        s.list.tokens[i] = 0;
    consumers_sync();
    for (int i = c.thread; i < picks; i += CONSUMERS) {
        int e = local_expert(op, group, i), token = i / op.top_k;
        if (e < 0)
            continue;
        int at = rank_of(s.bitmap, e);
        s.list.expert[at] = e;
        atomicOr(&s.list.tokens[at], 1u << token);
        s.list.pick[at][token] = (uint8_t)(i - token * op.top_k);
    }
    if (c.thread == CONSUMERS - 1)
        s.list.count = rank_of(s.bitmap, op.experts - 1) + (s.bitmap[(op.experts - 1) / 32] >> (op.experts - 1) % 32 & 1);
    consumers_sync();
    if (c.thread == 0)
        mbarrier_arrive(&s.list_ready);
}

// DOWN of the same row group finds UP's list in place, unless it is the first op of its launch.
__device__ __forceinline__ bool list_kept(const slip_cuda_op &op, const slip_cuda_step *step, bool first)
{
    return op.kind == SLIP_CUDA_DOWN && step->rows <= SLIP_TOKENS && !first;
}

__device__ __forceinline__ void produce_experts(const waiter &w, producer &p, const slip_cuda_op &op, const slip_cuda_step *step, int sm,
                                                int sms, shared_memory &s, bool first, unsigned &lists)
{
    const slip_cuda_matrix m = op.matrix;
    int bytes = slip_store_bytes(m.store);
    bool kept = list_kept(op, step, first);
    for (int group = 0; group < groups_of(step->rows); group++) {
        if (!kept && !mbarrier_wait(w, SLIP_WAIT_LIST, &s.list_ready, lists++))
            return;
        unit_range range = units_of((int64_t)s.list.count * m.units, sm, sms);
        for (int i = range.first + p.warpgroup; i < range.last; i += WARPGROUPS) {
            int at = i / m.units;
            unit u = unit_at(m, i - at * m.units);
            produce(w, p, m.data + s.list.expert[at] * m.expert_bytes + unit_granule(m, u) * bytes, u.tiles * u.length, bytes);
        }
        if (op.kind == SLIP_CUDA_DOWN || step->rows > SLIP_TOKENS) // else DOWN keeps it
            mbarrier_arrive(&s.list_free);
    }
}

// A tile's rows for the tokens that picked the expert; `out` is the place of (token 0, pick 0).
__device__ __forceinline__ void write_picks(const slip_cuda_op &op, const expert_list &list, int at, int group, int chunk, int tile,
                                            const float (&sum)[4], const float *factor)
{
    int lane = threadIdx.x % 32, row = tile * SLIP_TILE + threadIdx.x / 32 % 4 * 16 + lane / 4;
    uint32_t tokens = list.tokens[at];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int token = lane % 4 * 2 + i;
        if ((tokens >> token & 1) == 0)
            continue;
        int64_t pick = ((int64_t)group * SLIP_TOKENS + token) * op.top_k + list.pick[at][token];
        float *to = op.out.data + (pick * op.out.parts + chunk) * op.out.stride + row;
        to[0] = sum[i] * factor[token];
        to[8] = sum[i + 2] * factor[token];
    }
}

__device__ __forceinline__ void op_up(const waiter &w, consumer &r, const slip_cuda_op &op, const context &c, shared_memory &s, unsigned &lists)
{
    const slip_cuda_matrix &m = op.matrix;
    for (int group = 0; group < groups_of(c.step->rows); group++) {
        activations x = load_operand(op.act, m, group, 0, m.granules, c);
        load_factor(op.act, op.epsilon, group, c, s.factor);
        build_list(w, op, c, s, group, lists++);
        fence_async_shared();
        consumers_sync();
        if (c.sm == 0 && c.thread == 0)
            atomicAdd(&w.words->picked, (unsigned)s.list.count);
        unit_range range = units_of((int64_t)s.list.count * m.units, c.sm, c.sms);
        for (int i = range.first + r.warpgroup; i < range.last; i += WARPGROUPS) {
            int at = i / m.units;
            unit u = unit_at(m, i - at * m.units);
            multiply(w, r, m.store, u, x, u.chunk * m.chunk, [&](int tile, const float (&sum)[4]) {
                write_picks(op, s.list, at, group, u.chunk, tile, sum, s.factor);
            });
        }
        if (group + 1 < groups_of(c.step->rows))
            consumers_sync();
    }
}

// ---- down ----

__device__ __forceinline__ float silu(float x)
{
    return x / (1 + __expf(-x));
}

// Four neighbouring columns of silu(gate) * up of one pick: sums of UP's parts, which lie as gate | up.
__device__ __forceinline__ float4 swiglu_at(const float *parts, int count, int stride, int width, int column)
{
    float gate[4] = {}, up[4] = {}, v[4];
    for (int part = 0; part < count; part++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (column + i < width) {
                gate[i] += parts[(int64_t)part * stride + column + i];
                up[i] += parts[(int64_t)part * stride + width + column + i];
            }
#pragma unroll
    for (int i = 0; i < 4; i++)
        v[i] = column + i < width ? silu(gate[i]) * up[i] : 0;
    return make_float4(v[0], v[1], v[2], v[3]);
}

// Shared memory of one expert's operand.
__device__ __forceinline__ int down_bytes(const slip_cuda_matrix &m)
{
    int bytes = m.plane * act_bytes(m.store);
    return m.store == SLIP_STORE_BF16 ? 2 * bytes : bytes + m.plane * slip_store_columns(m.store) / SLIP_FORM_BLOCK * SLIP_TOKENS * 4;
}

// The warp's 128 columns of one token into an expert's operand in the arena; bf16 operands may end inside of the last block.
__device__ __forceinline__ void store_operand(unsigned char *to, const slip_cuda_matrix &m, int token, int block, float4 v)
{
    int lane = threadIdx.x % 32, column = block * SLIP_FORM_BLOCK + lane * 4;
    if (m.store == SLIP_STORE_BF16) {
        if (column >= m.plane * slip_store_columns(m.store))
            return;
        unsigned char *at = to + (column / 8 * SLIP_TOKENS + token) * 16 + column % 8 * 2;
        *(uint2 *)at = bf16_pack(v);
        *(uint2 *)(at + m.plane * BF16_BYTES) = bf16_pack(bf16_rest(v));
        return;
    }
    float scale = f8_scale(warp_most(fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)))));
    *(uint32_t *)(to + (column / 16 * SLIP_TOKENS + token) * 16 + column % 16) = f8_pack(v, scale);
    float *scales = (float *)(to + m.plane * act_bytes(m.store));
    if (lane == 0)
        scales[block * SLIP_TOKENS + token] = m.store == SLIP_STORE_MXFP4 ? scale * DECODED : scale;
}

// Operands of the list's experts [first, last): a warp an (expert, token, block). Columns of tokens that did not pick the expert
// keep what was there: nobody looks at their products.
__device__ __forceinline__ void make_operands(const slip_cuda_op &op, const context &c, const expert_list &list, int group, int first, int last)
{
    const slip_cuda_matrix &m = op.matrix;
    int columns = m.plane * slip_store_columns(m.store), blocks = (columns + SLIP_FORM_BLOCK - 1) / SLIP_FORM_BLOCK;
    for (int i = c.thread / 32; i < (last - first) * SLIP_TOKENS * blocks; i += CONSUMER_WARPS) {
        int block = i % blocks, token = i / blocks % SLIP_TOKENS, at = first + i / blocks / SLIP_TOKENS;
        if ((list.tokens[at] >> token & 1) == 0)
            continue;
        int64_t pick = ((int64_t)group * SLIP_TOKENS + token) * op.top_k + list.pick[at][token];
        float4 v = swiglu_at(op.in.data + pick * op.in.parts * op.in.stride, op.in.parts, op.in.stride, op.width,
                             block * SLIP_FORM_BLOCK + c.thread % 32 * 4);
        store_operand(c.arena + (at - first) * down_bytes(m), m, token, block, v);
    }
}

__device__ __forceinline__ void op_down(const waiter &w, consumer &r, const slip_cuda_op &op, const context &c, shared_memory &s, bool first,
                                        unsigned &lists)
{
    const slip_cuda_matrix &m = op.matrix;
    int each = down_bytes(m), room = SLIP_CUDA_ARENA / each;
    bool kept = list_kept(op, c.step, first);
    for (int group = 0; group < groups_of(c.step->rows); group++) {
        if (!kept)
            build_list(w, op, c, s, group, lists++);
        unit_range range = units_of((int64_t)s.list.count * m.units, c.sm, c.sms);
        int mine = range.first + r.warpgroup; // this warpgroup's next unit
        for (int base = range.first / m.units; base * m.units < range.last; base += room) {
            int end = min(base + room, (range.last + m.units - 1) / m.units);
            consumers_sync(); // the arena is about to be overwritten
            make_operands(op, c, s.list, group, base, end);
            if (c.thread < SLIP_TOKENS)
                s.factor[c.thread] = 1;
            fence_async_shared();
            consumers_sync();
            for (; mine < range.last && mine < end * m.units; mine += WARPGROUPS) {
                int at = mine / m.units;
                unit u = unit_at(m, mine - at * m.units);
                uint32_t operand_at = shared_address(c.arena) + (at - base) * each;
                const float *scale = (const float *)(c.arena + (at - base) * each + m.plane * act_bytes(m.store));
                activations x = {operand_at, (uint32_t)(m.plane * BF16_BYTES), scale, m.plane};
                multiply(w, r, m.store, u, x, u.chunk * m.chunk, [&](int tile, const float (&sum)[4]) {
                    write_picks(op, s.list, at, group, u.chunk, tile, sum, s.factor);
                });
            }
        }
        consumers_sync();
    }
}

} // namespace slip
