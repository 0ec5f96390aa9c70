/* Sums that have owners (kernels/cuda/wide/shares.cuh), those that a product sends itself among them, and the routing of their rows, bit for bit: a GPU
 * plays all ranks, a stream each, and every rank must end with what one rank makes of all ranks' sums gathered. Prints a line a case; exit status 77
 * without a GPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/window.h"
#include "kernels/cuda/layout/mail.h"
#include "kernels/cuda/sync/sync.cuh"
#include "kernels/cuda/wide/wide.h"

enum { EXCHANGES = 5, SKIPPED = 77, PADDED_TO = SLIP_OPERAND_PADDED_TO, EXPERTS = 200, TOP_K = 6 };
enum { PRODUCT, SUM, ROUTE, OPS };         // of a rank
enum { COLUMNS = 512, TILE_COLUMNS = 64 }; // of a product's matrix, bf16

static void must(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return;
    fprintf(stderr, "shares: %s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

static void *zeros(size_t bytes)
{
    void *p;
    must(cudaMalloc(&p, bytes), "allocating");
    must(cudaMemset(p, 0, bytes), "clearing");
    return p;
}

struct shape {
    int ranks, rows, hidden;
    bool codes;    // results are operands, else residuals
    bool products; // a rank's sums are a product's, which sends them
};

// What a rank has, or, as number `ranks`, one that gets all sums gathered.
struct player {
    slip_cuda_op *op; // device
    slip_cuda_op host[OPS];
    cudaStream_t stream;
};

struct world {
    shape s;
    int padded, gathered_rows, sms;
    float *sums;          // [rank][gathered_rows][hidden]
    float *norm;          // [hidden]
    uint64_t *logits;     // [rows][EXPERTS]
    float *bias;          // [EXPERTS]
    slip_cuda_step *step; // device
    slip_windows *windows;
    slip::sync_words *words;
    slip::host_words *host;
    slip_exchange_layout at;
    player all[SLIP_EXCHANGE_RANKS + 1];
};

static float random_float(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)((int32_t)*state >> 8) * (1.0f / (float)(1 << (8 + (*state & 15))));
}

static float *random_floats(size_t count, uint32_t seed)
{
    float *host = (float *)malloc(count * sizeof *host), *device = (float *)zeros(count * sizeof *host);
    for (size_t i = 0; i < count; i++)
        host[i] = random_float(&seed);
    must(cudaMemcpy(device, host, count * sizeof *host, cudaMemcpyHostToDevice), "copying");
    free(host);
    return device;
}

static uint16_t *random_bf16(size_t count, uint32_t seed)
{
    uint16_t *host = (uint16_t *)malloc(count * sizeof *host), *device = (uint16_t *)zeros(count * sizeof *host);
    for (size_t i = 0; i < count; i++) {
        const float f = random_float(&seed);
        memcpy(&host[i], (const char *)&f + 2, sizeof *host);
    }
    must(cudaMemcpy(device, host, count * sizeof *host, cudaMemcpyHostToDevice), "copying");
    free(host);
    return device;
}

// Sums of one term each.
static uint64_t *random_logits(size_t count)
{
    uint64_t *host = (uint64_t *)malloc(count * sizeof *host), *device = (uint64_t *)zeros(count * sizeof *host);
    uint32_t state = 9;
    for (size_t i = 0; i < count; i++)
        host[i] = (uint64_t)(int64_t)((double)random_float(&state) * 8 * (double)(1ull << SLIP_COUNTED_BITS)) << 8 | 1;
    must(cudaMemcpy(device, host, count * sizeof *host, cudaMemcpyHostToDevice), "copying");
    free(host);
    return device;
}

static size_t codes_bytes(const world *w)
{
    return slip_operand_cells(w->padded, slip_groups_of(w->s.rows));
}

static size_t picks_bytes(const world *w)
{
    return (size_t)w->s.rows * TOP_K * sizeof(float);
}

static size_t logits_bytes(const world *w)
{
    return (size_t)w->s.rows * EXPERTS * sizeof(uint64_t);
}

static size_t sums_bytes(const world *w)
{
    return (size_t)w->gathered_rows * w->s.hidden * sizeof(float);
}

static void begin_step(const world *w, uint32_t epoch)
{
    slip_cuda_step step = {};
    step.rows = w->s.rows;
    step.epoch = epoch;
    must(cudaMemcpy(w->step, &step, sizeof step, cudaMemcpyHostToDevice), "copying a step");
}

static slip::wide_step step_of(const world *w, const player *p, bool together, const slip::wide_ranks *ranks)
{
    return {p->op, w->step, NULL, w->s.rows, true, together, w->sms / (w->s.ranks + 1), p->stream, ranks};
}

// A product whose sums are what the rank has in w->sums. Afterwards nobody finds them where a product leaves those that it does not send.
static void product_open(world *w, int number)
{
    player *p = &w->all[number];
    slip_cuda_product product = {};
    const int tiles = COLUMNS / TILE_COLUMNS, rows = w->s.hidden / SLIP_TILE_ROWS;
    const size_t weights = (size_t)tiles * rows * SLIP_TILE_BF16;
    product.matrix = {(unsigned char *)random_bf16(weights / 2, 20 + number),
                      SLIP_WEIGHT_BF16,
                      w->s.hidden,
                      COLUMNS,
                      rows,
                      tiles,
                      tiles,
                      tiles / 2,
                      2,
                      2 * rows,
                      (int64_t)weights};
    product.operand.hi = random_bf16(slip_operand_cells(COLUMNS, slip_groups_of(w->s.rows)), 50 + number);
    product.operand.columns = product.operand.padded = COLUMNS;
    product.operand.single = 1;
    product.out = p->host[SUM].reduce_norm.terms.in = {(float *)zeros(sums_bytes(w)), 1, w->s.hidden, w->s.hidden};
    p->host[PRODUCT].kind = SLIP_CUDA_LINEAR;
    p->host[PRODUCT].product = product;
    must(cudaMemcpy(p->op, p->host, sizeof p->host, cudaMemcpyHostToDevice), "copying ops");
    must(slip::wide_enqueue(step_of(w, p, false, NULL), &p->host[PRODUCT], PRODUCT), "launching a product");
    must(cudaMemcpyAsync(w->sums + number * sums_bytes(w) / sizeof(float), product.out.data, sums_bytes(w), cudaMemcpyDeviceToDevice,
                         p->stream),
         "copying sums");
    must(cudaMemsetAsync(product.out.data, 0xff, sums_bytes(w), p->stream), "clearing sums");
    must(cudaStreamSynchronize(p->stream), "running a product");
}

static void player_open(world *w, int number)
{
    player *p = &w->all[number];
    const bool alone = number == w->s.ranks;
    const size_t cells = codes_bytes(w), blocks = cells / SLIP_F8_BLOCK;
    slip_cuda_reduce_norm sum = {};
    sum.terms.in = {w->sums + (alone ? 0 : (size_t)number * w->gathered_rows * w->s.hidden), alone ? w->s.ranks : 1, w->s.hidden,
                    w->s.hidden};
    sum.gathered = alone;
    sum.exchange = alone ? 0 : 1;
    sum.operand.q8 = (unsigned char *)zeros(cells);
    sum.operand.scale = (float *)zeros(blocks * sizeof(float));
    sum.operand.ssq = (float *)zeros(blocks * sizeof(float));
    if (!w->s.codes) {
        sum.operand.hi = (uint16_t *)zeros(cells * 2);
        sum.operand.lo = (uint16_t *)zeros(cells * 2);
    }
    sum.operand.columns = w->s.hidden;
    sum.operand.padded = w->padded;
    sum.x = (float *)zeros((size_t)w->s.rows * w->s.hidden * sizeof(float));
    sum.norm = w->norm;
    sum.tap = -1;
    sum.hidden = w->s.hidden;
    sum.add = 1;
    sum.codes = w->s.codes;
    sum.by_row = w->s.codes && w->s.rows % 2 == 0; // both ways are met
    slip_cuda_topk topk = {};
    topk.counted = (uint64_t *)zeros(logits_bytes(w));
    topk.stride = EXPERTS;
    topk.picks.expert = (int32_t *)zeros(picks_bytes(w));
    topk.picks.weight = (float *)zeros(picks_bytes(w));
    topk.bias = w->bias;
    topk.experts = EXPERTS;
    topk.top_k = TOP_K;
    topk.norm_top_k = 1;
    topk.routed_scale = 2.5f;
    topk.owned = alone ? slip_cuda_owned{0, 1} : slip_cuda_owned{number, w->s.ranks};
    topk.exchange = 1;
    memset(p->host, 0, sizeof p->host);
    p->host[SUM].kind = SLIP_CUDA_REDUCE_NORM;
    p->host[SUM].reduce_norm = sum;
    p->host[ROUTE].kind = SLIP_CUDA_TOPK;
    p->host[ROUTE].topk = topk;
    p->op = (slip_cuda_op *)zeros(sizeof p->host);
    must(cudaMemcpy(p->op, p->host, sizeof p->host, cudaMemcpyHostToDevice), "copying ops");
    must(cudaStreamCreate(&p->stream), "making a stream");
    if (w->s.products && !alone)
        product_open(w, number);
}

static void player_close(player *p)
{
    const slip_cuda_product *product = &p->host[PRODUCT].product;
    const slip_cuda_reduce_norm *sum = &p->host[SUM].reduce_norm;
    const slip_cuda_topk *topk = &p->host[ROUTE].topk;
    void *const memory[] = {
        sum->operand.q8,    sum->operand.scale, sum->operand.ssq,     sum->operand.hi,     sum->operand.lo,   sum->x, topk->counted,
        topk->picks.expert, topk->picks.weight, product->matrix.data, product->operand.hi, product->out.data, p->op};
    for (void *m : memory)
        must(cudaFree(m), "freeing");
    must(cudaStreamDestroy(p->stream), "ending a stream");
}

static slip::wide_ranks ranks_of(const world *w, int number)
{
    slip::wide_ranks ranks = {{w->at, number, {}}, w->words, w->host, (int64_t)2000 * 1000 * 1000};
    for (int r = 0; r < w->s.ranks; r++)
        ranks.exchange.peer[r] = (unsigned char *)slip_windows_peers(w->windows)[r];
    return ranks;
}

// A product wants whole SMs. It would not find them where other ranks' sums wait for what it sends: on one GPU all products come first.
static void send_all(const world *w)
{
    for (int number = 0; number < w->s.ranks; number++) {
        const slip::wide_ranks ranks = ranks_of(w, number);
        must(slip::wide_enqueue(step_of(w, &w->all[number], true, &ranks), &w->all[number].host[PRODUCT], PRODUCT), "launching a product");
    }
    must(cudaDeviceSynchronize(), "running products");
}

// One exchange by all of them, in an order that differs from one to the next.
static void exchange_once(world *w, uint32_t before)
{
    begin_step(w, before);
    if (w->s.products)
        send_all(w);
    for (int i = 0; i <= w->s.ranks; i++) {
        const int number = (int)((i * 7 + before) % (w->s.ranks + 1));
        player *p = &w->all[number];
        const slip::wide_ranks ranks = ranks_of(w, number);
        const slip::wide_step s = step_of(w, p, true, &ranks);
        must(cudaMemcpyAsync(p->host[ROUTE].topk.counted, w->logits, logits_bytes(w), cudaMemcpyDeviceToDevice, p->stream),
             "copying logits");
        must(slip::wide_rows_enqueue(s, p->host[SUM], SUM, false), "launching");
        must(slip::wide_rows_enqueue(s, p->host[ROUTE], ROUTE, false), "launching"); // begun early it would take room that other ranks want
    }
    must(cudaDeviceSynchronize(), "running");
}

static int differing(const void *a, const void *b, size_t from, size_t bytes)
{
    static unsigned char one[64 << 20], two[64 << 20];
    if (!a || bytes == 0)
        return 0;
    must(cudaMemcpy(one, (const char *)a + from, bytes, cudaMemcpyDeviceToHost), "reading");
    must(cudaMemcpy(two, (const char *)b + from, bytes, cudaMemcpyDeviceToHost), "reading");
    return memcmp(one, two, bytes) != 0;
}

// Does `rank` have what the one alone has: the operand, the picks, and the residual of its own rows, or of all?
static int wrong(const world *w, int rank)
{
    const slip_cuda_op *mine = w->all[rank].host, *wanted = w->all[w->s.ranks].host;
    const slip_cuda_reduce_norm *a = &mine[SUM].reduce_norm, *b = &wanted[SUM].reduce_norm;
    const size_t cells = codes_bytes(w), blocks = cells / SLIP_F8_BLOCK, row = (size_t)w->s.hidden * sizeof(float);
    int bad = differing(a->operand.q8, b->operand.q8, 0, cells) + differing(a->operand.scale, b->operand.scale, 0, blocks * 4) +
              differing(a->operand.ssq, b->operand.ssq, 0, blocks * 4) + differing(a->operand.hi, b->operand.hi, 0, cells * 2) +
              differing(a->operand.lo, b->operand.lo, 0, cells * 2) +
              differing(mine[ROUTE].topk.picks.expert, wanted[ROUTE].topk.picks.expert, 0, picks_bytes(w)) +
              differing(mine[ROUTE].topk.picks.weight, wanted[ROUTE].topk.picks.weight, 0, picks_bytes(w));
    for (int first = 0; first < w->s.rows; first += SLIP_SHARE_ROWS)
        if (!w->s.codes || slip_share_owner(w->s.ranks, first / SLIP_SHARE_ROWS) == rank)
            bad += differing(a->x, b->x, (size_t)first * row,
                             (size_t)(w->s.rows - first < SLIP_SHARE_ROWS ? w->s.rows - first : SLIP_SHARE_ROWS) * row);
    return bad;
}

static bool check(int device, int sms, shape s)
{
    static world w;
    w = {};
    w.s = s;
    w.sms = sms;
    w.padded = (s.hidden + PADDED_TO - 1) / PADDED_TO * PADDED_TO;
    w.gathered_rows = slip_gathered_rows(s.rows);
    w.sums = random_floats((size_t)s.ranks * w.gathered_rows * s.hidden, 7);
    w.norm = random_floats((size_t)s.hidden, 8);
    w.logits = random_logits((size_t)s.rows * EXPERTS);
    w.bias = random_floats(EXPERTS, 10);
    w.step = (slip_cuda_step *)zeros(sizeof *w.step);
    w.words = (slip::sync_words *)zeros(sizeof *w.words);
    w.host = (slip::host_words *)zeros(sizeof *w.host);
    w.at = slip_cuda_exchange_plan(s.ranks, s.rows, s.hidden);
    if (slip_windows_emulate(device, s.ranks, w.at.bytes, &w.windows) != SLIP_OK) {
        fprintf(stderr, "shares: %s\n", slip_cause());
        exit(1);
    }
    begin_step(&w, SLIP_EXCHANGE_FIRST_EPOCH);
    for (int i = 0; i <= s.ranks; i++)
        player_open(&w, i);
    int bad = 0;
    uint32_t epoch = SLIP_EXCHANGE_FIRST_EPOCH - 1;
    for (int i = 0; i < EXCHANGES; i++, epoch = slip_exchange_epoch_after(epoch, 1)) {
        exchange_once(&w, epoch);
        for (int rank = 0; rank < s.ranks; rank++)
            bad += wrong(&w, rank);
    }
    printf("%s  %d ranks, %d x %d, %s%s: %d differ\n", bad ? "FAIL" : "ok  ", s.ranks, s.rows, s.hidden, s.codes ? "operands" : "residuals",
           s.products ? ", sent by products" : "", bad);
    for (int i = 0; i <= s.ranks; i++)
        player_close(&w.all[i]);
    slip_windows_close(w.windows);
    void *const memory[] = {w.sums, w.norm, w.logits, w.bias, w.step, w.words, w.host};
    for (void *m : memory)
        must(cudaFree(m), "freeing");
    return bad == 0;
}

int main(void)
{
    static const struct {
        int rows, hidden;
        bool products;
    } sizes[] = {{65, 6144, false}, {100, 1028, false}, {512, 6144, false}, {2047, 256, false}, {2047, 256, true}, {1030, 640, true}};
    int gpus = 0, failed = 0;
    cudaDeviceProp properties;
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1); // streams that share one would wait for each other
    if (cudaGetDeviceCount(&gpus) != cudaSuccess || gpus == 0)
        return SKIPPED;
    must(cudaGetDeviceProperties(&properties, 0), "asking for the GPU");
    must(slip::wide_prepare(), "preparing products");
    for (int ranks : {2, 3, 4, 8, 16})
        for (const auto &size : sizes)
            for (bool codes : {false, true})
                failed += !check(0, properties.multiProcessorCount, {ranks, size.rows, size.hidden, codes, size.products});
    return failed != 0;
}
