/* Who works on which weight tiles: units are dealt out to SMs and warpgroups in contiguous ranges, which cursors walk through. */
#pragma once

#include "kernels/cuda/layout/matrix.h"
#include "kernels/cuda/sync/context.cuh"

namespace slip {

// Units, or tiles, [first, last) of an op.
struct unit_range {
    int first, last;
};

// Tile number `done` of `length` of unit (chunk, row tile) of the expert at index `at` of the list. A cursor visits tiles in memory order;
// only expert boundaries jump.
struct cursor {
    int at, chunk, row_tile, done, length;
};

// An SM's share of a product. One thread of each warpgroup works it out while the others wait for something else.
struct product_deal {
    unit_range all, batch;   // units of the SM; those of the current batch, which are computed together
    unit_range window;       // LINEAR: column tiles whose operands the SM needs
    cursor from[WARPGROUPS]; // where a warpgroup begins in the batch
    int left[WARPGROUPS];    // and how many tiles it has there
};

// Operands in the arena, shared addresses: of column tiles from `tile` on, or of experts from index `expert` of the list on.
struct product_job {
    uint32_t address; // e4m3 codes, or bf16 hi
    uint32_t lo;      // bf16: bytes from hi to lo
    uint32_t scale;   // e4m3's scales
    int plane_tiles;  // column tile j of the matrix meets the operand's columns of tile j % plane_tiles
    int tile;
    int expert, each; // bytes from one expert's operand to the next; 0: one for all
};

__device__ __forceinline__ unit_range overlap(unit_range a, unit_range b)
{
    return {max(a.first, b.first), min(a.last, b.last)};
}

__device__ __forceinline__ cursor cursor_of(const slip_cuda_matrix &m, int unit)
{
    cursor p = {};
    p.at = unit / m.units;
    unit -= p.at * m.units;
    p.chunk = unit / m.row_tiles;
    p.row_tile = unit - p.chunk * m.row_tiles;
    p.length = slip_chunk_length(&m, p.chunk);
    return p;
}

// To the next tile; true if it is of another chunk or expert.
__device__ __forceinline__ bool step(cursor &p, const slip_cuda_matrix &m)
{
    if (++p.done < p.length)
        return false;
    p.done = 0;
    if (++p.row_tile < m.row_tiles)
        return false;
    p.row_tile = 0;
    if (++p.chunk == m.chunks) {
        p.chunk = 0;
        p.at++;
    }
    p.length = slip_chunk_length(&m, p.chunk);
    return true;
}

// Tiles of its expert that lie before a cursor at the beginning of a unit.
__device__ __forceinline__ int tiles_before(const slip_cuda_matrix &m, const cursor &p)
{
    return slip_tiles_before(&m, p.chunk, p.row_tile);
}

// Tiles of a range of units that begins at `from`. Most units of experts have the same length, which saves divisions.
__device__ __forceinline__ int tiles_of(const slip_cuda_matrix &m, const cursor &from, unit_range units)
{
    if (units.first >= units.last)
        return 0;
    if (m.chunks * m.chunk == m.column_tiles)
        return (units.last - units.first) * m.chunk;
    cursor to = cursor_of(m, units.last);
    return (to.at - from.at) * m.column_tiles * m.row_tiles + tiles_before(m, to) - tiles_before(m, from);
}

} // namespace slip
