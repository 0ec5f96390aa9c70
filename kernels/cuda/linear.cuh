/* LINEAR: parts of act * matrix transposed. An SM's units touch one or two chunks of the columns: it loads no other activations. */
#pragma once

#include "kernels/cuda/form.cuh"

namespace slip {

__device__ __forceinline__ int op_rows(const slip_cuda_op &op, const slip_cuda_step *step)
{
    return op.head_rows ? step->heads : step->rows;
}

__device__ __forceinline__ int groups_of(int rows)
{
    return (rows + SLIP_TOKENS - 1) / SLIP_TOKENS;
}

__device__ __forceinline__ void produce_linear(const waiter &w, producer &p, const slip_cuda_op &op, int rows, int sm, int sms)
{
    const slip_cuda_matrix &m = op.matrix;
    unit_range range = units_of(m.units, sm, sms);
    int bytes = slip_store_bytes(m.store);
    for (int group = 0; group < groups_of(rows); group++)
        for (int i = range.first + p.warpgroup; i < range.last; i += WARPGROUPS) {
            unit u = unit_at(m, i);
            produce(w, p, m.data + unit_granule(m, u) * bytes, u.tiles * u.length, bytes);
        }
}

// Rows [0, 64) of a tile for 8 tokens, times each token's factor, to out[token][row].
__device__ __forceinline__ void write_tile(float *out, int stride, const float (&sum)[4], const float *factor)
{
    int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane / 4, token = lane % 4 * 2;
    float first = factor[token], second = factor[token + 1];
    float *at = out + (int64_t)token * stride + row;
    at[0] = sum[0] * first;
    at[stride] = sum[1] * second;
    at[8] = sum[2] * first;
    at[stride + 8] = sum[3] * second;
}

__device__ __forceinline__ void op_linear(const waiter &w, consumer &r, const slip_cuda_op &op, const context &c, float *factor)
{
    const slip_cuda_matrix &m = op.matrix;
    unit_range range = units_of(m.units, c.sm, c.sms);
    int rows = op_rows(op, c.step);
    if (range.first == range.last)
        return;
    int first = unit_at(m, range.first).chunk * m.chunk;
    int last = min((unit_at(m, range.last - 1).chunk + 1) * m.chunk, m.granules);
    for (int group = 0; group < groups_of(rows); group++) {
        activations x = load_operand(op.act, m, group, first, last - first, c);
        load_factor(op.act, op.epsilon, group, c, factor);
        fence_async_shared();
        consumers_sync();
        for (int i = range.first + r.warpgroup; i < range.last; i += WARPGROUPS) {
            unit u = unit_at(m, i);
            float *out = op.out.data + (int64_t)(group * op.out.parts + u.chunk) * SLIP_TOKENS * op.out.stride;
            multiply(w, r, m.store, u, x, u.chunk * m.chunk - first,
                     [&](int tile, const float (&sum)[4]) { write_tile(out + tile * SLIP_TILE, op.out.stride, sum, factor); });
        }
        if (group + 1 < groups_of(rows))
            consumers_sync(); // the arena is about to be overwritten
    }
}

} // namespace slip
