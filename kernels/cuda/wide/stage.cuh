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

// Are the rows of MOE_GATE_UP's experts fetched by threads from where they lie? Else slots_gather() has brought them together, which pays where an expert has
// many.
template <int FORMAT, int USE>
constexpr bool WIDE_ROWS_APART = (FORMAT != SLIP_WEIGHT_BF16) && (USE == WIDE_SWIGLU);

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
    uint16_t *row[BLOCKS][ROWS];
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
    uint16_t *results;                     // MOE_DOWN: of pick 0
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

constexpr size_t WIDE_ROOM = 227 * 1024 - 2 * sizeof(slip_cuda_op); // beside early_ops()

template <int SHAPE>
static constexpr bool wide_linear_fits()
{
    return sizeof(wide_memory<SLIP_WEIGHT_BF16, SHAPE>) <= WIDE_ROOM && sizeof(wide_memory<SLIP_WEIGHT_F8, SHAPE>) <= WIDE_ROOM;
}
template <int SHAPE>
static constexpr bool wide_experts_fit()
{
    return wide_linear_fits<SHAPE>() && sizeof(wide_memory<SLIP_WEIGHT_MXFP4, SHAPE>) <= WIDE_ROOM;
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
        static_assert(sizeof(slip_cuda_slot_block) == sizeof(int4) && offsetof(slip_cuda_slot_block, piece) == offsetof(int4, w), "as one");
        const int4 rows = __ldcg((const int4 *)&w.block[block]);
        if (USE == WIDE_GATHERED && (rest += rows.w) >= w.pieces)
            rest -= w.pieces;
        item.expert = rows.x;
        item.group = rows.y;
        item.groups = rows.z;
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

// By all threads of the CTA. `APART`: some stages' rows are fetched by threads, and each thread that fills says of each stage that its part is there.
template <int FORMAT, int SHAPE, bool APART = false>
__device__ __forceinline__ void wide_start(wide_memory<FORMAT, SHAPE> &s)
{
    if (threadIdx.x == 0)
        for (int i = 0; i < wide_format<FORMAT, SHAPE>::DEPTH; i++) {
            mbarrier_init(&s.full[i], wide_warps<SHAPE>::FILLERS * (APART ? 1 + 32 : 1));
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

} // namespace slip
