/* Where a rank's partial sums of a wide step go (shares.cuh), and how a dense product sends its own. */
#pragma once

#include "kernels/cuda/sync/sync.cuh"
#include "kernels/cuda/wide/rows.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

// How a launch of op `head`, number `number` of the list, waits for other ranks. `there`: there are some.
__device__ __forceinline__ waiter wide_waiter_of(const wide_ranks &ranks, bool there, const slip_cuda_step &step, int number,
                                                 const slip_cuda_op &head)
{
    return {ranks.words,
            ranks.host,
            ranks.timeout_cycles,
            ranks.timeout_cycles,
            there ? &ranks.exchange : NULL,
            step.number,
            (int)blockIdx.x,
            SLIP_ROLE_CONSUMER,
            number,
            head.kind,
            head.layer};
}

// Where a quad's parts lie, in bytes from an arena's start.
struct share_place {
    int owner;
    size_t partials, sent; // of rank 0; the others' lie behind
    size_t result, done;
};

__device__ __forceinline__ share_place share_place_of(const slip_exchange_layout &at, uint32_t epoch, const wide_quad &q)
{
    const int quad = q.row / WIDE_ROWS;
    const size_t set = at.share_set[epoch & 1], all = (size_t)quad * at.row_blocks + q.block,
                 owned = ((size_t)slip_share_place(at.ranks, quad) * at.row_blocks + q.block) * at.ranks;
    return {slip_share_owner(at.ranks, quad), set + owned * SLIP_SHARE_QUAD, set + at.share_sent + owned * sizeof(uint32_t),
            set + at.share_results + all * SLIP_SHARE_QUAD, set + at.share_done + all * sizeof(uint32_t)};
}

// Of the exchange that REDUCE_NORM number `number` makes. Without peers it has one that no other op or step has: no flag of the past is mistaken for it.
__device__ __forceinline__ uint32_t share_epoch(const slip_cuda_step &step, const slip_cuda_reduce_norm &op, int number)
{
    constexpr uint32_t OPS = 1 << 14; // of a list: more than there are
    return op.peers ? SLIP_EXCHANGE_FIRST_EPOCH + (uint32_t)step.number * OPS + (uint32_t)number
                    : slip_exchange_epoch_after(step.epoch, op.exchange);
}

// Where a product's sums go: to the owners of their rows, as this rank's partials. Absent owners have one arena together: what is for one of them lies
// where its own partial would.
struct wide_sender {
    bool sends, absent;
    uint32_t epoch;
};

// To where the REDUCE_NORM behind op `number` looks for them. `may_send`: wide_may_send().
__device__ __forceinline__ wide_sender wide_sender_of(const slip_cuda_op *ops, const slip_cuda_step *step, int number, int may_send)
{
    const slip_cuda_reduce_norm &sum = ops[number + 1].reduce_norm;
    if (!may_send || !slip_cuda_sends(step->rows))
        return {};
    return {true, sum.peers > 0, share_epoch(*step, sum, number + 1)};
}

// Where peers are absent: says that sending begins, and that `last` of `all` will be sent when nothing is left to multiply.
__device__ __forceinline__ void wide_begin_sending(const slip_exchange &x, int last, int all)
{
    slip_exchange_head *head = (slip_exchange_head *)x.peer[0];
    head->sending_since = now_ns();
    head->sent_last = (float)last / (float)all;
}

// Sends a warp's sums of a row tile with N tokens from row group `group` on, of which there are `groups`: 16 columns from `column` on. Four lanes trade theirs for
// four columns of a token each, so that a row gets 64 bytes at once. `x`: a kernel's parameter, where nothing that is written can change it.
template <int N>
__device__ __forceinline__ void wide_send(const slip_exchange &x, const wide_sender &to, int group, int groups, int column,
                                          const float (&sum)[SUMS<N>])
{
    const slip_exchange_layout &at = x.at;
    const int lane = threadIdx.x % 32, mine = lane / 4 % WIDE_ROWS, token = lane % 4 * 2 + mine % 2; // as tile.cuh has them
    column += mine / 2 * 8 + lane / 16 * 4;
    share_place place =
        share_place_of(at, to.epoch, {group * SLIP_TOKENS + token / WIDE_ROWS * WIDE_ROWS, 0, column / SLIP_F8_BLOCK, 0, true});
    const size_t within = (size_t)(token % WIDE_ROWS * SLIP_F8_BLOCK + column % SLIP_F8_BLOCK) * sizeof(float),
                 next = (size_t)(SLIP_TOKENS / WIDE_ROWS) * at.row_blocks * at.ranks * SLIP_SHARE_QUAD;
#pragma unroll
    for (int b = 0; b < N / 8; b++) {
        const uint32_t words[WIDE_ROWS] = {__float_as_uint(sum[4 * b]), __float_as_uint(sum[4 * b + 1]), __float_as_uint(sum[4 * b + 2]),
                                           __float_as_uint(sum[4 * b + 3])};
        const uint4 row = wide_trade_four<4>(words, lane);
        const int slot = to.absent ? place.owner : x.rank;
        if (b < groups)
            *(uint4 *)(x.peer[place.owner] + place.partials + slot * SLIP_SHARE_QUAD + within) = row;
        if (++place.owner == at.ranks) { // of the next group
            place.owner = 0;
            place.partials += next;
        }
    }
}

} // namespace slip
