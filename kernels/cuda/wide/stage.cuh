/* The ring of a wide product's CTA: a stage has a weight tile for each of its two to four consumer warpgroups and the operand of these tiles'
 * columns for a block of up to 64 tokens, in row groups as they lie in memory. Other warps fill it by bulk copies: a warp issues its lanes' copies
 * one after the other.
 *
 * Waits have no deadline of their own: a CTA waits for its own copies and warps alone.
 */
#pragma once

#include <type_traits>

#include "kernels/cuda/ops/product.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

// How a CTA is made up.
enum wide_shape {
    WIDE_PARTS, // LINEAR of steps whose sums are parts
    WIDE_MANY,  // of larger steps: LINEAR, and experts where these have many rows
    WIDE_FEW, // experts where these have few rows, 24 at a time: room for four warpgroups, which hide the latencies that bind so few columns
    WIDE_DENSE // LINEAR of larger steps (dense.cuh)
};

constexpr int WIDE_TILES[] = {4, 3, 4, 2}; // of a stage, by shape

template <int SHAPE>
struct wide_warps {
    static constexpr int TILES = WIDE_TILES[SHAPE], CONSUMERS = TILES * 4, FILLERS = 4; // weight tiles of a stage; warps
    static constexpr int CONSUMER_THREADS = CONSUMERS * 32, THREADS = CONSUMER_THREADS + FILLERS * 32;
    // A launch deals out as many registers to each thread. Consumers take what fillers need not.
    static constexpr int DEALT = 65536 / THREADS / 8 * 8, FILLER = TILES == 4 ? 64 : 56;
    static constexpr int CONSUMER = (DEALT * THREADS - FILLER * FILLERS * 32) / CONSUMER_THREADS / 8 * 8;
};
static_assert(wide_warps<WIDE_MANY>::CONSUMER == 152 && wide_warps<WIDE_FEW>::CONSUMER == 104 && wide_warps<WIDE_DENSE>::CONSUMER == 224,
              "registers of a consumer");

// What becomes of the sums of an item's chunks.
enum wide_use {
    WIDE_APART,    // each is written
    WIDE_SUMMED,   // their sum is
    WIDE_GATHERED, // of MOE_GATE_UP where experts have many rows: their sum is, and rows are written by pick
    WIDE_SWIGLU,   // those of MOE_GATE_UP's gate and up make 128 columns of MOE_DOWN's operand
    WIDE_DOWN,     // MOE_DOWN has one chunk: items have row tiles after row tiles instead
    WIDE_COUNTED   // a router's are counted, of the rows that are routed here (counted.cuh)
};

// Experts' rows are gathered, with their factors.
template <int SHAPE, int USE>
struct wide_kind {
    static constexpr bool LINEAR = SHAPE != WIDE_FEW && USE != WIDE_DOWN && USE != WIDE_GATHERED;
};

// The forms of up to WIDE_FORM_GROUPS groups follow one another, so that so many can be multiplied alone.
constexpr int WIDE_FORM_GROUPS = 4, WIDE_FORM_TOKENS = WIDE_FORM_GROUPS * SLIP_TOKENS;

// What a format's stage is made of. An operand is `forms` times FORM_BYTES of each row group.
template <int FORMAT, int SHAPE>
struct wide_format;

template <int SHAPE>
struct wide_format<SLIP_WEIGHT_BF16, SHAPE> {
    static constexpr int GROUPS = SHAPE == WIDE_FEW ? 4 : 8, DEPTH = SHAPE == WIDE_MANY ? 5 : 4;
    static constexpr int TILE = SLIP_TILE_BF16, FORMS = 2, FORM_BYTES = BF16_BYTES<SLIP_TOKENS>, BLOCKS = 0;
};

template <int SHAPE>
struct wide_format<SLIP_WEIGHT_F8, SHAPE> {
    static constexpr int GROUPS = SHAPE == WIDE_FEW ? 4 : 8, DEPTH = SHAPE == WIDE_MANY ? 6 : SHAPE == WIDE_PARTS ? 5 : 4;
    static constexpr int TILE = SLIP_TILE_F8, FORMS = 1, FORM_BYTES = F8_BYTES<SLIP_TOKENS>, BLOCKS = 1;
};

template <int SHAPE>
struct wide_format<SLIP_WEIGHT_MXFP4, SHAPE> {
    static constexpr int GROUPS = SHAPE == WIDE_FEW ? SLIP_SLOT_BLOCK_OF_FEW : SHAPE == WIDE_MANY ? SLIP_SLOT_BLOCK : 4;
    static constexpr int DEPTH = SHAPE == WIDE_FEW ? 4 : GROUPS <= 4 ? 6 : GROUPS <= 6 ? 5 : 4;
    static constexpr int TILE = SLIP_TILE_MXFP4, FORMS = 1, FORM_BYTES = MXFP4_GROUP, BLOCKS = 2;
};

template <>
struct wide_format<SLIP_WEIGHT_BF16, WIDE_DENSE> {
    static constexpr int GROUPS = 16, DEPTH = 6, TILE = SLIP_TILE_BF16, FORMS = 1, FORM_BYTES = BF16_BYTES<SLIP_TOKENS>, BLOCKS = 0;
};

template <>
struct wide_format<SLIP_WEIGHT_F8, WIDE_DENSE> {
    static constexpr int GROUPS = 16, DEPTH = 6, TILE = SLIP_TILE_F8, FORMS = 1, FORM_BYTES = F8_BYTES<SLIP_TOKENS>, BLOCKS = 1;
};

template <int FORMAT, int SHAPE>
struct wide_stage {
    using format = wide_format<FORMAT, SHAPE>;
    alignas(128) unsigned char weights[wide_warps<SHAPE>::TILES][format::TILE];
    unsigned char codes[format::FORMS * format::GROUPS * format::FORM_BYTES]; // [four groups, or all][form][group]
    float scale[format::GROUPS * format::BLOCKS * SLIP_TOKENS + 4];           // [group][block of 128 columns][token]
};

// Sums over an item's chunks where registers have no room for them: of 64 rows of MXFP4, [4 of a thread's][consumer].
template <int FORMAT, int SHAPE>
struct wide_totals {
    static constexpr bool SHARED = FORMAT == SLIP_WEIGHT_MXFP4 && wide_format<FORMAT, SHAPE>::GROUPS > 6;
    float4 sum[SHARED ? wide_format<FORMAT, SHAPE>::GROUPS : 1][SHARED ? wide_warps<SHAPE>::CONSUMER_THREADS : 1];
};

// A piece of work of a CTA, times a block of tokens: a stage's row tiles, chunk by chunk, or of MOE_DOWN, which has one chunk, those of several
// stages.
struct wide_item {
    int number;
    int row_tile, tiles; // [row_tile, row_tile + tiles); of WIDE_SWIGLU the block of columns, and nothing
    int chunk, turns;    // chunks [chunk, chunk + turns), or stages of row tiles
    int group, groups;   // of the operand
    int expert;
};

// What an expert's item needs to know of its rows.
template <int FORMAT, int SHAPE>
struct wide_picks {
    alignas(16) int32_t pick[wide_format<FORMAT, SHAPE>::GROUPS * SLIP_TOKENS]; // -1: empty
    float factor[wide_format<FORMAT, SHAPE>::GROUPS * SLIP_TOKENS];
};

// Sums of gate and up, by weight tile, slot and row, on their way to swiglu. (4 more: banks.)
template <int FORMAT, int SHAPE>
struct wide_gate_up {
    alignas(16) float sum[wide_warps<SHAPE>::TILES][SLIP_SLOT_BLOCK_OF_FEW * SLIP_TOKENS][SLIP_TILE_ROWS + 4];
    uint64_t read;                               // by all consumers
    unsigned turn[wide_warps<SHAPE>::CONSUMERS]; // parity of an item's turn, of each warp
};
struct wide_no_gate_up {};

// A CTA's share of a MOE_DOWN that is in one launch with its MOE_GATE_UP: of the stages of row tiles of all blocks, one block's behind the other's. Of the
// next BLOCKS blocks: row groups, and where the rows' results go; NULL: nowhere.
struct wide_share {
    static constexpr int BLOCKS = 8, ROWS = SLIP_SLOT_BLOCK_OF_FEW * SLIP_TOKENS;
    int next, last;
    int groups[BLOCKS];
    float *row[BLOCKS][ROWS];
};

// What a CTA works on: the op, its operand, and how many items all CTAs have.
struct wide_work {
    const slip_cuda_product *op;
    const slip_cuda_operand *operand;
    const slip_cuda_slot_block *block; // experts; NULL: row groups in order
    const float *factor;               // experts: of each row of MOE_GATE_UP's operand; NULL: none
    float undo;
    int rows, groups, most, blocks, items; // most: groups of a block of LINEAR
    int each, pieces, splits;              // row tiles of an item; into how many items all row tiles, and all chunks, are cut
    int full, cut;                         // LINEAR: items from `full` on, too few for all CTAs, are cut into `cut` of fewer tokens
    float *results;                        // experts: of pick 0
    unsigned pick_bytes;                   // from a pick to the next
    int stages, chunk;                     // of a row tile; of a chunk, the last of which may be shorter
};

template <int FORMAT, int SHAPE>
struct wide_memory {
    wide_stage<FORMAT, SHAPE> stage[wide_format<FORMAT, SHAPE>::DEPTH];
    wide_totals<FORMAT, SHAPE> total;
    wide_work work; // here and not in registers; of WIDE_MANY the item at hand, too
    wide_work down; // of WIDE_FEW: MOE_DOWN in the same launch, and the share of it
    wide_share share;
    std::conditional_t<SHAPE == WIDE_FEW, wide_gate_up<FORMAT, SHAPE>, wide_no_gate_up> gate_up;
    wide_item item[wide_warps<SHAPE>::CONSUMERS]; // at hand, of each warp
    wide_picks<FORMAT, SHAPE> picks[wide_warps<SHAPE>::CONSUMERS];
    float factor[wide_format<FORMAT, SHAPE>::GROUPS * SLIP_TOKENS]; // LINEAR: of the item's rows
    uint64_t full[wide_format<FORMAT, SHAPE>::DEPTH], empty[wide_format<FORMAT, SHAPE>::DEPTH];
};

template <int SHAPE>
static constexpr bool wide_linear_fits()
{
    return sizeof(wide_memory<SLIP_WEIGHT_BF16, SHAPE>) <= 227 * 1024 && sizeof(wide_memory<SLIP_WEIGHT_F8, SHAPE>) <= 227 * 1024;
}
template <int SHAPE>
static constexpr bool wide_experts_fit()
{
    return wide_linear_fits<SHAPE>() && sizeof(wide_memory<SLIP_WEIGHT_MXFP4, SHAPE>) <= 227 * 1024;
}
static_assert(wide_linear_fits<WIDE_PARTS>() && wide_linear_fits<WIDE_DENSE>() && wide_experts_fit<WIDE_MANY>() &&
                  wide_experts_fit<WIDE_FEW>(),
              "shared memory of an SM");

// Token blocks of the same weights come one after the other: the second finds them in L2.
template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ wide_item wide_item_of(const wide_work &w, int index)
{
    const slip_cuda_matrix &m = w.op->matrix;
    wide_item item;
    item.number = index;
    const int most = SHAPE == WIDE_PARTS ? w.most : wide_format<FORMAT, SHAPE>::GROUPS; // a constant where registers are few
    int groups = most, from = 0;
    if (wide_kind<SHAPE, USE>::LINEAR && index >= w.full) {
        const int late = index - w.full;
        groups = most / w.cut;
        from = late % w.cut * groups;
        index = w.full + late / w.cut;
    }
    int block = index % w.blocks, rest = index / w.blocks;
    if (!wide_kind<SHAPE, USE>::LINEAR) { // an expert's weights are contiguous
        block = index / (w.pieces * w.splits);
        rest = index - block * w.pieces * w.splits;
        if (USE == WIDE_GATHERED && (rest += w.block[block].piece) >= w.pieces)
            rest -= w.pieces;
        item.expert = w.block[block].expert;
        item.group = w.block[block].group;
        item.groups = w.block[block].groups;
    } else {
        item.expert = 0;
        item.group = block * most + from;
        item.groups = max(min(w.groups - item.group, groups), 0);
    }
    const int split = rest / w.pieces;
    item.row_tile = (rest - split * w.pieces) * w.each;
    item.tiles = min(m.row_tiles - item.row_tile, w.each);
    item.chunk = split * m.chunks / w.splits;
    item.turns = USE == WIDE_DOWN ? (item.tiles + wide_warps<SHAPE>::TILES - 1) / wide_warps<SHAPE>::TILES
                                  : (split + 1) * m.chunks / w.splits - item.chunk;
    return item;
}

// The matrix's row tile that is number `index` of the item's; -1: there is none. WIDE_SWIGLU has two of gate and the two of up that belong to them.
template <int USE>
__device__ __forceinline__ int wide_row_tile(const slip_cuda_matrix &m, const wide_item &item, int index)
{
    if (USE != WIDE_SWIGLU)
        return index < item.tiles ? item.row_tile + index : -1;
    const int half = m.row_tiles / 2, tile = item.row_tile * 2 + index % 2;
    return tile < half ? index / 2 * half + tile : -1;
}

// Row groups that a product's instruction takes, which may be more than there are.
__device__ __forceinline__ int wide_groups(int groups)
{
    return groups <= 2 ? groups : groups <= 4 ? 4 : 8;
}

__device__ __forceinline__ void wide_wait(uint64_t *bar, unsigned round)
{
    while (!mbarrier_try(bar, round & 1))
        ;
}

// By all threads of the CTA.
template <int FORMAT, int SHAPE>
__device__ __forceinline__ void wide_start(wide_memory<FORMAT, SHAPE> &s)
{
    if (threadIdx.x == 0)
        for (int i = 0; i < wide_format<FORMAT, SHAPE>::DEPTH; i++) {
            mbarrier_init(&s.full[i], wide_warps<SHAPE>::FILLERS);
            mbarrier_init(&s.empty[i], wide_warps<SHAPE>::CONSUMERS);
        }
    if constexpr (SHAPE == WIDE_FEW) {
        if (threadIdx.x == 0)
            mbarrier_init(&s.gate_up.read, wide_warps<SHAPE>::CONSUMERS);
        if (threadIdx.x < wide_warps<SHAPE>::CONSUMERS)
            s.gate_up.turn[threadIdx.x] = 0;
    }
    mbarrier_init_fence();
    fence_async_shared();
    __syncthreads();
}

// ---- the fillers ----

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

// A filler's lane: which of a stage's copies it makes, how, and how many stages it has filled.
struct wide_filler {
    int index;
    uint64_t policy;
    unsigned count;
};

template <int SHAPE>
__device__ __forceinline__ wide_filler wide_filler_of(const wide_work &w)
{
    using warps = wide_warps<SHAPE>;
    return {(int)threadIdx.x % 32 * warps::FILLERS + (int)threadIdx.x / 32 - warps::CONSUMERS,
            w.block || w.blocks == 1 ? read_once_policy() : keep_policy(), 0};
}

// By one filler warp: its share of an item's stages.
template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ void wide_fill_item(const wide_work &w, const slip_cuda_matrix &m, const wide_item &item,
                                               wide_memory<FORMAT, SHAPE> &s, wide_filler &filler)
{
    const wide_copy copy = wide_copy_of<FORMAT, SHAPE, USE>(w, m, *w.operand, item, filler.index);
#pragma unroll 1
    for (int turn = 0; turn < item.turns; turn++) {
        const int chunk = USE == WIDE_DOWN ? 0 : item.chunk + turn;
        const int row_tile = wide_row_tile<USE>(m, item, (USE == WIDE_DOWN ? turn * wide_warps<SHAPE>::TILES : 0) + filler.index);
        const bool real = copy.bytes > 0 && (!copy.weights || row_tile >= 0);
        const int bytes = __reduce_add_sync(~0u, real ? copy.bytes : 0);
        int tile = chunk * m.chunk;
        if (copy.weights)
            tile = slip_tiles_before(&m, chunk, row_tile);
        else if (tile >= m.plane_tiles)
            tile -= m.plane_tiles; // a chunk keeps to one plane
        const unsigned char *from = copy.from + (int64_t)tile * copy.bytes;
#pragma unroll 1
        for (int i = slip_chunk_length(&m, chunk); i > 0; i--, filler.count++, from += copy.bytes) {
            const unsigned slot = filler.count % wide_format<FORMAT, SHAPE>::DEPTH,
                           round = filler.count / wide_format<FORMAT, SHAPE>::DEPTH;
            if (round > 0)
                wide_wait(&s.empty[slot], round - 1);
            if (threadIdx.x % 32 == 0)
                mbarrier_expect(&s.full[slot], bytes);
            __syncwarp();
            unsigned char *const to = (unsigned char *)&s.stage[slot] + copy.to;
            if (real && copy.weights)
                bulk_load(to, from, copy.bytes, &s.full[slot], filler.policy);
            else if (real)
                bulk_load(to, from, copy.bytes, &s.full[slot]);
        }
    }
}

// By one filler warp: its share of all stages.
template <int FORMAT, int SHAPE, int USE>
__device__ __forceinline__ void wide_fill(const wide_work &w, wide_memory<FORMAT, SHAPE> &s)
{
    // In registers where there are some. (The operand's fields, too, would spill the others'.)
    const std::conditional_t<SHAPE == WIDE_MANY, const slip_cuda_matrix &, const slip_cuda_matrix> m = w.op->matrix;
    wide_filler filler = wide_filler_of<SHAPE>(w);
#pragma unroll 1
    for (int number = blockIdx.x; number < w.items; number += gridDim.x)
        wide_fill_item<FORMAT, SHAPE, USE>(w, m, wide_item_of<FORMAT, SHAPE, USE>(w, number), s, filler);
}

} // namespace slip
