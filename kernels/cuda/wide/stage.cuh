/* The ring of a wide product's CTA: a stage has a weight tile for each of its three consumer warpgroups and the operand of these tiles'
 * columns for a block of up to 64 tokens, in row groups as they lie in memory. A fourth warpgroup fills it by bulk copies, a few from each
 * warp: a warp issues its lanes' copies one after the other.
 *
 * Waits have no deadline of their own: a CTA waits for its own copies and warps alone.
 */
#pragma once

#include <type_traits>

#include "kernels/cuda/ops/product.cuh"
#include "kernels/cuda/arch.cuh"

namespace slip {

constexpr int WIDE_TILES = 3, WIDE_CONSUMER_WARPS = WIDE_TILES * 4, WIDE_FILLER_WARPS = 4;
constexpr int WIDE_CONSUMERS = WIDE_CONSUMER_WARPS * 32, WIDE_THREADS = WIDE_CONSUMERS + WIDE_FILLER_WARPS * 32;

// A launch deals out 128 registers a thread; consumers take what fillers need not.
constexpr int WIDE_CONSUMER_REGISTERS = 152, WIDE_FILLER_REGISTERS = 56;
static_assert(WIDE_CONSUMERS * WIDE_CONSUMER_REGISTERS + WIDE_FILLER_WARPS * 32 * WIDE_FILLER_REGISTERS <= 65536, "registers of an SM");

// The forms of up to WIDE_FORM_GROUPS groups follow one another, so that so many can be multiplied alone.
constexpr int WIDE_FORM_GROUPS = 4;

// What a format's stage is made of. An operand is `forms` times FORM_BYTES of each row group. WHOLE: of steps of many rows, whose sums are whole.
template <int FORMAT, bool WHOLE>
struct wide_format;

template <bool WHOLE>
struct wide_format<SLIP_WEIGHT_BF16, WHOLE> {
    static constexpr int GROUPS = 8, DEPTH = 5, TILE = SLIP_TILE_BF16, FORMS = 2, FORM_BYTES = BF16_BYTES<SLIP_TOKENS>, BLOCKS = 0;
};

template <bool WHOLE>
struct wide_format<SLIP_WEIGHT_F8, WHOLE> {
    static constexpr int GROUPS = 8, DEPTH = 6, TILE = SLIP_TILE_F8, FORMS = 1, FORM_BYTES = F8_BYTES<SLIP_TOKENS>, BLOCKS = 1;
};

template <bool WHOLE>
struct wide_format<SLIP_WEIGHT_MXFP4, WHOLE> {
    static constexpr int GROUPS = WHOLE ? SLIP_SLOT_BLOCK : SLIP_SLOT_BLOCK_OF_FEW, DEPTH = GROUPS <= 4 ? 6 : GROUPS <= 6 ? 5 : 4;
    static constexpr int TILE = SLIP_TILE_MXFP4, FORMS = 1, FORM_BYTES = MXFP4_GROUP, BLOCKS = 2;
};

template <int FORMAT, bool WHOLE>
struct wide_stage {
    using format = wide_format<FORMAT, WHOLE>;
    alignas(128) unsigned char weights[WIDE_TILES][format::TILE];
    unsigned char codes[format::FORMS * format::GROUPS * format::FORM_BYTES]; // [four groups, or all][form][group]
    float scale[format::GROUPS * format::BLOCKS * SLIP_TOKENS + 4];           // [group][block of 128 columns][token]
};

// Sums over an item's chunks where registers have no room for them: of 64 rows of MXFP4, [4 of a thread's][consumer].
template <int FORMAT, bool WHOLE>
struct wide_totals {
    static constexpr bool SHARED = FORMAT == SLIP_WEIGHT_MXFP4 && wide_format<FORMAT, WHOLE>::GROUPS > 6;
    float4 sum[SHARED ? wide_format<FORMAT, WHOLE>::GROUPS : 1][SHARED ? WIDE_CONSUMERS : 1];
};

// A piece of work of a CTA, times a block of tokens: up to three row tiles, chunk by chunk, or of MOE_DOWN, which has one chunk, three row tiles
// after three.
struct wide_item {
    int number;
    int row_tile, tiles; // [row_tile, row_tile + tiles)
    int chunk, turns;    // chunks [chunk, chunk + turns), or threes of row tiles
    int group, groups;   // of the operand
    int expert;
};

// What an expert's item needs to know of its rows.
template <int FORMAT, bool WHOLE>
struct wide_picks {
    alignas(16) int32_t pick[wide_format<FORMAT, WHOLE>::GROUPS * SLIP_TOKENS]; // -1: empty
    float factor[wide_format<FORMAT, WHOLE>::GROUPS * SLIP_TOKENS];
};

// What a CTA works on: the op, its operand, and how many items all CTAs have.
struct wide_work {
    const slip_cuda_product *op;
    const slip_cuda_operand *operand;
    const slip_cuda_slot_block *block; // experts; NULL: row groups in order
    const float *factor;               // experts: of each row of the operand; NULL: `undo`
    float undo;
    int rows, groups, blocks, items;
    int each, pieces, splits; // row tiles of an item; into how many items all row tiles, and all chunks, are cut
    int full, cut;            // LINEAR: items from `full` on, too few for all CTAs, are cut into `cut` of fewer tokens
};

template <int FORMAT, bool WHOLE>
struct wide_memory {
    wide_stage<FORMAT, WHOLE> stage[wide_format<FORMAT, WHOLE>::DEPTH];
    wide_totals<FORMAT, WHOLE> total;
    wide_work work;                      // here and not in registers where sums are whole, as is the next
    wide_item item[WIDE_CONSUMER_WARPS]; // at hand, of each warp
    wide_picks<FORMAT, WHOLE> picks[WIDE_CONSUMER_WARPS];
    float factor[wide_format<FORMAT, WHOLE>::GROUPS * SLIP_TOKENS]; // LINEAR: of the item's rows
    uint64_t full[wide_format<FORMAT, WHOLE>::DEPTH], empty[wide_format<FORMAT, WHOLE>::DEPTH];
};
static_assert(sizeof(wide_memory<SLIP_WEIGHT_BF16, true>) <= 227 * 1024 && sizeof(wide_memory<SLIP_WEIGHT_F8, true>) <= 227 * 1024 &&
                  sizeof(wide_memory<SLIP_WEIGHT_MXFP4, true>) <= 227 * 1024 && sizeof(wide_memory<SLIP_WEIGHT_MXFP4, false>) <= 227 * 1024,
              "shared memory of an SM");

// Token blocks of the same weights come one after the other: the second finds them in L2.
template <int FORMAT, bool WHOLE, bool DOWN = false>
__device__ __forceinline__ wide_item wide_item_of(const wide_work &w, int index)
{
    constexpr int GROUPS = wide_format<FORMAT, WHOLE>::GROUPS;
    const slip_cuda_matrix &m = w.op->matrix;
    wide_item item;
    item.number = index;
    int groups = GROUPS, from = 0;
    if (WHOLE && !DOWN && index >= w.full) {
        const int late = index - w.full;
        groups = GROUPS / w.cut;
        from = late % w.cut * groups;
        index = w.full + late / w.cut;
    }
    int block = index % w.blocks, rest = index / w.blocks;
    if (DOWN || w.block) { // an expert's weights are contiguous
        block = index / (w.pieces * w.splits);
        rest = index - block * w.pieces * w.splits;
        item.expert = w.block[block].expert;
        item.group = w.block[block].group;
        item.groups = w.block[block].groups;
    } else {
        item.expert = 0;
        item.group = block * GROUPS + from;
        item.groups = max(min(w.groups - item.group, groups), 0);
    }
    const int split = rest / w.pieces;
    item.row_tile = (rest - split * w.pieces) * w.each;
    item.tiles = min(m.row_tiles - item.row_tile, w.each);
    item.chunk = split * m.chunks / w.splits;
    item.turns = DOWN ? (item.tiles + WIDE_TILES - 1) / WIDE_TILES : (split + 1) * m.chunks / w.splits - item.chunk;
    return item;
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
template <int FORMAT, bool WHOLE>
__device__ __forceinline__ void wide_start(wide_memory<FORMAT, WHOLE> &s)
{
    if (threadIdx.x == 0)
        for (int i = 0; i < wide_format<FORMAT, WHOLE>::DEPTH; i++) {
            mbarrier_init(&s.full[i], WIDE_FILLER_WARPS);
            mbarrier_init(&s.empty[i], WIDE_CONSUMER_WARPS);
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

// Copy number `index`: first the weight tiles, then the operand's codes by form and group, then its scales by group.
template <int FORMAT, bool WHOLE>
__device__ __forceinline__ wide_copy wide_copy_of(const slip_cuda_matrix &m, const slip_cuda_operand &a, const wide_item &item, int index)
{
    using format = wide_format<FORMAT, WHOLE>;
    using stage = wide_stage<FORMAT, WHOLE>;
    constexpr int SCALES = WIDE_TILES + format::FORMS * format::GROUPS, OF_GROUP = format::BLOCKS * SLIP_TOKENS;
    static_assert(SCALES + format::GROUPS <= WIDE_FILLER_WARPS * 32, "a copy a lane");
    if (index < WIDE_TILES)
        return {m.data + item.expert * m.expert_bytes, (int)offsetof(stage, weights) + index * format::TILE, format::TILE, true};
    if (index < SCALES) {
        const int form = (index - WIDE_TILES) / format::GROUPS, group = (index - WIDE_TILES) % format::GROUPS;
        const unsigned char *from = FORMAT != SLIP_WEIGHT_BF16 ? a.q8 : (const unsigned char *)(form ? a.lo : a.hi);
        const int run = min(wide_groups(item.groups), WIDE_FORM_GROUPS), place = (group / run * format::FORMS + form) * run + group % run;
        return {from + (int64_t)(item.group + group) * a.padded * SLIP_TOKENS * (FORMAT == SLIP_WEIGHT_BF16 ? 2 : 1),
                (int)offsetof(stage, codes) + place * format::FORM_BYTES, group < item.groups ? format::FORM_BYTES : 0, false};
    }
    const int group = index - SCALES;
    return {(const unsigned char *)(a.scale + slip_operand_block_at(a.padded, item.group + group, 0, 0)),
            (int)(offsetof(stage, scale) + group * OF_GROUP * sizeof(float)), group < item.groups ? OF_GROUP * (int)sizeof(float) : 0,
            false};
}

// By one filler warp: its share of all stages.
template <int FORMAT, bool WHOLE, bool DOWN = false>
__device__ __forceinline__ void wide_fill(const wide_work &w, wide_memory<FORMAT, WHOLE> &s)
{
    using format = wide_format<FORMAT, WHOLE>;
    // In registers where sums are parts. (The operand's fields, too, would spill the others'.)
    const std::conditional_t<WHOLE, const slip_cuda_matrix &, const slip_cuda_matrix> m = w.op->matrix;
    const int index = threadIdx.x % 32 * WIDE_FILLER_WARPS + threadIdx.x / 32 - WIDE_CONSUMER_WARPS;
    const uint64_t policy = w.block || w.blocks == 1 ? read_once_policy() : keep_policy();
    unsigned count = 0;
#pragma unroll 1
    for (int number = blockIdx.x; number < w.items; number += gridDim.x) {
        const wide_item item = wide_item_of<FORMAT, WHOLE, DOWN>(w, number);
        const wide_copy copy = wide_copy_of<FORMAT, WHOLE>(m, *w.operand, item, index);
#pragma unroll 1
        for (int turn = 0; turn < item.turns; turn++) {
            const int chunk = DOWN ? 0 : item.chunk + turn, row = (DOWN ? turn * WIDE_TILES : 0) + index; // a row tile of the item
            const bool real = copy.bytes > 0 && (!copy.weights || row < item.tiles);
            const int bytes = __reduce_add_sync(~0u, real ? copy.bytes : 0);
            int tile = chunk * m.chunk;
            if (copy.weights)
                tile = slip_tiles_before(&m, chunk, item.row_tile + row);
            else if (tile >= m.plane_tiles)
                tile -= m.plane_tiles; // a chunk keeps to one plane
            const unsigned char *from = copy.from + (int64_t)tile * copy.bytes;
#pragma unroll 1
            for (int i = slip_chunk_length(&m, chunk); i > 0; i--, count++, from += copy.bytes) {
                const unsigned slot = count % format::DEPTH, round = count / format::DEPTH;
                if (round > 0)
                    wide_wait(&s.empty[slot], round - 1);
                if (threadIdx.x % 32 == 0)
                    mbarrier_expect(&s.full[slot], bytes);
                __syncwarp();
                unsigned char *const to = (unsigned char *)&s.stage[slot] + copy.to;
                if (real && copy.weights)
                    bulk_load(to, from, copy.bytes, &s.full[slot], policy);
                else if (real)
                    bulk_load(to, from, copy.bytes, &s.full[slot]);
            }
        }
    }
}

} // namespace slip
