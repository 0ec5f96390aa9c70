/* The device's side of the exchange that comm/exchange.h describes: one warp, one block of 128 columns, four columns a lane. Lanes do
 * not depend on each other, so those beyond the end of a row may stay away.
 *
 * Why a message needs no fence. A float and its epoch are one 64-bit word, and a 16-byte store is two of them: PTX treats the elements
 * of a vector access as memory operations of their own, each of which is seen whole or not at all. Whoever reads a word that carries
 * the epoch has the data. Nothing else is learned from a message: it publishes only itself. Both sides use relaxed accesses of
 * system scope, which caches of an SM do not answer.
 *
 * Why two sets of slots are enough. A rank writes messages of epoch e + 2 into the set of epoch e. It has then left exchange e + 1, all
 * its warps have (a grid barrier lies between two exchanges), and to leave it, it needed something of exchange e + 1 from every
 * other rank: their partials, or a sum that its owner could not make without them. A rank sends in exchange e + 1 only behind its
 * own grid barrier after exchange e, when all its warps have read what they wanted of epoch e. So nobody reads the set any more.
 * That a load whose value has been branched on is over before a later store of the same thread, or of one behind a barrier, becomes
 * visible is what the hardware does; NCCL's LL protocol rests on the same. Were it otherwise, the reader would find epoch e + 2 where it
 * wants e and wait in vain: a record, not a wrong sum.
 *
 * Why it cannot deadlock. All CTAs are resident, every warp takes its blocks in ascending order, and what a block needs is sent
 * by warps on their way to that block or at it: the lowest unfinished block of all ranks always proceeds.
 *
 * Waits are the caller's: wait(hop, epoch, ready) repeats ready(peer, seen) until it is true or it gives up, for good; then what comes
 * back is no sum, and the kernel is to leave. `peer` and `seen` are for its record: the rank waited for and an epoch found in its
 * place. Hop 1 waits for an owner that may itself be waiting for the culprit: give it longer than hop 0, so that
 * hop 0 speaks first.
 */
#pragma once

#include "comm/exchange.h"

namespace slip {
namespace exchange {

constexpr int BATCH = 4; // messages looked at together: their loads overlap

// A lane's part of a message: four words of (epoch, float), in two lines of 16 bytes, 512 bytes apart.
struct words {
    uint64_t v[4];
};

__device__ __forceinline__ int lane_offset()
{
    return (int)(threadIdx.x % 32) * 16;
}

__device__ __forceinline__ void store_line(unsigned char *to, uint32_t epoch, float a, float b)
{
    uint64_t high = (uint64_t)epoch << 32;
    asm volatile("st.relaxed.sys.global.v2.b64 [%0], {%1, %2};" ::"l"(to), "l"(high | __float_as_uint(a)), "l"(high | __float_as_uint(b))
                 : "memory");
}

__device__ __forceinline__ void send(unsigned char *message, uint32_t epoch, float4 v)
{
    store_line(message + lane_offset(), epoch, v.x, v.y);
    store_line(message + SLIP_EXCHANGE_MESSAGE / 2 + lane_offset(), epoch, v.z, v.w);
}

__device__ __forceinline__ void load_line(const unsigned char *from, uint64_t &a, uint64_t &b)
{
    asm volatile("ld.relaxed.sys.global.v2.b64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(from) : "memory");
}

__device__ __forceinline__ words load(const unsigned char *message)
{
    words w;
    load_line(message + lane_offset(), w.v[0], w.v[1]);
    load_line(message + SLIP_EXCHANGE_MESSAGE / 2 + lane_offset(), w.v[2], w.v[3]);
    return w;
}

// `epoch` when all four words carry it, else one that they carry instead.
__device__ __forceinline__ uint32_t epoch_seen(const words &w, uint32_t epoch)
{
    uint32_t seen = epoch;
#pragma unroll
    for (int i = 3; i >= 0; i--)
        seen = (uint32_t)(w.v[i] >> 32) == epoch ? seen : (uint32_t)(w.v[i] >> 32);
    return seen;
}

__device__ __forceinline__ float4 value(const words &w)
{
    return make_float4(__uint_as_float((uint32_t)w.v[0]), __uint_as_float((uint32_t)w.v[1]), __uint_as_float((uint32_t)w.v[2]),
                       __uint_as_float((uint32_t)w.v[3]));
}

__device__ __forceinline__ float4 plus(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ __forceinline__ unsigned char *set_of(const slip_exchange &x, int rank, uint32_t epoch)
{
    return x.peer[rank] + x.at.set[epoch & 1];
}

// Our message to all others, each at `offset` of its set; from the next rank on, so that not all begin with the same one.
__device__ __forceinline__ void send_all(const slip_exchange &x, uint32_t epoch, size_t offset, float4 v)
{
#pragma unroll 1
    for (int i = 1, peer = x.rank; i < x.at.ranks; i++) {
        peer = peer + 1 < x.at.ranks ? peer + 1 : 0;
        send(set_of(x, peer, epoch) + offset, epoch, v);
    }
}

// The sum in rank order of the messages at `messages` [ranks] and, in its place, our own partial.
template <class Wait>
__device__ __forceinline__ float4 sum_of(const slip_exchange &x, uint32_t epoch, const unsigned char *messages, float4 mine, Wait &wait)
{
    float4 sum = mine;
#pragma unroll 1
    for (int first = 0; first < x.at.ranks; first += BATCH) {
        words w[BATCH]; // loaded whole each time, awaited or not: else the compiler keeps the last try's through the wait's slow path
        auto awaited = [&](int j) { return first + j < x.at.ranks && first + j != x.rank; };
        wait(0, epoch, [&](int &peer, uint32_t &seen) {
            bool all = true;
#pragma unroll
            for (int j = 0; j < BATCH; j++)
                w[j] = load(messages + min(first + j, x.at.ranks - 1) * SLIP_EXCHANGE_MESSAGE);
#pragma unroll
            for (int j = BATCH - 1; j >= 0; j--) {
                uint32_t e = awaited(j) ? epoch_seen(w[j], epoch) : epoch;
                if (e != epoch) {
                    peer = first + j;
                    seen = e;
                    all = false;
                }
            }
            return all;
        });
#pragma unroll
        for (int j = 0; j < BATCH; j++)
            if (first + j < x.at.ranks) {
                float4 v = first + j == x.rank ? mine : value(w[j]);
                sum = first + j == 0 ? v : plus(sum, v);
            }
    }
    return sum;
}

template <class Wait>
__device__ __forceinline__ float4 one_shot(const slip_exchange &x, uint32_t epoch, int block, float4 mine, Wait &wait)
{
    size_t messages = (size_t)block * x.at.ranks * SLIP_EXCHANGE_MESSAGE;
    send_all(x, epoch, messages + x.rank * SLIP_EXCHANGE_MESSAGE, mine);
    return sum_of(x, epoch, set_of(x, x.rank, epoch) + messages, mine, wait);
}

template <class Wait>
__device__ __forceinline__ float4 two_shot(const slip_exchange &x, uint32_t epoch, int block, float4 mine, Wait &wait)
{
    int owner = block % x.at.ranks;
    size_t partials = (size_t)(block - owner) * SLIP_EXCHANGE_MESSAGE, sums = x.at.sums + (size_t)block * SLIP_EXCHANGE_MESSAGE;
    if (owner == x.rank) {
        float4 sum = sum_of(x, epoch, set_of(x, x.rank, epoch) + partials, mine, wait);
        send_all(x, epoch, sums, sum);
        return sum;
    }
    send(set_of(x, owner, epoch) + partials + x.rank * SLIP_EXCHANGE_MESSAGE, epoch, mine);
    words w;
    wait(1, epoch, [&](int &peer, uint32_t &seen) {
        w = load(set_of(x, x.rank, epoch) + sums);
        peer = owner;
        seen = epoch_seen(w, epoch);
        return seen == epoch;
    });
    return value(w);
}

// This lane's four columns of `block` = row * row_blocks + column block, summed over all ranks. `rows`: of the whole exchange, the same on
// all ranks, as is `epoch`. Every block of the exchange is given to one warp of every rank, and a grid barrier follows.
template <class Wait>
__device__ __forceinline__ float4 all_reduce(const slip_exchange &x, uint32_t epoch, int rows, int block, float4 mine, Wait wait)
{
    return rows <= x.at.one_shot_rows ? one_shot(x, epoch, block, mine, wait) : two_shot(x, epoch, block, mine, wait);
}

// ---- when a rank fails ----

// Our failure is to be everybody's end: 1 + our rank into the abort word of each peer. A second failing rank may overwrite the first.
__device__ __forceinline__ void abort_peers(const slip_exchange &x)
{
    for (int peer = 0; peer < x.at.ranks; peer++)
        if (peer != x.rank)
            asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(&((slip_exchange_head *)x.peer[peer])->abort), "r"(1 + x.rank)
                         : "memory");
}

// 0, or 1 + the rank that wants us to leave.
__device__ __forceinline__ uint32_t aborted_by(const slip_exchange &x)
{
    uint32_t by;
    asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(by) : "l"(&((slip_exchange_head *)x.peer[x.rank])->abort) : "memory");
    return by;
}

} // namespace exchange
} // namespace slip
