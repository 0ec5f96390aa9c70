/* A wide product: every item is multiplied tile by tile, and its sums are written where ops/product.cuh would have written them. */
#pragma once

#include "kernels/cuda/sync/early.cuh"
#include "kernels/cuda/wide/fill.cuh"
#include "kernels/cuda/wide/swiglu.cuh"

namespace slip {

__device__ __forceinline__ bool wide_exists(const wide_item &item, int row)
{
    return row < (item.group + item.groups) * SLIP_TOKENS;
}

// Starts to load a warp's picks of an item, to be there when its tiles are multiplied: copy_wait_all() and a __syncwarp() must follow. Rows that a
// product has beyond the item's are empty.
template <int FORMAT, int SHAPE>
__device__ __forceinline__ void wide_load_picks(const wide_work &w, const wide_item &item, wide_picks<FORMAT, SHAPE> &picks)
{
    const int thread = wide_thread(), quad = thread % 16 * 4, row = item.group * SLIP_TOKENS + quad; // 4 rows a lane
    if (quad >= wide_format<FORMAT, SHAPE>::GROUPS * SLIP_TOKENS)
        return;
    if (!wide_exists(item, row)) {
        if (thread % 32 < 16)
            *(int4 *)(picks.pick + quad) = make_int4(-1, -1, -1, -1);
        return;
    }
    if (thread % 32 < 16)
        copy_16(shared_address(picks.pick + quad), w.op->slots.pick + row);
    else if (w.factor)
        copy_16(shared_address(picks.factor + quad), w.factor + row);
}

// Counts sums of rows `column` and `column` + 8 of the matrix, of rows of the step alone: nobody would clear another's.
template <int N>
__device__ __forceinline__ void wide_count(const wide_work &w, const wide_item &item, int column, const float (&sum)[SUMS<N>])
{
    const int first = item.group * SLIP_TOKENS, thread = wide_thread();
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        const int row = first + wide_column(thread, i);
        uint64_t *const to = w.op->counted + (int64_t)row * w.op->out.stride + column;
        if (row < w.rows) {
            count_terms(to, counted_term(sum[i / 2 * 4 + i % 2]));
            count_terms(to + 8, counted_term(sum[i / 2 * 4 + 2 + i % 2]));
        }
    }
}

// Stores a thread's two words of a row, `APART` bytes from each other, if `pick` is one, that is not -1. Each store has a predicate of its own: of two
// that share one the compiler makes a branch.
template <int APART>
__device__ __forceinline__ void wide_store(int32_t pick, void *to, uint32_t upper, uint32_t lower)
{
    asm volatile("{\n.reg .pred p, q;\n"
                 "setp.ge.s32 p, %0, 0;\nsetp.ne.s32 q, %0, -1;\n"
                 "@p st.global.u32 [%1], %2;\n@q st.global.u32 [%1 + %4], %3;\n}" ::"r"(pick),
                 "l"(to), "r"(upper), "r"(lower), "n"(APART)
                 : "memory");
}

__device__ __forceinline__ void wide_store(int32_t pick, float *to, float upper, float lower)
{
    wide_store<8 * sizeof(float)>(pick, to, __float_as_uint(upper), __float_as_uint(lower));
}

// Writes a row tile's sums where the item's rows lie by pick. An address is one multiplication. `to`: the thread's column of pick 0.
template <int N>
__device__ __forceinline__ void wide_put(const wide_work &w, float *to, const int32_t *pick, const float (&sum)[SUMS<N>])
{
    const int32_t *const first = pick + wide_thread() % 4 * 2;
    const unsigned step = w.pick_bytes;
#pragma unroll
    for (int i = 0; i < SUMS<N>; i += 4) {
        const int2 mine = *(const int2 *)(first + i * 2);
        wide_store(mine.x, (float *)((char *)to + (uint64_t)(unsigned)mine.x * step), sum[i], sum[i + 2]);
        wide_store(mine.y, (float *)((char *)to + (uint64_t)(unsigned)mine.y * step), sum[i + 1], sum[i + 3]);
    }
}

// MOE_DOWN's results are bf16. Of two lanes that have neighbouring columns of two rows, each stores both columns of one: the odd one of the second row.
struct wide_pair {
    uint32_t upper, lower; // columns of an even lane and the next; 8 columns further
};

// `first`, `second`: a row's sums of the lane's column, and 8 columns further.
__device__ __forceinline__ wide_pair wide_trade(float2 first, float2 second, bool odd)
{
    const uint32_t one = bf16_pack(first.x, first.y), two = bf16_pack(second.x, second.y), keep = odd ? two : one;
    const uint32_t got = __shfl_xor_sync(~0u, odd ? one : two, 4), left = odd ? got : keep, right = odd ? keep : got;
    return {__byte_perm(left, right, 0x5410), __byte_perm(left, right, 0x7632)};
}

// As wide_put(), of MOE_DOWN. `to`: the lane's column of pick 0.
template <int N>
__device__ __forceinline__ void wide_put_results(const wide_work &w, uint16_t *to, const int32_t *pick, const float (&sum)[SUMS<N>])
{
    const bool odd = threadIdx.x & 4;
    const int32_t *const first = pick + wide_thread() % 4 * 2 + odd;
    char *const pair = (char *)(to - odd);
    const unsigned step = w.pick_bytes;
#pragma unroll
    for (int i = 0; i < SUMS<N>; i += 4) {
        const int mine = first[i * 2];
        const wide_pair both = wide_trade(make_float2(sum[i], sum[i + 2]), make_float2(sum[i + 1], sum[i + 3]), odd);
        wide_store<8 * sizeof(uint16_t)>(mine, pair + (uint64_t)(unsigned)mine * step, both.upper, both.lower);
    }
}

// Writes part `part` of the sums of an item's rows.
template <int N>
__device__ __forceinline__ void wide_write_part(const slip_cuda_partial &out, const wide_item &item, int column, int part,
                                                const float (&sum)[SUMS<N>])
{
    const int token = wide_thread() % 4 * 2;
    const int64_t group = (int64_t)out.parts * SLIP_TOKENS * out.stride;
    float *to = out.data + slip_partial_at(&out, item.group * SLIP_TOKENS + token, part) + column;
#pragma unroll
    for (int b = 0; b < N / 8; b++, to += group)
        if (b < item.groups) {
            to[0] = sum[4 * b];
            to[out.stride] = sum[4 * b + 1];
            to[8] = sum[4 * b + 2];
            to[out.stride + 8] = sum[4 * b + 3];
        }
}

// Writes them. `pick`: of the item's rows.
template <int N, bool LINEAR>
__device__ __forceinline__ void wide_write(const wide_work &w, const wide_item &item, const int32_t *pick, int column,
                                           const float (&sum)[SUMS<N>])
{
    const slip_cuda_partial out = w.op->out;
    if (!LINEAR) {
        wide_put<N>(w, out.data + item.chunk * out.stride + column, pick, sum);
        return;
    }
    wide_write_part<N>(out, item, column, item.chunk, sum);
}

// One warpgroup's part of an item of MOE_DOWN: row tiles after row tiles, of one chunk.
template <int FORMAT, int N, int SHAPE>
__device__ __forceinline__ void wide_down(const wide_work &w, const wide_item &item, int warpgroup, wide_memory<FORMAT, SHAPE> &s,
                                          unsigned &count)
{
    constexpr int TILES = wide_warps<SHAPE>::TILES;
    wide_load_picks<FORMAT, SHAPE>(w, item, s.picks[wide_thread() / 32]);
    const wide_lane<FORMAT, SHAPE> lane(s, warpgroup);
#pragma unroll 1
    for (int tile = warpgroup; tile < item.turns * TILES; tile += TILES) {
        float sum[SUMS<N>] = {};
        wide_stages<FORMAT, N>(lane, warpgroup, w.stages, tile < item.tiles, s, count, sum);
        wide_undo<FORMAT, N>(sum);
        copy_wait_all();
        __syncwarp();
        const int thread = wide_thread(), column = (item.row_tile + tile) * SLIP_TILE_ROWS + thread / 32 % 4 * 16 + thread % 32 / 4;
        if (tile < item.tiles)
            wide_put_results<N>(w, w.results + column, s.picks[thread / 32].pick, sum);
    }
}

// One warpgroup's row tile of an item. Chunks are added up as the readers of parts add them: in order, each with its factor.
template <int FORMAT, int N, int SHAPE, int USE>
__device__ __forceinline__ void wide_multiply(const wide_work &w, const wide_item &item, int warpgroup, wide_memory<FORMAT, SHAPE> &s,
                                              unsigned &count)
{
    constexpr bool LINEAR = wide_kind<SHAPE, USE>::LINEAR, ADDS = USE == WIDE_SUMMED || USE == WIDE_GATHERED || USE == WIDE_SWIGLU;
    constexpr bool SHARED = ADDS && wide_totals<FORMAT, SHAPE>::SHARED && N == 64;
    float total[ADDS && !SHARED ? SUMS<N> : 4] = {};
    if (!LINEAR)
        wide_load_picks<FORMAT, SHAPE>(w, item, s.picks[wide_thread() / 32]);
    const wide_lane<FORMAT, SHAPE> lane(s, warpgroup);
    const bool works = wide_row_tile<USE>(w.op->matrix, item, warpgroup) >= 0;
#pragma unroll 1
    for (int left = item.turns; left > 0; left--) {
        float sum[SUMS<N>] = {};
        wide_stages<FORMAT, N>(lane, warpgroup, min(w.chunk, w.stages - (item.chunk + item.turns - left) * w.chunk), works, s, count, sum);
        const int thread = wide_thread();
        const wide_picks<FORMAT, SHAPE> &picks = s.picks[thread / 32];
        copy_wait_all();
        __syncwarp();
        wide_scale<N>(LINEAR ? s.factor : picks.factor, sum);
        if constexpr (SHARED) {
            wide_add_shared<N>(s.total.sum, left == item.turns, left == 1, sum);
        } else if constexpr (ADDS) {
#pragma unroll
            for (int i = 0; i < SUMS<N>; i++)
                sum[i] = total[i] = __fadd_rn(total[i], sum[i]);
        }
        const int column = (item.row_tile + warpgroup) * SLIP_TILE_ROWS + thread / 32 % 4 * 16 + thread % 32 / 4;
        if constexpr (USE == WIDE_SWIGLU) {
            if (left == 1)
                wide_swiglu<FORMAT, N>(w, item, works ? warpgroup : -1, sum, s);
            continue;
        }
        if ((ADDS && left > 1) || !works)
            continue;
        if (SHAPE == WIDE_PARTS && w.op->counted)
            wide_count<N>(w, item, column, sum);
        else
            wide_write<N, LINEAR>(w, item, picks.pick, column, sum);
    }
}

// The factors of an item's rows, a warp a row group, when nobody reads those of the item before any more.
template <int SHAPE, int USE>
__device__ __forceinline__ void wide_factors(const wide_work &w, const wide_item &item, float *factors)
{
    const slip_cuda_operand &a = *w.operand;
    const int token = threadIdx.x % SLIP_TOKENS;
    wide_meet<SHAPE>();
    for (int group = threadIdx.x / 32; group < item.groups; group += wide_warps<SHAPE>::CONSUMERS) {
        const float mine =
            factor_of(a, w.op->epsilon, a.ssq + slip_operand_block_at(a.padded, wide_group_of<USE>(w, item, group), token, 0), w.undo);
        if (threadIdx.x % 32 < SLIP_TOKENS)
            factors[group * SLIP_TOKENS + token] = mine;
    }
    wide_meet<SHAPE>();
}

// Stages of row tiles in an item of MOE_DOWN, whose rows are short. An item costs a CTA half a microsecond beside its stages, half of what a stage
// takes. Every CTA is to have many items all the same, so that all end together.
__device__ __forceinline__ int wide_stages_of(const slip_cuda_matrix &m, int blocks, int tiles)
{
    constexpr int STAGES = 8, ITEMS = 8;
    const int all = blocks * ((m.row_tiles + tiles - 1) / tiles);
    int stages = 1;
    while (stages * 2 * m.column_tiles <= STAGES && stages * 2 * ITEMS * (int)gridDim.x <= all)
        stages *= 2;
    return stages;
}

// Into how many items all chunks are cut: one each, unless all items find a CTA at once with half as many. What is between two items of a CTA costs more
// than what CTAs without one cost where memory binds.
__device__ __forceinline__ int wide_splits(int items, int chunks)
{
    const int ctas = gridDim.x, half = chunks / 2;
    return items * chunks > ctas && half > 0 && items * half <= ctas && items * half * 2 > ctas ? half : chunks;
}

// The last round's items keep few CTAs at work where they are few: they are cut by tokens.
__device__ __forceinline__ void wide_cut(wide_work &w)
{
    const int ctas = gridDim.x, late = w.items % ctas;
    while (late > 0 && w.cut * 2 <= min(w.most, w.groups) && late * w.cut * 2 <= ctas)
        w.cut *= 2;
    w.full = w.items - late;
    w.items = w.full + late * w.cut;
}

// A step's experts.
__device__ __forceinline__ void wide_experts(const slip_cuda_op &op, wide_work &w)
{
    const slip_cuda_slots &slots = op.product.slots;
    w.operand = op.kind == SLIP_CUDA_MOE_GATE_UP ? &slots.up : &slots.down;
    w.factor = op.kind == SLIP_CUDA_MOE_GATE_UP ? slots.factor : NULL;
    w.block = slots.block;
    w.blocks = __ldcg(slots.count + 1); // past L1, as all of the slots that is read before the kernel in front has ended
    w.results = (uint16_t *)op.product.out.data;
    w.pick_bytes = op.product.out.stride * (op.kind == SLIP_CUDA_MOE_DOWN ? sizeof(uint16_t) : op.product.out.parts * sizeof(float));
}

template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ wide_work wide_work_of(const slip_cuda_op &op, int rows)
{
    constexpr int GROUPS = wide_format<FORMAT, SHAPE>::GROUPS;
    const slip_cuda_product &product = op.product;
    wide_work w = {&product, &product.operand, NULL, NULL, undo_of(FORMAT), rows, slip_groups_of(rows), GROUPS, 0, 0, 0, 0, 0, 0, 1};
    w.stages = product.matrix.column_tiles;
    w.chunk = product.matrix.chunk;
    while (SHAPE == WIDE_PARTS && w.most / 2 >= w.groups)
        w.most /= 2;
    w.blocks = (w.groups + w.most - 1) / w.most;
    w.each = wide_warps<SHAPE>::TILES;
    w.splits = USE == WIDE_APART ? product.matrix.chunks : 1;
    if (op.kind != SLIP_CUDA_LINEAR)
        wide_experts(op, w);
    if (USE == WIDE_DOWN)
        w.each *= wide_stages_of(product.matrix, w.blocks, w.each);
    if (USE == WIDE_SWIGLU)
        w.each = 1;
    const int tiles = USE == WIDE_SWIGLU ? blocks_of(product.width) : product.matrix.row_tiles;
    w.pieces = (tiles + w.each - 1) / w.each;
    if (SHAPE == WIDE_PARTS)
        w.splits = wide_splits(w.blocks * w.pieces, w.splits);
    w.items = w.full = w.blocks * w.pieces * w.splits;
    if (wide_kind<SHAPE, USE>::LINEAR)
        wide_cut(w);
    return w;
}

template <int FORMAT, int N, int SHAPE, int USE>
__device__ __forceinline__ void wide_do_with(const wide_work &w, const wide_item &item, int warpgroup, wide_memory<FORMAT, SHAPE> &s,
                                             unsigned &count)
{
    if constexpr (USE == WIDE_DOWN)
        wide_down<FORMAT, N, SHAPE>(w, item, warpgroup, s, count);
    else
        wide_multiply<FORMAT, N, SHAPE, USE>(w, item, warpgroup, s, count);
}

template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ void wide_do(const wide_work &w, const wide_item &item, int warpgroup, wide_memory<FORMAT, SHAPE> &s,
                                        unsigned &count)
{
    constexpr int GROUPS = wide_format<FORMAT, SHAPE>::GROUPS;
    constexpr bool THREE = FORMAT == SLIP_WEIGHT_MXFP4 && SHAPE == WIDE_FEW;
    constexpr bool THREE_QUARTERS = FORMAT == SLIP_WEIGHT_MXFP4 && GROUPS > 4;
    if (wide_kind<SHAPE, USE>::LINEAR)
        wide_factors<SHAPE, USE>(w, item, s.factor);
    if (item.groups <= 1)
        wide_do_with<FORMAT, 8, SHAPE, USE>(w, item, warpgroup, s, count);
    else if (GROUPS <= 2 || item.groups <= 2)
        wide_do_with<FORMAT, 16, SHAPE, USE>(w, item, warpgroup, s, count);
    else if constexpr (GROUPS > 2) {
        if (item.groups <= 4)
            wide_do_with<FORMAT, THREE ? 24 : 32, SHAPE, USE>(w, item, warpgroup, s, count);
        else if (THREE_QUARTERS && item.groups <= 6)
            wide_do_with<FORMAT, THREE_QUARTERS ? 48 : 32, SHAPE, USE>(w, item, warpgroup, s, count);
        else if constexpr (GROUPS > 6)
            wide_do_with<FORMAT, 64, SHAPE, USE>(w, item, warpgroup, s, count);
    }
}

// The item at hand is in shared memory where registers are few, which costs time between items: those of few rows are short.
template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ void wide_consume(const wide_work &w, wide_memory<FORMAT, SHAPE> &s)
{
    const int warpgroup = __shfl_sync(~0u, (int)threadIdx.x / 128, 0);
    unsigned count = 0;
#pragma unroll 1
    for (int number = blockIdx.x; number < w.items;) {
        if constexpr (SHAPE == WIDE_MANY) {
            wide_item &item = s.item[wide_thread() / 32];
            __syncwarp();
            if (threadIdx.x % 32 == 0)
                item = wide_item_of<FORMAT, SHAPE, USE>(w, number);
            __syncwarp();
            wide_do<FORMAT, SHAPE, USE>(w, item, warpgroup, s, count);
            number = item.number + gridDim.x;
        } else {
            __syncwarp(); // the picks of the item before have been read
            wide_do<FORMAT, SHAPE, USE>(w, wide_item_of<FORMAT, SHAPE, USE>(w, number), warpgroup, s, count);
            number += gridDim.x;
        }
    }
}

// LINEAR awaits the kernel in front here, others have done so.
template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ void wide_part(const wide_work &w, wide_memory<FORMAT, SHAPE> &s)
{
    constexpr bool LINEAR = wide_kind<SHAPE, USE>::LINEAR;
    if (threadIdx.x >= wide_warps<SHAPE>::CONSUMER_THREADS) {
        registers_give<wide_warps<SHAPE>::FILLER>();
        wide_fill<FORMAT, SHAPE, USE, LINEAR>(w, s);
        return;
    }
    registers_get<wide_warps<SHAPE>::CONSUMER>();
    if (LINEAR)
        await_previous_kernel();
    wide_consume<FORMAT, SHAPE, USE>(w, s);
}

extern __shared__ __align__(1024) unsigned char wide_bytes[];

template <int FORMAT, int SHAPE, int USE>
__global__ void __launch_bounds__(wide_warps<SHAPE>::THREADS, 1)
    wide_product(const slip_cuda_op *ops, const slip_cuda_step *step, int number)
{
    wide_memory<FORMAT, SHAPE> &s = *(wide_memory<FORMAT, SHAPE> *)wide_bytes;
    wide_start<FORMAT, SHAPE>(s);
    const slip_cuda_op &op = *early_ops(ops, number);
    if (!wide_kind<SHAPE, USE>::LINEAR)
        await_previous_kernel(); // which counts the experts' blocks
    if (threadIdx.x == 0)
        s.work = wide_work_of<FORMAT, SHAPE, USE>(op, op_rows(op, step->rows, step->logit_rows));
    __syncthreads();
    wide_part<FORMAT, SHAPE, USE>(s.work, s);
}

} // namespace slip
