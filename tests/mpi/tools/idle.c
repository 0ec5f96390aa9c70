/* A job with nothing to decode for longer than ranks wait for each other, and then something again. The times are those of a day, made short,
 * by a clock that all ranks share in a file and that rank 0 alone moves on, when nothing is to be done: how fast a rank runs, and whether it
 * runs at all for a while, is nothing to it.
 *
 *     mpirun -n R idle MODEL.h5 cpu|cuda CLOCK          keeps the others alive: the same answer before and after
 *     mpirun -n R idle MODEL.h5 cpu|cuda CLOCK silent   rank 0 says nothing: the others give it up
 */
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/serve/serve.h"
#include "io/base/clock.h"

enum { PROMPT = 20, TOKENS = 12, CONTEXT = 64, TICK_MS = 50 };

static const double IDLE_DEADLINE_S = 10, IDLE_S = 21;

static int64_t *clock_ms; /* in the file; NULL: not there yet */

double __real_slip_now_s(void);
double __wrap_slip_now_s(void);

double __wrap_slip_now_s(void)
{
    return clock_ms ? 1 + 1e-3 * (double)__atomic_load_n(clock_ms, __ATOMIC_ACQUIRE) : __real_slip_now_s();
}

/* Whoever comes first makes the file; it begins with zeros. */
static bool share_clock(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT, 0600);
    bool ok = file >= 0 && ftruncate(file, sizeof *clock_ms) == 0;
    void *mapped = ok ? mmap(NULL, sizeof *clock_ms, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (file >= 0)
        close(file);
    if (mapped != MAP_FAILED)
        clock_ms = mapped;
    return mapped != MAP_FAILED;
}

static void tick(void)
{
    const struct timespec moment = {.tv_nsec = 1000000}; /* in which the other ranks may look at it */
    nanosleep(&moment, NULL);
    __atomic_add_fetch(clock_ms, TICK_MS, __ATOMIC_RELEASE);
}

static int32_t answers[2][TOKENS];
static int ended;

static slip_status end(void *context, const slip_completion *completion)
{
    (void)context;
    if (completion->completion_tokens != TOKENS)
        return slip_fail(SLIP_ERR_FAILED, "%d tokens came out", completion->completion_tokens);
    memcpy(answers[ended++], completion->tokens, sizeof answers[0]);
    return SLIP_OK;
}

static slip_status answer_once(slip_serve *serve, const slip_model *model)
{
    int32_t prompt[PROMPT];
    for (int t = 0; t < PROMPT; t++)
        prompt[t] = (7919 + 104729 * t) % model->vocabulary;
    const slip_serve_request request = {
        .query = {.prompt = prompt, .prompt_count = PROMPT, .max_tokens = TOKENS, .ignore_eos = true, .sampling = {7, 0.7, 0, 1, 0}},
        .sink = {.end = end},
    };
    slip_status status = slip_serve_submit(serve, &request, NULL);
    while (status == SLIP_OK && slip_serve_busy(serve))
        status = slip_serve_step(serve);
    return status;
}

static slip_status wait_for_requests(slip_serve *serve, bool silent)
{
    slip_status status = SLIP_OK;
    for (double start = slip_now_s(); silent || (slip_now_s() - start < IDLE_S && status == SLIP_OK);) {
        tick();
        status = silent ? SLIP_OK : slip_serve_step(serve); /* silent: until the others end the job */
    }
    return status;
}

static slip_status lead(slip_rank *rank, const slip_model *model, const slip_decoder_options *decoding, bool silent)
{
    slip_draft *draft = NULL;
    slip_decoder *decoder = NULL;
    slip_serve *serve = NULL;
    slip_status status = slip_rank_draft(rank) ? slip_draft_create(rank, &draft) : SLIP_OK;
    if (status == SLIP_OK)
        status = slip_decoder_create(rank, draft, model, slip_rank_limits(rank), decoding, NULL, &decoder);
    if (status == SLIP_OK)
        status = slip_serve_create(decoder, NULL, &serve);
    if (status == SLIP_OK)
        status = answer_once(serve, model);
    if (status == SLIP_OK)
        status = wait_for_requests(serve, silent);
    if (status == SLIP_OK)
        status = answer_once(serve, model);
    if (status == SLIP_OK)
        status = slip_rank_end(rank);
    if (serve)
        slip_serve_free(serve);
    if (decoder)
        slip_decoder_free(decoder);
    if (draft)
        slip_draft_free(draft);
    return status;
}

static slip_status run(slip_comm *comm, const slip_source *source, const slip_executor_kind *kind, bool silent)
{
    const slip_decoder_options decoding = {.sequences = 1, .chunk = 64, .always_draft = true};
    const slip_executor_options none = {0};
    const slip_rank_options options = {.kind = kind, .slices = 1, .limits = slip_decoder_limits(&source->model, &decoding, CONTEXT)};
    slip_rank *rank;
    slip_status status = slip_rank_create(comm, source, &options, &rank);
    if (status != SLIP_OK)
        return status;
    if (source->model.has_draft)
        status = slip_rank_load_draft(rank, true, &none);
    slip_comm_set_idle_deadline(comm, IDLE_DEADLINE_S);
    if (status == SLIP_OK)
        status = slip_comm_rank(comm) == 0 ? lead(rank, &source->model, &decoding, silent) : slip_rank_serve(rank);
    if (status != SLIP_OK)
        slip_comm_abort(comm, status);
    slip_rank_free(rank);
    return status;
}

int main(int argc, char **argv)
{
    slip_comm *comm;
    slip_source source;
    if (argc < 4 || !share_clock(argv[3]) || slip_comm_start(&argc, &argv, &comm) != SLIP_OK)
        return 2;
    const slip_executor_kind *kind = strcmp(argv[2], "cuda") == 0 ? &slip_executor_cuda : &slip_executor_cpu;
    slip_status status = slip_source_open(comm, argv[1], &source);
    if (status == SLIP_OK)
        status = run(comm, &source, kind, argc > 4);
    if (status != SLIP_OK)
        slip_comm_abort(comm, status);
    bool leads = slip_comm_rank(comm) == 0, same = !leads || memcmp(answers[0], answers[1], sizeof answers[0]) == 0;
    if (leads)
        printf("%d ranks had nothing to do for %g s, twice their idle deadline and more; then %s\n", slip_comm_ranks(comm), IDLE_S,
               same ? "the same answer" : "another answer");
    slip_source_close(&source);
    slip_comm_finish(comm);
    return same ? 0 : 1;
}
