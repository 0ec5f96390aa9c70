/* Ranks whose devices hand on steps and results by themselves, as GPUs in one NVLink domain do: here they are CPUs that pretend to. What
 * is begun waits in a queue; when it is waited for, rank 0 tells the others what the step is (their hosts' copy has drafts that were not
 * known yet), all run it, and rank 0 keeps the best candidates. Every answer must be what plain CPU ranks give.
 *
 *     mpirun -n R gather MODEL.h5
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/decoder.h"
#include "ranks/model/sampling/sample.h"
#include "ranks/model/placement.h"
#include "filter_device.h"

enum { MOST_RANKS = 16, MOST_CANDIDATES = 64 * SLIP_SLICES, QUERIES = 6, PROMPT = 12, TOKENS = 24, SEQUENCES = 2, CONTEXT = 64 };

static int rank, ranks;

/* ---- the executor ---- */

typedef struct {
    slip_executor *executor;
    slip_phase phase;
    slip_step step;
} open_run;

static struct {
    open_run run[SLIP_MAX_IN_FLIGHT];
    int begun, waited;
    slip_candidate best[SLIP_MAX_LOGIT_ROWS]; /* of the last run; on rank 0 over all ranks */
    int filled_in;                            /* tokens that were not known when their step was begun */
} device;

static slip_status begin(slip_executor *executor, slip_phase phase, const slip_step *step)
{
    if (device.begun - device.waited == SLIP_MAX_IN_FLIGHT)
        return slip_fail(SLIP_ERR_FAILED, "more than %d runs are open", SLIP_MAX_IN_FLIGHT);
    open_run *run = &device.run[device.begun++ % SLIP_MAX_IN_FLIGHT];
    run->executor = executor;
    run->phase = phase;
    run->step = *step;
    return SLIP_OK;
}

static void fill_in(slip_step *step)
{
    for (int32_t i = 0; i < step->row_count; i++)
        if (step->token[i] <= SLIP_TOKEN_OF_LOGIT_ROW(0)) {
            step->token[i] = device.best[SLIP_LOGIT_ROW_OF_TOKEN(step->token[i])].token;
            device.filled_in++;
        }
}

/* On rank 0 the best over ranks; of a draft with an in-block head what the walk makes of them. */
static slip_status merge(slip_executor *executor, const slip_step *step)
{
    static slip_candidate mine[MOST_CANDIDATES], all[MOST_RANKS * MOST_CANDIDATES];
    const int32_t each = slip_executor_cpu.row_candidates(executor, step), count = step->logit_rows * each;
    const int bytes = count * (int)sizeof *all;
    if (count > MOST_CANDIDATES)
        return slip_fail(SLIP_ERR_FAILED, "%d candidates: more than %d", count, MOST_CANDIDATES);
    filter_device_candidates(executor, step, mine);
    MPI_Gather(mine, bytes, MPI_BYTE, all, bytes, MPI_BYTE, 0, MPI_COMM_WORLD);
    for (int32_t i = 0; rank == 0 && i < ranks * count; i++)
        mine[i % count] = slip_candidate_better(mine[i % count], all[i]);
    if (rank == 0 && each > 1)
        return slip_executor_cpu.walk(executor, step, mine, device.best);
    memcpy(device.best, mine, (size_t)step->logit_rows * sizeof *mine);
    return SLIP_OK;
}

static slip_status wait(slip_executor *executor, slip_run_cost *cost)
{
    open_run *run = &device.run[device.waited++ % SLIP_MAX_IN_FLIGHT];
    if (run->executor != executor)
        return slip_fail(SLIP_ERR_FAILED, "this is not the run that was begun first");
    fill_in(&run->step);
    MPI_Bcast(&run->step, sizeof run->step, MPI_BYTE, 0, MPI_COMM_WORLD);
    slip_status status = filter_device_begin(executor, run->phase, &run->step);
    if (status == SLIP_OK)
        status = slip_executor_cpu.wait(executor, cost);
    return status == SLIP_OK ? merge(executor, &run->step) : status;
}

static void candidates(slip_executor *executor, const slip_step *step, slip_candidate *out)
{
    (void)executor;
    memcpy(out, device.best, (size_t)step->logit_rows * sizeof *out);
}

static int32_t one(const slip_executor *executor, const slip_step *step)
{
    (void)executor;
    (void)step;
    return 1;
}

static bool yes(const slip_executor *executor, const slip_step *step)
{
    (void)executor;
    (void)step;
    return true;
}

static int max_in_flight(const slip_executor *executor, const slip_step *step)
{
    (void)executor;
    (void)step;
    return SLIP_MAX_IN_FLIGHT;
}

static slip_executor_kind gathering(void)
{
    slip_executor_kind kind = filter_device_kind();
    kind.begin = begin;
    kind.wait = wait;
    kind.candidates = candidates;
    kind.row_candidates = one;
    kind.max_in_flight = max_in_flight;
    kind.device_collects = yes;
    return kind;
}

/* ---- all ranks decode ---- */

typedef struct {
    int32_t tokens[TOKENS], count;
    slip_acceptance acceptance;
} answer;

static slip_query query_of(const slip_model *model, int i)
{
    static int32_t prompts[QUERIES][PROMPT];
    for (int t = 0; t < PROMPT; t++)
        prompts[i][t] = (int32_t)((unsigned)(7919 * (i + 1) + 104729 * t) % (unsigned)model->vocabulary);
    /* No filter, filters, filters of which the whole row must come, since it is asked for, and one so cold that no histogram tells: its rows are
     * fetched whatever the model says, where the others' are only if a draw falls near an edge. */
    static const slip_sampling samplings[QUERIES] = {{.top_p = 1},
                                                     {.temperature = 0.7, .top_k = 4, .top_p = 1},
                                                     {.temperature = 1.4, .top_p = 0.6, .min_p = 0.01},
                                                     {.temperature = 0.9, .top_p = 0.9, .top_k = 200},
                                                     {.temperature = 1.2, .top_p = 0.8},
                                                     {.temperature = 1e-6, .top_p = 0.9}};
    slip_sampling sampling = samplings[i];
    sampling.seed = 100 + (uint64_t)i;
    return (slip_query){.prompt = prompts[i],
                        .prompt_count = 1 + (3 * i + 4) % PROMPT,
                        .max_tokens = TOKENS - i,
                        .ignore_eos = true,
                        .wishes.logprobs = i == 3,
                        .sampling = sampling};
}

static slip_status decode(slip_decoder *decoder, const slip_model *model, answer *answers)
{
    int owner[SEQUENCES], next = 0, slot;
    while (next < QUERIES || slip_decoder_busy(decoder)) {
        for (; next < QUERIES; next++) {
            slip_query query = query_of(model, next);
            if ((slot = slip_decoder_vacancy(decoder, &query)) < 0)
                break;
            owner[slot] = next;
            if (slip_decoder_admit(decoder, slot, &query) != SLIP_OK)
                return SLIP_ERR_FAILED;
        }
        if (slip_decoder_step(decoder) != SLIP_OK)
            return SLIP_ERR_FAILED;
        for (slot = 0; slot < SEQUENCES; slot++) {
            const slip_sequence *s = slip_decoder_sequence(decoder, slot);
            if (s->phase != SLIP_FINISHED)
                continue;
            answer *a = &answers[owner[slot]];
            a->count = s->count;
            a->acceptance = s->acceptance;
            memcpy(a->tokens, s->tokens, (size_t)s->count * sizeof *a->tokens);
            slip_decoder_release(decoder, slot);
        }
    }
    return SLIP_OK;
}

static slip_status lead(slip_rank *me, const slip_source *source, const slip_limits *limits, const slip_decoder_options *decoding,
                        answer *answers)
{
    slip_draft *draft = NULL;
    slip_decoder *decoder = NULL;
    slip_status status = slip_draft_create(me, &draft);
    if (status == SLIP_OK)
        status = slip_decoder_create(me, draft, &source->model, limits, decoding, NULL, &decoder);
    if (status == SLIP_OK)
        status = decode(decoder, &source->model, answers);
    if (status == SLIP_OK)
        status = slip_rank_end(me);
    if (decoder)
        slip_decoder_free(decoder);
    if (draft)
        slip_draft_free(draft);
    return status;
}

static slip_status run(slip_comm *comm, const slip_source *source, const slip_executor_kind *kind, answer *answers)
{
    slip_decoder_options decoding = {.sequences = SEQUENCES, .chunk = 5, .always_draft = true};
    slip_limits limits = slip_decoder_limits(&source->model, &decoding, CONTEXT);
    slip_rank_options options = {.kind = kind, .slices = 1, .limits = limits};
    slip_rank *me;
    slip_status status = slip_rank_create(comm, source, &options, &me);
    if (status != SLIP_OK)
        return status;
    const slip_executor_options none = {0};
    status = slip_rank_load_draft(me, true, &none);
    if (status == SLIP_OK)
        status = rank == 0 ? lead(me, source, &limits, &decoding, answers) : slip_rank_serve(me);
    slip_rank_free(me);
    return status;
}

static int compare(const answer *plain, const answer *gathered)
{
    int wrong = 0;
    for (int i = 0; i < QUERIES; i++)
        wrong += plain[i].count != gathered[i].count || plain[i].acceptance.accepted != gathered[i].acceptance.accepted ||
                 memcmp(plain[i].tokens, gathered[i].tokens, (size_t)plain[i].count * sizeof *plain[i].tokens) != 0;
    printf(
        "%d ranks: %d of %d answers differ; %d drafts were filled in; %d runs begun, %d waited for; of %lld rows filtered here %lld were "
        "drawn again, and %lld rows fetched\n",
        ranks, wrong, QUERIES, device.filled_in, device.begun, device.waited, (long long)filter_device.histogram_rows,
        (long long)filter_device.drawn_again, (long long)filter_device.fetched);
    return wrong == 0 && device.filled_in > 0 && device.begun == device.waited && filter_device.histogram_rows > 0 &&
           filter_device.drawn_again > 0 && filter_device.fetched > 0;
}

int main(int argc, char **argv)
{
    static answer plain[QUERIES], gathered[QUERIES];
    slip_comm *comm;
    slip_source source;
    if (slip_comm_start(&argc, &argv, &comm) != SLIP_OK || argc != 2)
        return 2;
    rank = slip_comm_rank(comm);
    ranks = slip_comm_ranks(comm);
    if (ranks > MOST_RANKS)
        return 2;
    slip_executor_kind kind = gathering();
    slip_status status = slip_source_open(comm, argv[1], &source);
    if (status == SLIP_OK)
        status = run(comm, &source, &slip_executor_cpu, plain);
    if (status == SLIP_OK)
        status = run(comm, &source, &kind, gathered);
    if (status != SLIP_OK)
        slip_comm_abort(comm, status);
    bool same = rank != 0 || compare(plain, gathered);
    slip_source_close(&source);
    slip_comm_finish(comm);
    return same ? 0 : 1;
}
