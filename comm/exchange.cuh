/* The device's side of the exchange that comm/exchange.h describes: one warp, one block of 128 columns, four columns a lane. All lanes take
 * part, those beyond the end of a row with zeros.
 *
 * Why a message needs no fence. A line is stored and loaded as one b128, a scalar type of PTX (with .sys from ISA 8.4 on): a single memory
 * operation, seen whole or not at all. For a v2.b64 the ISA promises only the halves: "Memory operations with a vector data type are
 * modelled as a set of equivalent memory operations with a scalar data type, executed in an unspecified order on the elements in the
 * vector" (8.2.4). That paragraph has scalars end at 64 bits and is older than b128; the machine has one instruction for both forms
 * (STG.128), and over NVLink NCCL's LL128 relies on whole lines of 128 bytes. Whoever reads a line that carries the epoch has its data.
 * Nothing else is learned from a message: it publishes only itself. Both sides use relaxed accesses of system scope, which caches of
 * an SM do not answer.
 *
 * Why two sets of slots are enough. A rank writes messages of epoch e + 2 into the set of epoch e. It has then left exchange e + 1, all
 * its warps have (a grid barrier lies between two exchanges), and to leave it, it needed something of exchange e + 1 from every
 * other rank: their partials, or a sum that its owner could not make without them. A rank sends in exchange e + 1 only behind its
 * own grid barrier after exchange e, when all its warps have read what they needed of epoch e. So no rank reads the set any more.
 * This relies on the hardware completing a load whose value has been branched on before a later store of the same thread, or of one behind
 * a barrier, becomes visible, as NCCL's LL protocol does. Otherwise the reader would find epoch e + 2 instead of e, and its wait would
 * time out: an error, never a wrong sum.
 *
 * Why it cannot deadlock. All CTAs are resident, every warp works on its blocks in ascending order, and what a block needs is sent by warps
 * that have reached that block or will: the lowest unfinished block of all ranks always proceeds. Each lane waits for its own lines,
 * and lanes synchronise at the shuffles of the next message; a warp sends a whole partial before any of its lanes waits for that block.
 *
 * The caller supplies the waits: wait(hop, epoch, ready) repeats ready(peer, seen) until it is true, or gives up for good; then the result is
 * no sum, and the kernel must leave. `peer` and `seen` are for its record: the rank waited for and the epoch found instead. Hop 1 waits for
 * an owner that may itself be waiting for the root cause: give it a longer timeout than hop 0, so that hop 0 reports first.
 */
#pragma once

#include "comm/exchange.h"
#include "comm/float4.cuh"

namespace slip {
namespace exchange {

constexpr int BATCH = 4; // messages of three and more ranks looked at together: their loads overlap

static_assert(3 * SLIP_EXCHANGE_LINES >= SLIP_EXCHANGE_COLUMNS && SLIP_EXCHANGE_LINES > 32, "a line a lane, and their w in the others");
static_assert(SLIP_EXCHANGE_LINES * SLIP_EXCHANGE_LINE <= SLIP_EXCHANGE_MESSAGE && SLIP_EXCHANGE_MESSAGE % 128 == 0, "whole cache lines");

// A lane's part of a message: x, y, z of its four columns, and the line that has its w.
struct words {
    uint64_t xy, z, w01, w2; // z and w2: in their high half the epoch
};

__device__ __forceinline__ int lane_number()
{
    return (int)(threadIdx.x % 32);
}

// Offset in a message of the line with lane `lane`'s w.
__device__ __forceinline__ int w_line(int lane)
{
    return (32 + lane / 3) * SLIP_EXCHANGE_LINE;
}

__device__ __forceinline__ uint64_t pair(uint32_t low, uint32_t high)
{
    return (uint64_t)high << 32 | low;
}

__device__ __forceinline__ void store_line(unsigned char *to, uint64_t a, uint64_t b)
{
    asm volatile("{\n.reg .b128 line;\nmov.b128 line, {%1, %2};\nst.relaxed.sys.global.b128 [%0], line;\n}" ::"l"(to), "l"(a), "l"(b)
                 : "memory");
}

__device__ __forceinline__ void load_line(const unsigned char *from, uint64_t &a, uint64_t &b)
{
    asm volatile("{\n.reg .b128 line;\nld.relaxed.sys.global.b128 line, [%2];\nmov.b128 {%0, %1}, line;\n}"
                 : "=l"(a), "=l"(b)
                 : "l"(from)
                 : "memory");
}

// What a lane sends: its own line and, the first eleven lanes, a line with the w of three lanes (the eleventh: of two).
__device__ __forceinline__ words message_of(uint32_t epoch, float4 v)
{
    uint32_t w[3];
#pragma unroll
    for (int i = 0; i < 3; i++)
        w[i] = __float_as_uint(__shfl_sync(~0u, v.w, lane_number() * 3 + i));
    return {pair(__float_as_uint(v.x), __float_as_uint(v.y)), pair(__float_as_uint(v.z), epoch), pair(w[0], w[1]), pair(w[2], epoch)};
}

__device__ __forceinline__ void send(unsigned char *message, const words &m)
{
    const int lane = lane_number();
    store_line(message + lane * SLIP_EXCHANGE_LINE, m.xy, m.z);
    if (lane < SLIP_EXCHANGE_LINES - 32)
        store_line(message + (32 + lane) * SLIP_EXCHANGE_LINE, m.w01, m.w2);
}

__device__ __forceinline__ words load(const unsigned char *message)
{
    const int lane = lane_number();
    words m;
    load_line(message + lane * SLIP_EXCHANGE_LINE, m.xy, m.z);
    load_line(message + w_line(lane), m.w01, m.w2);
    return m;
}

// `epoch` if both lines carry it, else an epoch that they carry instead.
__device__ __forceinline__ uint32_t epoch_seen(const words &m, uint32_t epoch)
{
    uint32_t first = (uint32_t)(m.z >> 32);
    return first != epoch ? first : (uint32_t)(m.w2 >> 32);
}

__device__ __forceinline__ float4 value(const words &m)
{
    const int third = lane_number() % 3;
    uint32_t w = (uint32_t)(third == 2 ? m.w2 : third == 1 ? m.w01 >> 32 : m.w01);
    return make_float4(__uint_as_float((uint32_t)m.xy), __uint_as_float((uint32_t)(m.xy >> 32)), __uint_as_float((uint32_t)m.z),
                       __uint_as_float(w));
}

__device__ __forceinline__ unsigned char *set_of(const slip_exchange &x, int rank, uint32_t epoch)
{
    return x.peer[rank] + x.at.set[epoch & 1];
}

// Send our message to all others, to `offset` of their set. Each rank starts with the next one, so that not all begin with the same.
__device__ __forceinline__ void send_all(const slip_exchange &x, uint32_t epoch, size_t offset, float4 v)
{
    const words m = message_of(epoch, v);
#pragma unroll 1
    for (int i = 1, peer = x.rank; i < x.at.ranks; i++) {
        peer = peer + 1 < x.at.ranks ? peer + 1 : 0;
        send(set_of(x, peer, epoch) + offset, m);
    }
}

// One message, of rank `other`.
template <class Wait>
__device__ __forceinline__ float4 wait_message(uint32_t epoch, const unsigned char *message, int other, int hop, Wait &wait)
{
    words m;
    wait(hop, epoch, [&](int &peer, uint32_t &seen) {
        m = load(message);
        peer = other;
        seen = epoch_seen(m, epoch);
        return seen == epoch;
    });
    return value(m);
}

// The sum, in rank order, of the messages at `messages` [ranks] and our own partial.
template <class Wait>
__device__ __forceinline__ float4 sum_of(const slip_exchange &x, uint32_t epoch, const unsigned char *messages, float4 mine, Wait &wait)
{
    float4 sum = mine;
#pragma unroll 1
    for (int first = 0; first < x.at.ranks; first += BATCH) {
        words w[BATCH]; // loaded whole in each try, awaited or not: else the compiler keeps those of the last try through the slow path
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
                sum = first + j == 0 ? v : add(sum, v);
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

// The same for two ranks, which always sum one-shot unless a test wants otherwise (exchange.c). There is one message to wait for, little work
// before the first look, and the order of two terms changes no bit.
template <class Wait>
__device__ __forceinline__ float4 one_shot_of_two(const slip_exchange &x, uint32_t epoch, int block, float4 mine, Wait &wait)
{
    const int rank = x.rank, other = 1 - rank;
    const size_t messages = (size_t)block * 2 * SLIP_EXCHANGE_MESSAGE;
    unsigned char *to = set_of(x, other, epoch) + messages + rank * SLIP_EXCHANGE_MESSAGE;
    const unsigned char *from = set_of(x, rank, epoch) + messages + other * SLIP_EXCHANGE_MESSAGE;
    send(to, message_of(epoch, mine));
    return add(mine, wait_message(epoch, from, other, 0, wait));
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
    send(set_of(x, owner, epoch) + partials + x.rank * SLIP_EXCHANGE_MESSAGE, message_of(epoch, mine));
    return wait_message(epoch, set_of(x, x.rank, epoch) + sums, owner, 1, wait);
}

// This lane's four columns of `block` = row * row_blocks + column block, summed over all ranks. `rows`: of the whole exchange, the same on
// all ranks, as is `epoch`. Every block of the exchange is given to one warp of every rank, and a grid barrier follows.
template <class Wait>
__device__ __forceinline__ float4 all_reduce(const slip_exchange &x, uint32_t epoch, int rows, int block, float4 mine, Wait wait)
{
    if (rows > x.at.one_shot_rows)
        return two_shot(x, epoch, block, mine, wait);
    return x.at.ranks == 2 ? one_shot_of_two(x, epoch, block, mine, wait) : one_shot(x, epoch, block, mine, wait);
}

// ---- when a rank fails ----

// Abort all ranks after a failure of this one: 1 + our rank to the abort word of each peer. A second failing rank may overwrite the first.
__device__ __forceinline__ void abort_peers(const slip_exchange &x)
{
    for (int peer = 0; peer < x.at.ranks; peer++)
        if (peer != x.rank)
            asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(&((slip_exchange_head *)x.peer[peer])->abort), "r"(1 + x.rank)
                         : "memory");
}

// 0, or 1 + the rank that aborts us.
__device__ __forceinline__ uint32_t aborted_by(const slip_exchange &x)
{
    uint32_t by;
    asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(by) : "l"(&((slip_exchange_head *)x.peer[x.rank])->abort) : "memory");
    return by;
}

} // namespace exchange
} // namespace slip
