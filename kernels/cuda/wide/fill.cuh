/* The warps that fill a ring (stage.cuh): which copies a stage is made of, and when they begin. */
#pragma once

#include "kernels/cuda/wide/stage.cuh"

namespace slip {

// One of the copies of each of an item's stages: what a tile has of it lies behind what the tile before has.
struct wide_copy {
    const unsigned char *from; // tile 0 of the expert's, or column tile 0
    int to, bytes;             // from the stage's start; 0: none
    bool weights;
};

// An item's group number `group`, of the operand.
template <int USE>
__device__ __forceinline__ int wide_group_of(const wide_work &w, const wide_item &item, int group)
{
    if constexpr (USE == WIDE_COUNTED)
        return (item.group + group) * w.op->owned.owners + w.op->owned.owner;
    else
        return item.group + group;
}

// Copy number `index`: first the weight tiles, then the operand's codes by form and group, then its scales by group.
template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ wide_copy wide_copy_of(const wide_work &w, const slip_cuda_matrix &m, const slip_cuda_operand &a,
                                                  const wide_item &item, int index)
{
    using format = wide_format<FORMAT, SHAPE>;
    using stage = wide_stage<FORMAT, SHAPE>;
    constexpr int TILES = wide_warps<SHAPE>::TILES, SCALES = TILES + format::FORMS * format::GROUPS,
                  OF_GROUP = format::BLOCKS * SLIP_TOKENS;
    static_assert(SCALES + format::GROUPS <= wide_warps<SHAPE>::FILLERS * 32, "a copy a lane");
    if (index < TILES)
        return {m.data + item.expert * m.expert_bytes, (int)offsetof(stage, weights) + index * format::TILE, format::TILE, true};
    if (WIDE_ROWS_APART<FORMAT, USE>)
        return {};
    if (index < SCALES) {
        const int form = (index - TILES) / format::GROUPS, group = (index - TILES) % format::GROUPS;
        const unsigned char *from = FORMAT != SLIP_WEIGHT_BF16 ? a.q8 : (const unsigned char *)(form ? a.lo : a.hi);
        const int run = min(wide_groups(item.groups), WIDE_FORM_GROUPS), place = (group / run * format::FORMS + form) * run + group % run;
        return {from + (int64_t)wide_group_of<USE>(w, item, group) * a.padded * SLIP_TOKENS * (FORMAT == SLIP_WEIGHT_BF16 ? 2 : 1),
                (int)offsetof(stage, codes) + place * format::FORM_BYTES, group < item.groups ? format::FORM_BYTES : 0, false};
    }
    const int group = index - SCALES;
    return {(const unsigned char *)(a.scale + slip_operand_block_at(a.padded, item.group + group, 0, 0)),
            (int)(offsetof(stage, scale) + group * OF_GROUP * sizeof(float)), group < item.groups ? OF_GROUP * (int)sizeof(float) : 0,
            false};
}

// A filler's lane: which of a stage's copies it makes, how, how many stages it has filled, and of how many of the first ones the weights are under way.
// `owes`: of the last stage it has not been said that the rows are there.
struct wide_filler {
    int index;
    uint64_t policy;
    unsigned count, early;
    bool owes;
};

template <int SHAPE>
__device__ __forceinline__ wide_filler wide_filler_of(const wide_work &w)
{
    using warps = wide_warps<SHAPE>;
    return {(int)threadIdx.x % 32 * warps::FILLERS + (int)threadIdx.x / 32 - warps::CONSUMERS,
            w.block || w.blocks == 1 ? read_once_policy() : keep_policy(), 0, 0, false};
}

// What a thread fetches of an expert's rows: of one row, every EACH-th slice of 16 columns, and a block's scale. NULL: its row is none.
template <int FORMAT, int SHAPE>
struct wide_row {
    static constexpr int ROWS = 32, EACH = wide_warps<SHAPE>::FILLERS * 32 / ROWS;
    static constexpr int SLICES = wide_format<FORMAT, SHAPE>::FORM_BYTES / (16 * SLIP_TOKENS), BLOCKS = wide_format<FORMAT, SHAPE>::BLOCKS;
    static_assert(wide_format<FORMAT, SHAPE>::GROUPS * SLIP_TOKENS <= ROWS && SLICES % EACH == 0 && BLOCKS <= EACH, "a thread's share");
    const unsigned char *codes; // of column tile 0
    const float *scale;         // NULL: none
    int step;                   // bytes from a slice to the next
    int to, scale_to;           // from the stage's start
};

template <int FORMAT, int SHAPE>
__device__ __forceinline__ wide_row<FORMAT, SHAPE> wide_row_of(const wide_work &w, const wide_item &item)
{
    using row_type = wide_row<FORMAT, SHAPE>;
    using stage = wide_stage<FORMAT, SHAPE>;
    const slip_cuda_operand &a = w.op->operand;
    const int thread = (int)threadIdx.x - wide_warps<SHAPE>::CONSUMER_THREADS, at = thread / row_type::EACH, part = thread % row_type::EACH;
    const int pick = at < item.groups * SLIP_TOKENS ? __ldcg(w.op->slots.pick + item.group * SLIP_TOKENS + at) : -1;
    if (pick < 0)
        return {};
    const int row = pick / w.op->top_k, group = slip_group_of(row), token = slip_token_of(row);
    const bool by_row = w.op->by_row && w.rows > SLIP_CUDA_WHOLE_ABOVE;
    row_type r;
    r.step = by_row ? 16 : 16 * SLIP_TOKENS;
    r.codes = a.q8 + (by_row ? (int64_t)row * a.padded : (int64_t)group * a.padded * SLIP_TOKENS + token * 16) + part * r.step;
    r.to = (int)offsetof(stage, codes) + ((at / SLIP_TOKENS * row_type::SLICES + part) * SLIP_TOKENS + at % SLIP_TOKENS) * 16;
    r.scale = part < row_type::BLOCKS ? a.scale + slip_operand_block_at(a.padded, group, token, part) : NULL;
    r.scale_to =
        (int)(offsetof(stage, scale) + ((at / SLIP_TOKENS * row_type::BLOCKS + part) * SLIP_TOKENS + at % SLIP_TOKENS) * sizeof(float));
    return r;
}

// Starts to fetch column tile `tile` to a stage.
template <int FORMAT, int SHAPE>
__device__ __forceinline__ void wide_fetch_row(const wide_row<FORMAT, SHAPE> &r, int tile, uint32_t stage)
{
    constexpr int SLICES = r.SLICES, EACH = r.EACH;
    if (r.codes == NULL)
        return;
    const unsigned char *const from = r.codes + (int64_t)tile * SLICES * r.step;
#pragma unroll
    for (int i = 0; i < SLICES / EACH; i++)
        copy_16(stage + r.to + i * (EACH * 16 * SLIP_TOKENS), from + i * EACH * r.step);
    if (r.scale)
        copy_4(stage + r.scale_to, r.scale + tile * (r.BLOCKS * SLIP_TOKENS));
}

// Says of stage filler.count - 1 that this thread has fetched its rows. `PENDING`: how many stages it has begun to fetch since.
template <int PENDING, int FORMAT, int SHAPE>
__device__ __forceinline__ void wide_say_rows(wide_memory<FORMAT, SHAPE> &s, wide_filler &filler)
{
    if (!filler.owes)
        return;
    copy_wait<PENDING>();
    fence_async_shared();
    mbarrier_arrive(&s.full[(filler.count - 1) % wide_format<FORMAT, SHAPE>::DEPTH]);
}

// What a lane copies of the stages of an item's turn, one behind the other.
struct wide_stream {
    const unsigned char *from;
    bool real;
    int all; // bytes of its warp's lanes, of a stage
};

template <int SHAPE, int USE>
__device__ __forceinline__ wide_stream wide_stream_of(const slip_cuda_matrix &m, const wide_item &item, const wide_copy &copy, int index,
                                                      int turn)
{
    const int chunk = USE == WIDE_DOWN ? 0 : item.chunk + turn;
    const int row_tile = wide_row_tile<USE>(m, item, (USE == WIDE_DOWN ? turn * wide_warps<SHAPE>::TILES : 0) + index);
    const bool real = copy.bytes > 0 && (!copy.weights || row_tile >= 0);
    int tile = chunk * m.chunk;
    if (copy.weights)
        tile = slip_tiles_before(&m, chunk, row_tile);
    else if (tile >= m.plane_tiles)
        tile -= m.plane_tiles; // a chunk keeps to one plane
    return {copy.from + (int64_t)tile * copy.bytes, real, (int)__reduce_add_sync(~0u, real ? copy.bytes : 0)};
}

// By one filler warp: its share of an item's stages. Of the first filler.early ones the weights are under way. `APART`: as wide_start() has it.
template <int FORMAT, int SHAPE, int USE, bool APART = WIDE_ROWS_APART<FORMAT, USE>>
__device__ __forceinline__ void wide_fill_item(const wide_work &w, const slip_cuda_matrix &m, const wide_item &item,
                                               wide_memory<FORMAT, SHAPE> &s, wide_filler &filler)
{
    constexpr bool ROWS = WIDE_ROWS_APART<FORMAT, USE>;
    const wide_copy copy = wide_copy_of<FORMAT, SHAPE, USE>(w, m, *w.operand, item, filler.index);
    std::conditional_t<ROWS, wide_row<FORMAT, SHAPE>, int> row = {};
    if constexpr (ROWS)
        row = wide_row_of<FORMAT, SHAPE>(w, item);
#pragma unroll 1
    for (int turn = 0; turn < item.turns; turn++) {
        wide_stream stream = wide_stream_of<SHAPE, USE>(m, item, copy, filler.index, turn);
        int tile = (item.chunk + turn) * m.chunk; // of rows that are fetched by threads: experts' matrices have one plane
#pragma unroll 1
        for (int i = slip_chunk_length(&m, USE == WIDE_DOWN ? 0 : item.chunk + turn); i > 0;
             i--, filler.count++, stream.from += copy.bytes) {
            const unsigned slot = filler.count % wide_format<FORMAT, SHAPE>::DEPTH,
                           round = filler.count / wide_format<FORMAT, SHAPE>::DEPTH;
            const bool early = filler.count < filler.early;
            if (round > 0)
                mbarrier_wait(&s.empty[slot], round - 1);
            if (threadIdx.x % 32 == 0 && !early)
                mbarrier_expect(&s.full[slot], stream.all);
            __syncwarp();
            unsigned char *const to = (unsigned char *)&s.stage[slot] + copy.to;
            if (stream.real && copy.weights && !early)
                bulk_load(to, stream.from, copy.bytes, &s.full[slot], filler.policy);
            else if (stream.real && !copy.weights)
                bulk_load(to, stream.from, copy.bytes, &s.full[slot]);
            if constexpr (ROWS) {
                wide_fetch_row<FORMAT, SHAPE>(row, tile++, shared_address(&s.stage[slot]));
                copy_commit();
                wide_say_rows<1>(s, filler); // of the stage before
                filler.owes = true;
            } else if (APART) {
                mbarrier_arrive(&s.full[slot]);
            }
        }
    }
}

// Weights do not depend on the kernel in front, and a CTA's first ones need not wait for its end. No more of them than that: what the kernel in front still
// stores and loads would stand in line behind them.
constexpr int WIDE_EARLY = 2; // stages

// By one filler warp, before anything else: its share of the weights of the first stages of a CTA's first item.
template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ void wide_fill_early(const wide_work &w, const slip_cuda_matrix &m, wide_memory<FORMAT, SHAPE> &s,
                                                wide_filler &filler)
{
    if ((int)blockIdx.x >= w.items)
        return;
    const wide_item item = wide_item_of<FORMAT, SHAPE, USE>(w, blockIdx.x);
    const wide_copy copy = wide_copy_of<FORMAT, SHAPE, USE>(w, m, *w.operand, item, filler.index);
    const wide_stream stream = wide_stream_of<SHAPE, USE>(m, item, copy, filler.index, 0);
    filler.early = min(WIDE_EARLY, slip_chunk_length(&m, item.chunk));
#pragma unroll 1
    for (int i = 0; i < (int)filler.early; i++) {
        if (threadIdx.x % 32 == 0)
            mbarrier_expect(&s.full[i], stream.all);
        __syncwarp();
        if (stream.real && copy.weights)
            bulk_load((unsigned char *)&s.stage[i] + copy.to, stream.from + (int64_t)i * copy.bytes, copy.bytes, &s.full[i], filler.policy);
    }
}

// By one filler warp: its share of all stages. `EARLY`: the kernel in front has not been awaited yet.
template <int FORMAT, int SHAPE, int USE, bool EARLY = false>
__device__ __forceinline__ void wide_fill(const wide_work &w, wide_memory<FORMAT, SHAPE> &s)
{
    // In registers where there are some. (The operand's fields, too, would spill the others'.)
    const std::conditional_t<SHAPE == WIDE_MANY, const slip_cuda_matrix &, const slip_cuda_matrix> m = w.op->matrix;
    wide_filler filler = wide_filler_of<SHAPE>(w);
    if (EARLY) {
        wide_fill_early<FORMAT, SHAPE, USE>(w, m, s, filler);
        await_previous_kernel();
    }
#pragma unroll 1
    for (int number = blockIdx.x; number < w.items; number += gridDim.x)
        wide_fill_item<FORMAT, SHAPE, USE>(w, m, wide_item_of<FORMAT, SHAPE, USE>(w, number), s, filler);
}

} // namespace slip
