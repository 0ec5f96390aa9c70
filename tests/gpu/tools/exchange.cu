/* The exchange between ranks, bit for bit: over windows when started by mpirun with several ranks, a GPU each; emulated on one GPU when
 * alone. Prints a line a case, and figures behind '#'; exit status 77 where there are fewer GPUs than ranks. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/nccl/host.h"
#include "exchange_world.cuh"

enum { CHECKED = 100, TIMED = 1000, LAUNCHES = 9, SKIPPED = 77 };

static int passed, failures;
static bool speaks; // rank 0

__attribute__((format(printf, 2, 3))) static void report(bool good, const char *format, ...)
{
    va_list arguments;
    (good ? passed : failures)++;
    if (good && !speaks)
        return;
    va_start(arguments, format);
    printf(good ? "ok    " : "FAIL  ");
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- sums ----

// The last exchange's, on the host.
static int wrong_at_end(const world *w, const test_run *run, int here)
{
    static float got[MAX_ROWS * MAX_HIDDEN];
    uint32_t epoch = slip_exchange_epoch_after(run->first, (uint32_t)run->exchanges - 1);
    int rows = rows_of(*run, epoch), wrong = 0;
    must(cudaMemcpy(got, w->host_table[here].out, sizeof(float) * (size_t)(rows * run->hidden), cudaMemcpyDeviceToHost), "reading sums");
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < run->hidden; column++) {
            float wanted = sum_wanted(*run, epoch, w->ranks, row, column);
            wrong += memcmp(&wanted, &got[row * run->hidden + column], sizeof wanted) != 0;
        }
    return wrong;
}

static void check_case(world *w, int rows, int hidden, bool whole, bool mixed, size_t one_shot_bytes, const char *name)
{
    slip_exchange_layout layout = slip_exchange_plan(w->ranks, rows, hidden, 0, one_shot_bytes, 0);
    test_run run = {};
    set_layout(w, &layout);
    run.rows = rows;
    run.hidden = hidden;
    run.exchanges = CHECKED;
    run.whole = whole;
    run.mixed = mixed;
    run.check = true;
    run.drop_rank = run.drop_at = -1;
    run.timeout_cycles = (int64_t)w->khz * 2000;
    launch(w, &run);
    for (int i = 0; i < w->here; i++) {
        const test_words *s = &w->seen[i];
        int wrong = (int)s->wrong + wrong_at_end(w, &run, i);
        bool good = !s->failed && wrong == 0;
        if (!good)
            report(false, "%d ranks, %d x %d, %s: rank %d: %d wrong sums; waited for rank %d, hop %d: epoch %u, seen %u", w->ranks, rows,
                   hidden, name, w->first + i, wrong, s->record.peer, s->record.hop, s->record.epoch, s->record.seen);
        else if (i == w->here - 1)
            report(true, "%d ranks, %s%d x %d, %s, %s", w->ranks, mixed ? "1 to " : "", rows, hidden, name, whole ? "integers" : "floats");
    }
}

static void check_sums(world *w)
{
    static const int hidden[] = {6144, 4096, 1028, 196, 4}, rows[] = {1, 8, 17}; // last blocks of 128, 4 and 68 columns
    for (int h = 0; h < 5; h++)
        for (int r = 0; r < 3; r++)
            for (int whole = 0; whole < 2; whole++) {
                check_case(w, rows[r], hidden[h], whole, false, SIZE_MAX, "one-shot");
                check_case(w, rows[r], hidden[h], whole, false, 0, "two-shot");
            }
    check_case(w, 17, 1028, false, true, 5 * 1028 * sizeof(float), "both in turn");
    clear_arenas(w);
    w->epoch = UINT32_MAX - CHECKED / 2;
    check_case(w, 17, 1028, false, true, 5 * 1028 * sizeof(float), "where epochs come round");
}

// ---- a message that never comes ----

static void check_drop(world *w, size_t one_shot_bytes, const char *name)
{
    enum { CULPRIT = 1, WHEN = 20 };
    slip_exchange_layout layout = slip_exchange_plan(w->ranks, 8, MAX_HIDDEN, 0, one_shot_bytes, 0);
    test_run run = {};
    char wanted[80];
    clear_arenas(w);
    set_layout(w, &layout);
    run.rows = 8;
    run.hidden = MAX_HIDDEN;
    run.exchanges = CHECKED;
    run.check = true;
    run.drop_rank = CULPRIT;
    run.drop_at = WHEN;
    run.timeout_cycles = (int64_t)w->khz * 200;
    double start = seconds();
    launch(w, &run);
    double took = seconds() - start;
    slip_status mine = SLIP_OK;
    slip_clear();
    // The culprit itself is told to leave, or waits in vain for the others one exchange later: they have the say.
    for (int i = 0; i < w->here; i++) {
        const test_record *r = &w->seen[i].record;
        if (r->set && w->first + i != CULPRIT && r->hop == 0 && mine == SLIP_OK)
            mine = slip_fail(SLIP_ERR_FAILED, "waited for a message of rank %d, epoch %u", r->peer, r->epoch);
    }
    snprintf(wanted, sizeof wanted, "waited for a message of rank %d, epoch %u", CULPRIT, slip_exchange_epoch_after(run.first, WHEN));
    bool named = slip_comm_agree(w->comm, mine) != SLIP_OK && strstr(slip_cause(), wanted);
    report(named && took < 2, "%d ranks, a dropped message, %s: left within %.1f s: %s", w->ranks, name, took, slip_cause());
    slip_clear();
    clear_arenas(w);
}

// ---- figures ----

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Median microseconds of an exchange and the barrier behind it; rows 0: of the barrier alone. `sends_alone`: nobody waits for the messages,
// but the barrier's release may, for their way there and back.
static double microseconds(world *w, int rows, size_t one_shot_bytes, bool sends_alone)
{
    float us[LAUNCHES];
    slip_exchange_layout layout = slip_exchange_plan(w->ranks, rows ? rows : 1, MAX_HIDDEN, 0, one_shot_bytes, 0);
    test_run run = {};
    set_layout(w, &layout);
    run.rows = rows;
    run.hidden = MAX_HIDDEN;
    run.exchanges = w->here > 1 ? TIMED / 5 : TIMED;
    run.barriers_alone = rows == 0;
    run.sends_alone = sends_alone;
    run.drop_rank = run.drop_at = -1;
    run.timeout_cycles = (int64_t)w->khz * 2000;
    for (int i = 0; i < LAUNCHES; i++) {
        launch(w, &run);
        us[i] = (float)(w->seen[0].ended - w->seen[0].started) * 1e-3f / (float)(run.exchanges - 1 - WARM);
        if (w->seen[0].failed)
            report(false, "%d ranks, timing %d rows: waited for rank %d, epoch %u, seen %u", w->ranks, rows, w->seen[0].record.peer,
                   w->seen[0].record.epoch, w->seen[0].record.seen);
    }
    qsort(us, LAUNCHES, sizeof *us, by_size);
    return us[LAUNCHES / 2];
}

static void print_figures(world *w)
{
    static const int rows[] = {1, 2, 4, 8, 16, 32, 64};
    double barrier = microseconds(w, 0, 0, false);
    if (speaks)
        printf("# %d ranks%s, %d CTAs x %d threads each; barrier alone %.2f us; us of an exchange with its barrier, median of %d:\n",
               w->ranks, w->here > 1 ? " EMULATED on one GPU" : "", w->sms / w->here, TEST_THREADS, barrier, LAUNCHES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double one = microseconds(w, rows[i], SIZE_MAX, false), two = microseconds(w, rows[i], 0, false);
        double sends = microseconds(w, rows[i], SIZE_MAX, true);
        if (speaks)
            printf("#   %2d x %d (%4zu KiB)  one-shot %7.2f, its sends alone %7.2f  two-shot %7.2f\n", rows[i], MAX_HIDDEN,
                   (size_t)rows[i] * MAX_HIDDEN * sizeof(float) >> 10, one, sends, two);
    }
}

// ---- NCCL's host call, captured ----

static void check_gather(slip_comm *comm, int device)
{
    enum { COUNT = 4096 };
    static float mine[COUNT], all[SLIP_EXCHANGE_RANKS * COUNT];
    int ranks = slip_comm_ranks(comm), wrong = 0;
    slip_nccl *nccl;
    float *from, *to;
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t steps;
    must_be(slip_nccl_open(comm, device, &nccl));
    must(cudaMalloc(&from, sizeof mine), "allocating");
    must(cudaMalloc(&to, sizeof all), "allocating");
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
    must_be(slip_nccl_allgather(nccl, from, to, COUNT, stream));
    must(cudaStreamEndCapture(stream, &graph), "capturing");
    must(cudaGraphInstantiate(&steps, graph, 0), "instantiating");
    for (int step = 0; step < 3; step++) {
        for (int i = 0; i < COUNT; i++)
            mine[i] = (float)(1000 * step + 100 * slip_comm_rank(comm) + i);
        must(cudaMemcpyAsync(from, mine, sizeof mine, cudaMemcpyHostToDevice, stream), "copying");
        must(cudaGraphLaunch(steps, stream), "launching");
        must(cudaMemcpyAsync(all, to, sizeof mine * (size_t)ranks, cudaMemcpyDeviceToHost, stream), "copying");
        must(cudaStreamSynchronize(stream), "gathering");
        for (int i = 0; i < ranks * COUNT; i++)
            wrong += all[i] != (float)(1000 * step + 100 * (i / COUNT) + i % COUNT);
    }
    must_be(slip_nccl_check(nccl));
    report(wrong == 0, "%d ranks, NCCL's all-gather in a graph: %d wrong", ranks, wrong);
    cudaGraphExecDestroy(steps);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    cudaFree(from);
    cudaFree(to);
    slip_nccl_close(nccl, false);
}

// ---- everything ----

static void check_world(slip_comm *comm, int device, int emulated)
{
    world w;
    world_open(&w, comm, device, emulated);
    check_sums(&w);
    if (w.ranks > 1) {
        check_drop(&w, SIZE_MAX, "one-shot");
        check_drop(&w, 0, "two-shot");
        print_figures(&w);
    }
    world_close(&w);
}

int main(int argc, char **argv)
{
    static const int emulated[] = {2, 3, 4, 8};
    slip_comm *comm;
    int devices = 0;
    must_be(slip_comm_start(&argc, &argv, &comm));
    speaks = slip_comm_rank(comm) == 0;
    int device = slip_comm_rank_here(comm);
    bool enough = cudaGetDeviceCount(&devices) == cudaSuccess && device < devices;
    if (slip_comm_agree(comm, enough ? SLIP_OK : slip_fail(SLIP_ERR_INPUT, "no GPU, or fewer than ranks")) != SLIP_OK) {
        if (speaks)
            printf("skipped: %s\n", slip_cause());
        slip_comm_finish(comm);
        return SKIPPED;
    }
    must(cudaSetDevice(device), "selecting the device");
    if (slip_comm_ranks(comm) == 1)
        for (size_t i = 0; i < sizeof emulated / sizeof *emulated; i++)
            check_world(comm, device, emulated[i]);
    check_world(comm, device, 0);
    check_gather(comm, device);
    must_be(slip_comm_agree(comm, failures ? slip_fail(SLIP_ERR_FAILED, "some sums were wrong") : SLIP_OK));
    slip_comm_finish(comm);
    return passed > 0 ? 0 : 1;
}
