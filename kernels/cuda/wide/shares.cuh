/* REDUCE_NORM of a wide step whose sums go over ranks. A row group has an owner (comm/exchange.h), which alone keeps its residual: it adds up what the
 * other ranks send, adds the residual, and sends all of them the result. That is the residual (f32), or, where a product in e4m3 is all that reads
 * it, the operand: codes, scales and squares, a quarter of the bytes.
 *
 * What a flag publishes. A warp writes a quad by ordinary stores and meets (bar.warp.sync); a lane stores the epoch with st.release.sys, which is
 * cumulative: it orders the stores of all lanes before it. The reader's lane polls by ld.acquire.sys and its warp meets, so the loads behind that see them.
 * They are volatile: of system scope, not answered by an SM's cache, which may hold what lay there two exchanges ago.
 *
 * A dense product in front sends its sums itself, to where share_send() would have put them (dense.cuh), while it multiplies; its end is before this
 * kernel's begin. One flag then says of all of a rank's partials that they are there.
 *
 * Why two sets are enough: as in comm/exchange.cuh. Each rank needs something of every other rank to leave an exchange, since a result is made of all ranks'
 * partials; the end of its kernel is what a grid barrier is there. A product that sends begins behind the exchange before its own, too. Why it cannot
 * deadlock: all CTAs find room at once, those of the kernel before leave without waiting for them. Warps send and collect in ascending order of quads: the
 * lowest one that is not collected has been reached by a warp of every rank, or will be, since these wait for lower ones alone. Results are received behind
 * all of that.
 *
 * Absent peers are emulated: rank 0 of so many, with one arena that stands for all. What others would send is written by this rank itself. */
#pragma once

#include "kernels/cuda/wide/send.cuh"

namespace slip {

// What an owner sends; as floats, or as a lane's part of an operand.
struct share_result {
    wide_sums x;
    wide_codes codes;
    float square;
};
constexpr int SHARE_SCALES = 32 * 16, SHARE_SQUARES = SHARE_SCALES + WIDE_ROWS * 4, SHARE_CODES = SHARE_SQUARES + WIDE_ROWS * 4; // bytes

__device__ __forceinline__ void share_write(unsigned char *to, const wide_sums &v)
{
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        ((float4 *)to)[r * 32 + threadIdx.x % 32] = v[r];
}

__device__ __forceinline__ void share_read(const unsigned char *from, wide_sums &v)
{
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        v[r] = __ldcv((const float4 *)from + r * 32 + threadIdx.x % 32);
}

__device__ __forceinline__ void share_write(unsigned char *to, bool codes, const share_result &result)
{
    const int lane = threadIdx.x % 32;
    if (!codes) {
        share_write(to, result.x);
        return;
    }
    ((uint4 *)to)[lane] = result.codes.slice;
    if (lane < WIDE_ROWS) {
        ((float *)(to + SHARE_SCALES))[lane] = result.codes.scale;
        ((float *)(to + SHARE_SQUARES))[lane] = result.square;
    }
}

__device__ __forceinline__ void share_read(const unsigned char *from, bool codes, share_result &result)
{
    const int lane = threadIdx.x % 32;
    if (!codes) {
        share_read(from, result.x);
        return;
    }
    result.codes.slice = __ldcv((const uint4 *)from + lane);
    if (lane < WIDE_ROWS) {
        result.codes.scale = __ldcv((const float *)(from + SHARE_SCALES) + lane);
        result.square = __ldcv((const float *)(from + SHARE_SQUARES) + lane);
    }
}

__device__ __forceinline__ void share_say(unsigned char *arena, size_t flag, uint32_t epoch)
{
    store_release_system((unsigned *)(arena + flag), epoch);
}

// By one lane, for the others of its warp.
__device__ __forceinline__ void share_await(const waiter &w, int hop, const unsigned char *flag, int from, uint32_t epoch)
{
    peer_wait{w}(hop, epoch, [&](int &peer, uint32_t &seen) {
        seen = load_acquire_system((const unsigned *)flag);
        peer = from;
        return seen == epoch;
    });
}

// By a warp: what all others sent is there, of which the flags at `sent` speak.
__device__ __forceinline__ void share_await_sent(const slip_exchange &x, const waiter &w, size_t sent, uint32_t epoch)
{
    const int lane = threadIdx.x % 32;
    if (lane < x.at.ranks && lane != x.rank)
        share_await(w, 0, x.peer[x.rank] + sent + lane * sizeof(uint32_t), lane, epoch);
    __syncwarp();
}

// `v` becomes the sum over ranks, in their order. `all`: this rank's part is where the others' are, and not in `v`.
__device__ __forceinline__ void share_collect(const slip_exchange &x, const share_place &place, bool all, wide_sums &v)
{
    const int ranks = x.at.ranks;
    const unsigned char *const arena = x.peer[x.rank];
    wide_sums sum;
#pragma unroll 2
    for (int rank = 0; rank < ranks; rank++) {
        wide_sums part;
        share_read(arena + place.partials + (size_t)rank * SLIP_SHARE_QUAD, part); // of this rank's own place, perhaps for nothing
#pragma unroll
        for (int r = 0; r < WIDE_ROWS; r++) {
            const float4 mine = rank == x.rank && !all ? v[r] : part[r];
            sum[r] = rank == 0 ? mine : add(sum[r], mine);
        }
    }
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        v[r] = sum[r];
}

// To all others, beginning with the next rank: not all ranks begin with the same.
__device__ __forceinline__ void share_publish(const slip_exchange &x, const share_place &place, uint32_t epoch, bool codes,
                                              const share_result &result)
{
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int i = 1, peer = x.rank; i < x.at.ranks; i++) {
        peer = peer + 1 < x.at.ranks ? peer + 1 : 0;
        share_write(x.peer[peer] + place.result, codes, result);
    }
    __syncwarp();
    if (lane < x.at.ranks && lane != x.rank)
        share_say(x.peer[lane], place.done, epoch);
}

__device__ __forceinline__ void share_send(const slip_exchange &x, const share_place &place, uint32_t epoch, const wide_sums &v)
{
    unsigned char *const arena = x.peer[place.owner];
    share_write(arena + place.partials + (size_t)x.rank * SLIP_SHARE_QUAD, v);
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        share_say(arena, place.sent + x.rank * sizeof(uint32_t), epoch);
}

// The result of the residual `x`.
__device__ __forceinline__ void share_make(const slip_cuda_reduce_norm &op, const wide_quad &q, share_result &result)
{
    const int lane = threadIdx.x % 32;
    wide_sums v;
    if (!op.codes)
        return;
    result.square = wide_squares_of(lane, result.x);
    wide_normed(op, q, result.x, v);
    result.codes = wide_codes_of(lane, v);
}

// What a rank keeps of a result: its own, whose residual it has, or another's.
__device__ __forceinline__ void share_keep(const slip_cuda_reduce_norm &op, const slip_cuda_step *step, const wide_quad &q, bool own,
                                           const share_result &result)
{
    const int lane = threadIdx.x % 32;
    if (own || !op.codes)
        wide_keep(op, step, q, result.x);
    if (!op.codes) {
        wide_write_normed(op, q, result.x);
        return;
    }
    wide_put_codes(op.operand, op.by_row, q, lane, result.codes);
    wide_put_squares(op.operand, q, lane, result.square);
    if (own && op.operand.hi) { // for a router, which has this rank's rows alone
        wide_sums v;
        wide_normed(op, q, result.x, v);
        wide_write_halves(op.operand, q, lane, v);
    }
}

// What absent peers would have sent to an owner: partials like ours.
__device__ __forceinline__ void share_stand_in_partials(const slip_exchange &x, const share_place &place, uint32_t epoch,
                                                        const wide_sums &v)
{
    unsigned char *const arena = x.peer[x.rank];
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int rank = 1; rank < x.at.ranks; rank++)
        share_write(arena + place.partials + (size_t)rank * SLIP_SHARE_QUAD, v);
    __syncwarp();
    if (lane < x.at.ranks)
        share_say(arena, place.sent + lane * sizeof(uint32_t), epoch);
}

// And an absent owner: a result that is made of our sum `v` and of a residual, whatever is there: rows are to differ.
__device__ __forceinline__ void share_stand_in_result(const slip_cuda_reduce_norm &op, const slip_exchange &x, const share_place &place,
                                                      uint32_t epoch, const wide_quad &q, const wide_sums &v)
{
    unsigned char *const arena = x.peer[x.rank];
    share_result result;
    wide_sums before;
    wide_load_residual(op, q, before);
#pragma unroll
    for (int r = 0; r < WIDE_ROWS; r++)
        result.x[r] = add(before[r], scaled(v[r], (float)x.at.ranks));
    share_make(op, q, result);
    share_write(arena + place.result, op.codes, result);
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        share_say(arena, place.done, epoch);
}

// What a rank sends to others while they send to it, as measured between two GPUs (docs/speed-cuda.md).
constexpr unsigned SHARE_LINK_BYTES_PER_NS = 366;

// What a link takes for so many bytes of each of all rows' quads, to all peers, in ns.
__device__ __forceinline__ uint64_t share_link_ns(const slip_cuda_reduce_norm &op, int rows, int each)
{
    const uint64_t quads = (uint64_t)((rows + WIDE_ROWS - 1) / WIDE_ROWS) * blocks_of(op.hidden);
    return quads * each * op.peers / (op.peers + 1) / SHARE_LINK_BYTES_PER_NS;
}

// Copies within a GPU are faster than a link. (The engine's own kernel, which has up to 64 rows, does not wait.)
__device__ __forceinline__ void share_await_link(uint64_t end)
{
    while (now_ns() < end)
        __nanosleep(200);
}

constexpr int SHARE_CTAS = 4; // of an SM: with five a quad would not find room in registers

// `EMULATED`: with absent peers. `may_be_sent`: the product in front sends this rank's partials.
template <bool EMULATED>
__global__ void __launch_bounds__(WIDE_ROWS_THREADS, SHARE_CTAS)
    wide_share(const slip_cuda_op *ops, const slip_cuda_step *step, int number, const __grid_constant__ wide_ranks ranks, int may_be_sent)
{
    const slip_cuda_op &head = *early_ops(ops, number);
    const slip_cuda_reduce_norm &op = head.reduce_norm;
    const slip_exchange &x = ranks.exchange;
    const waiter w = wide_waiter_of(ranks, !EMULATED, *step, number, head);
    const uint32_t epoch = share_epoch(*step, op, number);
    const bool sent = may_be_sent && slip_cuda_sends(step->rows);
    const int rows = step->rows, groups = slip_groups_of(rows), own = slip_share_groups(x.at.ranks, x.rank, groups);
    await_previous_kernel();
    uint64_t begun = EMULATED ? now_ns() : 0;
    auto others = [&](int i) { return slip_share_other(x.at.ranks, x.rank, i); };
    auto finish = [&](const wide_quad &q, const share_place &place, const wide_sums &before, share_result &result) {
        share_collect(x, place, sent, result.x);
        wide_add_residual(op, before, result.x);
        share_make(op, q, result);
        share_publish(x, place, epoch, op.codes, result);
        share_keep(op, step, q, true, result);
    };
    if (sent) {
        const size_t flags = x.at.share_set[epoch & 1] + x.at.share_sent;
        if (EMULATED) {
            const slip_exchange_head &sending = *(const slip_exchange_head *)x.peer[0];
            const uint64_t takes = share_link_ns(op, rows, SLIP_SHARE_QUAD);
            begun = max(sending.sending_since + takes, begun + (uint64_t)((float)takes * sending.sent_last));
            share_await_link(begun);
        } else {
            if (blockIdx.x == 0 && threadIdx.x < x.at.ranks && threadIdx.x != x.rank)
                share_say(x.peer[threadIdx.x], flags + x.rank * sizeof(uint32_t), epoch);
            share_await_sent(x, w, flags, epoch);
        }
        wide_for_each_quad(
            own, [&](int i) { return slip_share_own(x.at.ranks, x.rank, i); }, rows, op.hidden,
            [&](const wide_quad &q) {
                wide_sums before;
                share_result result;
                wide_load_residual(op, q, before);
                finish(q, share_place_of(x.at, epoch, q), before, result);
            });
        if (EMULATED)
            wide_for_each_quad(groups - own, others, rows, op.hidden, [&](const wide_quad &q) {
                const wide_sums v = {zero(), zero(), zero(), zero()}; // ours is in the owner's place, and was sent
                share_stand_in_result(op, x, share_place_of(x.at, epoch, q), epoch, q, v);
            });
    } else {
        wide_for_each_quad(rows, op.hidden, [&](const wide_quad &q) {
            const share_place place = share_place_of(x.at, epoch, q);
            const bool owned = place.owner == x.rank;
            wide_sums before;
            share_result result;
            wide_sum(op.terms, false, rows, q, result.x);
            if (EMULATED && owned)
                share_stand_in_partials(x, place, epoch, result.x);
            else if (EMULATED)
                share_stand_in_result(op, x, place, epoch, q, result.x);
            if (!owned) {
                share_send(x, place, epoch, result.x);
                return;
            }
            wide_load_residual(op, q, before); // under way while others' parts are awaited
            share_await_sent(x, w, place.sent, epoch);
            finish(q, place, before, result);
        });
    }
    wide_for_each_quad(groups - own, others, rows, op.hidden, [&](const wide_quad &q) {
        const share_place place = share_place_of(x.at, epoch, q);
        share_result result;
        if (threadIdx.x % 32 == 0)
            share_await(w, 1, x.peer[x.rank] + place.done, place.owner, epoch);
        __syncwarp();
        share_read(x.peer[x.rank] + place.result, op.codes, result);
        share_keep(op, step, q, false, result);
    });
    if (EMULATED)
        share_await_link(begun + share_link_ns(op, rows, (sent ? 0 : SLIP_SHARE_QUAD) + (op.codes ? SHARE_CODES : SLIP_SHARE_QUAD)));
}

} // namespace slip
