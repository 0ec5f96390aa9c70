/* The ring of a wide product's CTA: a stage has a weight tile for each of its four warpgroups and the operand of these tiles' columns for a
 * block of up to 64 tokens, in row groups as they lie in memory. The first warp fills it by bulk copies and multiplies, too: all registers
 * go to multiplying warps.
 *
 * Waits have no deadline of their own: a CTA waits for its own copies and warps alone.
 */
#pragma once

#include "kernels/cuda/ops/product.cuh"

namespace slip {

constexpr int WIDE_THREADS = WARPGROUPS * 128, WIDE_WARPS = WIDE_THREADS / 32;

// What a format's stage is made of. An operand is `forms` times FORM_BYTES of each row group.
template <int FORMAT>
struct wide_format;

template <>
struct wide_format<SLIP_WEIGHT_BF16> {
    static constexpr int GROUPS = 8, DEPTH = 4, TILE = SLIP_TILE_BF16, FORMS = 2, FORM_BYTES = BF16_BYTES<SLIP_TOKENS>, BLOCKS = 0;
};

template <>
struct wide_format<SLIP_WEIGHT_F8> {
    static constexpr int GROUPS = 8, DEPTH = 5, TILE = SLIP_TILE_F8, FORMS = 1, FORM_BYTES = F8_BYTES<SLIP_TOKENS>, BLOCKS = 1;
};

template <>
struct wide_format<SLIP_WEIGHT_MXFP4> {
    static constexpr int GROUPS = 4, DEPTH = 5, TILE = SLIP_TILE_MXFP4, FORMS = 1, FORM_BYTES = MXFP4_GROUP, BLOCKS = 2;
};

template <int FORMAT>
struct wide_stage {
    using format = wide_format<FORMAT>;
    alignas(128) unsigned char weights[WARPGROUPS][format::TILE];
    unsigned char codes[format::FORMS * format::GROUPS * format::FORM_BYTES]; // [form][group]
    float scale[format::BLOCKS * format::GROUPS * SLIP_TOKENS + 4];           // [block of 128 columns][group][token]
};

template <int FORMAT>
struct wide_memory {
    wide_stage<FORMAT> stage[wide_format<FORMAT>::DEPTH];
    float factor[SLIP_MAX_ROWS]; // LINEAR: of all rows
    uint64_t full[wide_format<FORMAT>::DEPTH], empty[wide_format<FORMAT>::DEPTH];
};
static_assert(sizeof(wide_memory<SLIP_WEIGHT_BF16>) <= 227 * 1024 && sizeof(wide_memory<SLIP_WEIGHT_F8>) <= 227 * 1024 &&
                  sizeof(wide_memory<SLIP_WEIGHT_MXFP4>) <= 227 * 1024,
              "shared memory of an SM");

// A piece of work of a CTA: one chunk of up to four row tiles, times a block of tokens.
struct wide_item {
    int row_tile, tiles; // [row_tile, row_tile + tiles)
    int chunk, length;
    int group, groups; // of the operand
    int expert;
};

// What a CTA works on: the op, its operand, and how many items all CTAs have.
struct wide_work {
    const slip_cuda_product *op;
    const slip_cuda_operand *operand;
    const slip_cuda_slot_block *block; // experts; NULL: row groups in order
    const float *factor;               // of each row of the operand; NULL: `undo`
    float undo;
    int groups, blocks, quads, items;
};

// Token blocks of the same weights come one after the other: the second finds them in L2.
template <int FORMAT>
__device__ __forceinline__ wide_item wide_item_of(const wide_work &w, int index)
{
    const slip_cuda_matrix &m = w.op->matrix;
    wide_item item;
    int block = index % w.blocks, rest = index / w.blocks;
    if (w.block) { // an expert's weights are contiguous
        block = index / (w.quads * m.chunks);
        rest = index - block * w.quads * m.chunks;
        item.expert = w.block[block].expert;
        item.group = w.block[block].group;
        item.groups = w.block[block].groups;
    } else {
        item.expert = 0;
        item.group = block * wide_format<FORMAT>::GROUPS;
        item.groups = min(w.groups - item.group, wide_format<FORMAT>::GROUPS);
    }
    item.chunk = rest / w.quads;
    item.row_tile = (rest - item.chunk * w.quads) * WARPGROUPS;
    item.tiles = min(m.row_tiles - item.row_tile, WARPGROUPS);
    item.length = slip_chunk_length(&m, item.chunk);
    return item;
}

// Row groups that a product's instruction takes, which may be more than there are.
__device__ __forceinline__ int wide_groups(int groups)
{
    return groups <= 2 ? groups : groups <= 4 ? 4 : 8;
}

// ---- filling, by the first warp ----

struct wide_filler {
    wide_item item;
    int index, done; // the item; tiles of its chunk that are on their way
    unsigned count;  // stages so far
    uint64_t policy;
};

__device__ __forceinline__ void wide_wait(uint64_t *bar, unsigned round)
{
    while (!mbarrier_try(bar, round & 1))
        ;
}

// A lane's copy of the stage, if it has one.
template <int FORMAT>
__device__ __forceinline__ void wide_copy(const wide_work &w, const wide_filler &f, wide_stage<FORMAT> &stage, uint64_t *full)
{
    using format = wide_format<FORMAT>;
    constexpr int CODES = WARPGROUPS, SCALES = CODES + format::FORMS * format::GROUPS;
    static_assert(SCALES + format::BLOCKS * format::GROUPS <= 32, "a copy a lane");
    const slip_cuda_matrix &m = w.op->matrix;
    const slip_cuda_operand &a = *w.operand;
    const int lane = threadIdx.x % 32, column_tile = f.item.chunk * m.chunk + f.done;
    const int tile = column_tile < m.plane_tiles ? column_tile : column_tile - m.plane_tiles, width = wide_groups(f.item.groups);
    if (lane < f.item.tiles) {
        const int64_t before = slip_tiles_before(&m, f.item.chunk, f.item.row_tile + lane) + f.done;
        bulk_load(stage.weights[lane], m.data + f.item.expert * m.expert_bytes + before * format::TILE, format::TILE, full, f.policy);
    } else if (lane >= CODES && lane < SCALES) {
        const int form = (lane - CODES) / format::GROUPS, group = (lane - CODES) % format::GROUPS;
        if (group >= f.item.groups)
            return;
        const unsigned char *from = FORMAT != SLIP_WEIGHT_BF16 ? a.q8 : (const unsigned char *)(form ? a.lo : a.hi);
        from += (int64_t)(f.item.group + group) * a.padded * SLIP_TOKENS * (FORMAT == SLIP_WEIGHT_BF16 ? 2 : 1) + tile * format::FORM_BYTES;
        bulk_load(stage.codes + (form * width + group) * format::FORM_BYTES, from, format::FORM_BYTES, full);
    } else if (lane >= SCALES && format::BLOCKS > 0) {
        const int block = (lane - SCALES) / format::GROUPS, group = (lane - SCALES) % format::GROUPS;
        if (block >= format::BLOCKS || group >= f.item.groups)
            return;
        const float *from = a.scale + slip_operand_block_at(a.padded, f.item.group + group, 0, tile * format::BLOCKS + block);
        bulk_load(stage.scale + (block * width + group) * SLIP_TOKENS, from, SLIP_TOKENS * sizeof(float), full);
    }
}

// Start to fill the next stage, if there is one, behind its last reader.
template <int FORMAT>
__device__ __forceinline__ void wide_fill(const wide_work &w, wide_filler &f, wide_memory<FORMAT> &s)
{
    using format = wide_format<FORMAT>;
    if (f.index >= w.items)
        return;
    const unsigned slot = f.count % format::DEPTH, round = f.count / format::DEPTH;
    if (round > 0)
        wide_wait(&s.empty[slot], round - 1);
    if (threadIdx.x == 0)
        mbarrier_expect(&s.full[slot], f.item.tiles * format::TILE + f.item.groups * (format::FORMS * format::FORM_BYTES +
                                                                                      format::BLOCKS * SLIP_TOKENS * (int)sizeof(float)));
    __syncwarp();
    wide_copy<FORMAT>(w, f, s.stage[slot], &s.full[slot]);
    f.count++;
    if (++f.done < f.item.length)
        return;
    f.done = 0;
    f.index += gridDim.x;
    if (f.index < w.items)
        f.item = wide_item_of<FORMAT>(w, f.index);
}

template <int FORMAT>
__device__ __forceinline__ wide_filler wide_start(const wide_work &w, wide_memory<FORMAT> &s)
{
    using format = wide_format<FORMAT>;
    if (threadIdx.x == 0)
        for (int i = 0; i < format::DEPTH; i++) {
            mbarrier_init(&s.full[i], 1);
            mbarrier_init(&s.empty[i], WIDE_WARPS);
        }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    fence_async_shared();
    __syncthreads();
    wide_filler f = {{}, (int)blockIdx.x, 0, 0, w.block || w.blocks == 1 ? read_once_policy() : keep_policy()};
    if (threadIdx.x < 32 && f.index < w.items) {
        f.item = wide_item_of<FORMAT>(w, f.index);
        for (int i = 0; i < format::DEPTH - 1; i++)
            wide_fill<FORMAT>(w, f, s);
    }
    return f;
}

} // namespace slip
