/* A small persistent kernel around comm/exchange.cuh: exchanges with a barrier of the rank's CTAs behind each, as in the engine. With real
 * windows all CTAs are one rank; where ranks are emulated, each has its share of them. */
#pragma once

#include "comm/exchange.cuh"

constexpr int TEST_THREADS = 512;
constexpr int WARM = 20; // exchanges before a timing begins: ranks do not start at once

struct test_record {
    int set, peer, hop; // peer -1: a barrier
    uint32_t epoch, seen;
};

struct test_words {
    unsigned arrived; // at barriers, ever
    unsigned unused[31];
    unsigned failed, wrong;
    test_record record;
    uint64_t started, ended; // nanoseconds: behind exchange WARM, and behind the last
};

struct test_rank {
    slip_exchange x;
    test_words *words;
    float *out; // [rows][hidden]: the last sums
};

struct test_run {
    const test_rank *rank; // those of this GPU
    int ctas;              // of each
    int rows, hidden, exchanges;
    uint32_t first;                   // epoch
    bool whole;                       // integers, else floats of many sizes
    bool mixed;                       // 1 to `rows` rows, else always `rows`
    bool check;                       // every sum on the device, with delays in between; else as fast as it goes
    bool barriers_alone, sends_alone; // no messages; one-shot's messages, and nobody waits for them
    int drop_rank, drop_at;           // that rank leaves out block 0 of exchange number drop_at
    int64_t timeout_cycles;           // clock cycles; the rank that drops has twice as much, so that the others speak first
};

__host__ __device__ inline uint32_t mixed_bits(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

// What a rank contributes. No operation here rounds: host and device agree.
__host__ __device__ inline float partial_of(const test_run &run, uint32_t epoch, int rank, int row, int column)
{
    uint32_t h = mixed_bits(epoch * 0x9e3779b9u ^ mixed_bits((uint32_t)rank << 27 ^ (uint32_t)row << 16 ^ (uint32_t)column));
    return run.whole ? (float)((int)(h % 4001) - 2000) : (float)((int)h >> 8) * (1.0f / (float)(1 << (h & 15)));
}

__host__ __device__ inline float sum_wanted(const test_run &run, uint32_t epoch, int ranks, int row, int column)
{
    float sum = partial_of(run, epoch, 0, row, column);
    for (int rank = 1; rank < ranks; rank++)
        sum = sum + partial_of(run, epoch, rank, row, column);
    return sum;
}

__host__ __device__ inline int rows_of(const test_run &run, uint32_t epoch)
{
    return run.mixed ? 1 + (int)(mixed_bits(epoch) % (unsigned)run.rows) : run.rows;
}

__device__ inline bool test_left(const slip_exchange &x, const test_words *words)
{
    return *(volatile const unsigned *)&words->failed || slip::exchange::aborted_by(x);
}

struct test_wait {
    const slip_exchange &x;
    test_words *words;
    int64_t timeout_cycles;

    template <class Ready>
    __device__ void operator()(int hop, uint32_t epoch, Ready ready) const
    {
        int peer = -1;
        uint32_t seen = 0;
        int64_t start = clock64(), limit = timeout_cycles + hop * timeout_cycles / 2;
        for (unsigned tries = 1; !ready(peer, seen); tries++) {
            if (tries % 64 != 0)
                continue;
            if (test_left(x, words))
                return;
            if (clock64() - start > limit) {
                fail(hop, epoch, peer, seen);
                return;
            }
        }
    }

    __device__ void fail(int hop, uint32_t epoch, int peer, uint32_t seen) const
    {
        if (atomicCAS(&words->failed, 0u, 1u) != 0)
            return;
        words->record = {1, peer, hop, epoch, seen};
        slip::exchange::abort_peers(x);
    }
};

__device__ inline float4 four_partials(const test_run &run, uint32_t epoch, int rank, int row, int column)
{
    return make_float4(partial_of(run, epoch, rank, row, column), partial_of(run, epoch, rank, row, column + 1),
                       partial_of(run, epoch, rank, row, column + 2), partial_of(run, epoch, rank, row, column + 3));
}

// Now and then a warp is late.
__device__ inline void dawdle(uint32_t epoch, int rank, int block)
{
    uint32_t h = mixed_bits(epoch * 31 + mixed_bits((uint32_t)(rank * 4099 + block)));
    if (h % 61 == 0)
        __nanosleep(h >> 16 & 4095);
}

__device__ inline void check_sums(const test_run &run, const test_rank &t, uint32_t epoch, int row, int column, float4 sum)
{
    float got[4] = {sum.x, sum.y, sum.z, sum.w};
    for (int i = 0; i < 4; i++) {
        t.out[(int64_t)row * run.hidden + column + i] = got[i];
        if (__float_as_uint(got[i]) != __float_as_uint(sum_wanted(run, epoch, t.x.at.ranks, row, column + i)))
            atomicAdd(&t.words->wrong, 1u);
    }
}

__device__ inline void exchange_once(const test_run &run, const test_rank &t, const slip_exchange &x, int cta, int number, uint32_t epoch)
{
    int rows = rows_of(run, epoch), warp = (int)threadIdx.x / 32;
    test_wait wait = {x, t.words, run.timeout_cycles << (x.rank == run.drop_rank)};
    for (int block = cta + warp * run.ctas; block < rows * x.at.row_blocks; block += run.ctas * (TEST_THREADS / 32)) {
        int row = block / x.at.row_blocks, column = block % x.at.row_blocks * SLIP_EXCHANGE_COLUMNS + (int)threadIdx.x % 32 * 4;
        bool drop = block == 0 && number == run.drop_at && x.rank == run.drop_rank;
        if (drop)
            continue;
        const bool real = column < run.hidden;
        float one = (float)number;
        float4 mine = make_float4(one, one, one, one);
        if (run.check)
            mine = real ? four_partials(run, epoch, x.rank, row, column) : make_float4(0, 0, 0, 0);
        if (run.sends_alone) {
            slip::exchange::send_all(x, epoch, (size_t)(block * x.at.ranks + x.rank) * SLIP_EXCHANGE_MESSAGE, mine);
            continue;
        }
        if (run.check)
            dawdle(epoch, x.rank, block);
        float4 sum = slip::exchange::all_reduce(x, epoch, rows, block, mine, wait);
        if (run.check && real)
            check_sums(run, t, epoch, row, column, sum);
    }
}

// All CTAs of the rank, behind exchange `number`; false: leave. Looking for failures takes as long as half a barrier: now and then will do.
__device__ inline bool test_barrier(const test_run &run, const test_rank &t, const slip_exchange &x, uint32_t epoch, int number)
{
    unsigned target = (unsigned)((number + 1) * run.ctas);
    __shared__ bool stay;
    unsigned *arrived = &t.words->arrived;
    __syncthreads();
    if (threadIdx.x == 0) {
        test_wait wait = {x, t.words, 2 * run.timeout_cycles << (x.rank == run.drop_rank)};
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(arrived) : "memory");
        wait(0, epoch, [&](int &, uint32_t &seen) {
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
            return (int)(seen - target) >= 0;
        });
        stay = number % 16 != 0 || !test_left(x, t.words);
    }
    __syncthreads();
    return stay;
}

__device__ inline uint64_t nanoseconds()
{
    uint64_t t;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
    return t;
}

__global__ void __launch_bounds__(TEST_THREADS, 1) exchange_kernel(const test_run run)
{
    __shared__ slip_exchange x;
    const test_rank &t = run.rank[blockIdx.x / run.ctas];
    int cta = (int)blockIdx.x % run.ctas;
    if (threadIdx.x == 0)
        x = t.x;
    __syncthreads();
    for (int i = 0; i < run.exchanges; i++) {
        uint32_t epoch = slip_exchange_epoch_after(run.first, (uint32_t)i);
        if (!run.barriers_alone)
            exchange_once(run, t, x, cta, i, epoch);
        if (!test_barrier(run, t, x, epoch, i))
            return;
        if (cta == 0 && threadIdx.x == 0 && (i == WARM || i == run.exchanges - 1))
            (i == WARM ? t.words->started : t.words->ended) = nanoseconds();
    }
}
