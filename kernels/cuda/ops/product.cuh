/* The products. LINEAR, MOE_GATE_UP and MOE_DOWN differ in their operands and in where results go; units, weights and arithmetic are one code
 * path, to fit the instruction cache: every layer runs the code of all ops, and what does not fit is fetched again (docs/speed-cuda.md).
 *
 *     for each row group:  operands to the arena, list of experts  ->  units of this SM, in batches
 *
 * LINEAR and MOE_GATE_UP have one batch; MOE_DOWN has as many as it takes to fit its experts' operands.
 */
#pragma once

#include "kernels/cuda/ops/counted.cuh"
#include "kernels/cuda/ops/experts.cuh"
#include "kernels/cuda/sync/record.cuh"

namespace slip {

__device__ __forceinline__ int op_rows(const slip_cuda_op &op, int rows, int logit_rows)
{
    return op.logit_rows ? logit_rows : rows;
}

__device__ __forceinline__ bool has_experts(const slip_cuda_op &op)
{
    return op.kind != SLIP_CUDA_LINEAR;
}

// Units of the op on all SMs.
__device__ __forceinline__ int product_units(const slip_cuda_op &op, const shared_memory &s)
{
    return (has_experts(op) ? s.list.count : 1) * op.product.matrix.units;
}

// Units before those of warpgroup `index` of all SMs: shares are contiguous, and the same for every step of the same shape. The SMs that
// pick for the rows of a small step (topk.cuh) begin MOE_GATE_UP when the others are at it.
__device__ __forceinline__ int units_before(const slip_cuda_op &op, int units, int rows, int index, int sms)
{
    const int late = op.kind == SLIP_CUDA_MOE_GATE_UP && rows <= SLIP_TOKENS ? rows * WARPGROUPS : 0;
    auto share = [&](int i) { return (unsigned)(i * SLIP_SHARE - min(i, late) * (SLIP_SHARE - SLIP_LATE_SHARE)); };
    return (int)((unsigned)units * share(index) / share(sms * WARPGROUPS)); // lower_check.c sees that 32 bits are enough
}

// The units of `count` warpgroups from `first` on.
__device__ __forceinline__ unit_range units_of(const slip_cuda_op &op, int units, int rows, int first, int count, int sms)
{
    return {units_before(op, units, rows, first, sms), units_before(op, units, rows, first + count, sms)};
}

// The units of the SM that are computed together, from unit `first` on: of MOE_DOWN those whose experts' operands have room.
__device__ __forceinline__ unit_range product_batch(const slip_cuda_op &op, unit_range sm, int first)
{
    if (op.kind != SLIP_CUDA_MOE_DOWN)
        return sm;
    int room = SLIP_CUDA_ARENA / down_bytes(op.product.matrix);
    return {first, min((first / op.product.matrix.units + room) * op.product.matrix.units, sm.last)};
}

// ---- the producer ----

// Loads all tiles of the units, two a stage. They are contiguous in memory except where an expert ends.
__device__ __forceinline__ void produce_units(const waiter &w, producer &p, const slip_cuda_matrix &m, const int32_t *expert,
                                              unit_range units)
{
    if (units.first >= units.last)
        return;
    cursor from = cursor_of(m, units.first);
    int bytes = slip_tile_bytes(m.format), each = m.column_tiles * m.row_tiles, before = tiles_before(m, from);
    int left = tiles_of(m, from, units), run = each - before; // tiles left in all, and of the current expert
    const unsigned char *data = m.data + (expert ? expert[from.at] * m.expert_bytes : 0) + (int64_t)before * bytes;
#pragma unroll 1
    for (; left > 0; left -= SLIP_STAGE_TILES, p.count++) {
        int here = min(left, (int)SLIP_STAGE_TILES);
        unsigned char *stage = stage_open(w, p, here * bytes);
        if (!stage)
            return;
#pragma unroll 1
        for (int filled = 0; filled < here;) {
            if (run == 0) {
                data = m.data + expert[++from.at] * m.expert_bytes;
                run = each;
            }
            int piece = min(here - filled, run);
            bulk_load(stage + filled * bytes, data, piece * bytes, &p.weights->full[p.warpgroup][p.count % SLIP_RING_DEPTH], p.policy);
            data += piece * bytes;
            filled += piece;
            run -= piece;
        }
    }
}

__device__ __forceinline__ void produce_product(const waiter &w, producer &p, const slip_cuda_op &op, int rows, int logit_rows, int sm,
                                                int sms, shared_memory &s, bool first, unsigned &lists)
{
    const slip_cuda_matrix m = op.product.matrix;
    bool experts = has_experts(op), kept = list_kept(op, rows, first);
#pragma unroll 1
    for (int group = 0; group < slip_groups_of(op_rows(op, rows, logit_rows)); group++) {
        if (experts && !kept && !mbarrier_wait(w, SLIP_WAIT_LIST, &s.list_ready, lists++))
            return;
        unit_range all = units_of(op, product_units(op, s), rows, sm * WARPGROUPS, WARPGROUPS, sms);
        unit_range mine = units_of(op, product_units(op, s), rows, sm * WARPGROUPS + p.warpgroup, 1, sms);
#pragma unroll 1
        for (unit_range batch = {0, all.first}; batch.last < all.last;) {
            batch = product_batch(op, all, batch.last);
            produce_units(w, p, m, experts ? s.list.expert : NULL, overlap(mine, batch));
        }
        if (op.kind == SLIP_CUDA_MOE_DOWN || (experts && rows > SLIP_TOKENS)) // else MOE_DOWN reuses MOE_GATE_UP's list
            mbarrier_arrive(&s.list_free);
    }
}

// ---- the consumers ----

// The column tiles that the SM's units of a LINEAR touch: whole chunks.
__device__ __forceinline__ unit_range product_window(const slip_cuda_op &op, unit_range units)
{
    const slip_cuda_matrix &m = op.product.matrix;
    if (units.first == units.last)
        return {0, 0};
    return {cursor_of(m, units.first).chunk * m.chunk, min((cursor_of(m, units.last - 1).chunk + 1) * m.chunk, m.column_tiles)};
}

// Work out the batch from unit `first` on, or the first batch for -1. One thread of each warpgroup does it, mostly while SMs wait for each
// other, since divisions are slow. With experts the list must be there. A barrier must follow.
static __device__ __noinline__ void product_deal_out(shared_memory &s, const slip_cuda_op &op, int first)
{
    const context &c = s.here;
    int warpgroup = c.thread() / 128, units = product_units(op, s);
    if (c.thread() % 128 != 0)
        return;
    unit_range all = units_of(op, units, c.rows, c.sm * WARPGROUPS, WARPGROUPS, c.sms),
               batch = product_batch(op, all, first < 0 ? all.first : first);
    unit_range mine = overlap(units_of(op, units, c.rows, c.sm * WARPGROUPS + warpgroup, 1, c.sms), batch);
    s.deal.from[warpgroup] = cursor_of(op.product.matrix, mine.first);
    s.deal.left[warpgroup] = tiles_of(op.product.matrix, s.deal.from[warpgroup], mine);
    if (warpgroup == 0) {
        s.deal.all = all;
        s.deal.batch = batch;
        if (op.kind == SLIP_CUDA_LINEAR)
            s.deal.window = product_window(op, all);
    }
}

// True for a product that can be dealt out before it begins: its units do not depend on a list that is still to be made.
__device__ __forceinline__ bool dealt_before(const slip_cuda_op &op, int rows, bool first)
{
    return op.kind == SLIP_CUDA_LINEAR || list_kept(op, rows, first);
}

// Start to load an operand that does not depend on the list of experts: LINEAR's window or MOE_GATE_UP's whole rows. The arena and the
// factors must be free.
static __device__ __noinline__ void product_load(shared_memory &s, const slip_cuda_op &op, int group)
{
    const context &c = s.here;
    const slip_cuda_matrix &m = op.product.matrix;
    unit_range window = op.kind == SLIP_CUDA_LINEAR ? s.deal.window : unit_range{0, m.column_tiles};
    product_job job = load_operand(op.product.operand, m, group, window, c);
    load_factor(op.product.operand, op.product.epsilon, group, undo_of(m.format), c, s.factor);
    if (c.thread() == 0)
        s.job = job;
}

// Afterwards the batch's operands are there.
__device__ __forceinline__ void product_ready(shared_memory &s, const slip_cuda_op &op, int group)
{
    if (op.kind == SLIP_CUDA_MOE_DOWN) {
        consumers_sync(); // the deal is there, and the previous batch no longer reads the arena
        down_operands(s, op.product, group, s.deal.batch);
    } else {
        copy_wait_all();
    }
    fence_async_shared();
    consumers_sync();
}

// Where a thread writes a chunk's results, for each of its tokens: row 0 of row tile 0. NULL: nowhere. Counted sums are u64 there, MOE_DOWN's bf16.
template <int N>
struct product_results {
    float *to[N / 4];
};

template <int N>
__device__ __forceinline__ product_results<N> results_of(const slip_cuda_op &op, const shared_memory &s, int group, const cursor &p)
{
    const slip_cuda_partial &out = op.product.out;
    int lane = threadIdx.x % 32, tile_row = threadIdx.x / 32 % 4 * 16 + lane / 4;
    product_results<N> r;
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        int token = i / 2 * 8 + lane % 4 * 2 + i % 2, row = group * N + token;
        if (!has_experts(op) && op.product.counted) {
            r.to[i] = row < s.here.rows ? (float *)(op.product.counted + (int64_t)row * out.stride + tile_row)
                                        : NULL; // nobody would clear it
            continue;
        }
        if (!has_experts(op)) {
            r.to[i] = out.data + slip_partial_at(&out, row, p.chunk) + tile_row;
            continue;
        }
        int pick = slip_pick_of(row, op.product.top_k, s.list.pick[p.at][token]);
        r.to[i] = op.kind == SLIP_CUDA_MOE_DOWN ? (float *)(slip_result_of(&out, pick) + tile_row)
                                                : out.data + slip_pick_at(&out, pick, p.chunk) + tile_row;
        r.to[i] = s.list.tokens[p.at] >> token & 1 ? r.to[i] : NULL;
    }
    return r;
}

template <int N>
__device__ __forceinline__ void count_sums(const product_results<N> &r, int row_tile, const float (&sum)[SUMS<N>], const float *factor)
{
#pragma unroll
    for (int b = 0; b < N / 8; b++) {
        const float2 f = *(const float2 *)(factor + b * 8 + threadIdx.x % 4 * 2);
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (r.to[2 * b + i])
                count_two((uint64_t *)r.to[2 * b + i] + row_tile * SLIP_TILE_ROWS, sum[4 * b + i] * (i ? f.y : f.x),
                          sum[4 * b + 2 + i] * (i ? f.y : f.x));
    }
}

// `halves`: they are bf16.
template <int N>
__device__ __forceinline__ void write_sums(const product_results<N> &r, int row_tile, const float (&sum)[SUMS<N>], const float *factor,
                                           bool halves)
{
#pragma unroll
    for (int b = 0; b < N / 8; b++) {
        float2 f = *(const float2 *)(factor + b * 8 + threadIdx.x % 4 * 2);
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (r.to[2 * b + i]) {
                const float one = sum[4 * b + i] * (i ? f.y : f.x), two = sum[4 * b + 2 + i] * (i ? f.y : f.x);
                if (halves) {
                    uint16_t *const to = (uint16_t *)r.to[2 * b + i] + row_tile * SLIP_TILE_ROWS;
                    to[0] = bf16_bits(one);
                    to[8] = bf16_bits(two);
                } else {
                    r.to[2 * b + i][row_tile * SLIP_TILE_ROWS] = one;
                    r.to[2 * b + i][row_tile * SLIP_TILE_ROWS + 8] = two;
                }
            }
    }
}

// Where a tile's operand begins; those of the chunk's other tiles follow it.
template <int N>
__device__ __forceinline__ operand_address operand_of(const product_job &job, const slip_cuda_matrix &m, int format, const cursor &p)
{
    int tile = p.chunk * m.chunk + p.done - job.tile, expert = (p.at - job.expert) * job.each;
    if (tile >= job.plane_tiles)
        tile -= job.plane_tiles;
    return {job.address + expert + tile * operand_bytes<N>(format), job.scale + expert + tile * scale_bytes<N>(format)};
}

// A warpgroup's progress through its tiles.
template <int N>
struct walk {
    cursor at;
    operand_address operand; // of the tile
    product_results<N> to;   // of the chunk
    int left;
    float sum[SUMS<N>];
};

// After a tile: write the unit's results if it was its last, and go to the next tile.
template <int N>
__device__ __forceinline__ void walk_on(walk<N> &t, const slip_cuda_op &op, const shared_memory &s, int format, int group)
{
    t.left--;
    t.operand.codes += operand_bytes<N>(format);
    t.operand.scale += scale_bytes<N>(format);
    if (++t.at.done < t.at.length)
        return;
    if (op.product.counted)
        count_sums<N>(t.to, t.at.row_tile, t.sum, s.factor);
    else
        write_sums<N>(t.to, t.at.row_tile, t.sum, s.factor, op.kind == SLIP_CUDA_MOE_DOWN);
#pragma unroll
    for (int i = 0; i < SUMS<N>; i++)
        t.sum[i] = 0;
    t.operand.codes -= t.at.length * operand_bytes<N>(format);
    t.operand.scale -= t.at.length * scale_bytes<N>(format);
    t.at.done--;
    if (!step(t.at, op.product.matrix) || t.left == 0)
        return;
    t.operand = operand_of<N>(s.job, op.product.matrix, format, t.at);
    t.to = results_of<N>(op, s, group, t.at);
}

// The operand of the stage's second tile; without one, any operand will do.
template <int N>
__device__ __forceinline__ operand_address next_operand(const walk<N> &t, const slip_cuda_op &op, const shared_memory &s, int format)
{
    if (t.at.done + 1 < t.at.length)
        return {t.operand.codes + operand_bytes<N>(format), t.operand.scale + scale_bytes<N>(format)};
    cursor next = t.at;
    if (t.left > 1)
        step(next, op.product.matrix);
    return operand_of<N>(s.job, op.product.matrix, format, next);
}

// Multiplies this warpgroup's tiles of the batch, in memory order, by N tokens.
template <int N>
__device__ __forceinline__ void consume_units(shared_memory &s, consumer &r, const slip_cuda_op &op, int group)
{
    const int format = op.product.matrix.format;
    walk<N> t = {s.deal.from[r.warpgroup], {}, {}, s.deal.left[r.warpgroup], {}};
    if (t.left == 0)
        return;
    t.operand = operand_of<N>(s.job, op.product.matrix, format, t.at);
    t.to = results_of<N>(op, s, group, t.at);
    if (format == SLIP_WEIGHT_MXFP4) {
#pragma unroll 1
        do {
            uint32_t stage = stage_wait(s, r);
#pragma unroll 1
            for (uint32_t end = stage + min(t.left, (int)SLIP_STAGE_TILES) * SLIP_TILE_MXFP4; stage < end; stage += SLIP_TILE_MXFP4) {
                tile_mxfp4<N>(mxfp4_address_of(stage, t.operand, threadIdx.x), t.sum);
                walk_on(t, op, s, format, group);
            }
            stage_release(s, r);
        } while (t.left > 0);
        return;
    }
#pragma unroll 1
    do {
        uint32_t stage = stage_wait(s, r);
        operand_address next = next_operand(t, op, s, format);
        float first[SUMS<N>], second[SUMS<N>];
        if (format == SLIP_WEIGHT_BF16)
            stage_bf16<N>(stage, s.job.lo, t.operand, next, first, second);
        else
            stage_f8<N>(stage, t.operand, next, first, second);
        stage_release(s, r);
#pragma unroll 1
        for (int last = max(t.left - SLIP_STAGE_TILES, 0);;) { // one or two tiles
#pragma unroll
            for (int i = 0; i < SUMS<N>; i++)
                t.sum[i] = __fadd_rn(t.sum[i], first[i]);
            walk_on(t, op, s, format, group);
            if (t.left == last)
                break;
#pragma unroll
            for (int i = 0; i < SUMS<N>; i++)
                first[i] = second[i];
        }
    } while (t.left > 0);
}

// `loaded`: the first group's operand is being loaded, and the list is cleared.
__device__ __forceinline__ void op_product(shared_memory &s, consumer &r, const slip_cuda_op &op, bool first, bool loaded)
{
    const context &c = s.here;
    bool kept = list_kept(op, c.rows, first);
#pragma unroll 1
    for (int group = 0; group < slip_groups_of(op_rows(op, c.rows, c.logit_rows)); group++, loaded = false) {
        if (group > 0)
            consumers_sync(); // the arena and the factors are free
        if (op.kind != SLIP_CUDA_MOE_DOWN && !loaded)
            product_load(s, op, group);
        if (has_experts(op) && !kept) {
            if (!loaded) {
                clear_list(s);
                consumers_sync();
            }
            build_list(s, op, group);
        }
        if (!dealt_before(op, c.rows, first))
            product_deal_out(s, op, -1);
#pragma unroll 1
        for (;;) {
            product_ready(s, op, group);
            if (c.thread() == 0)
                record(s.consumers.times, s.consumers.wait.op, SLIP_EVENT_OPERANDS);
            consume_units<SLIP_TOKENS>(s, r, op, group);
            if (s.deal.batch.last == s.deal.all.last)
                break;
            consumers_sync();
            product_deal_out(s, op, s.deal.batch.last);
        }
    }
}

} // namespace slip
