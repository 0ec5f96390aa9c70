#include "ranks/runner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/activity/activity.h"
#include "ranks/load/fetch.h"
#include "ranks/model/build.h"
#include "ranks/model/sampling/sample.h"
#include "ranks/wire.h"

enum { WHAT = 64 }; /* bytes of what errors call a step */

struct slip_runner {
    slip_runner_options options;
    slip_program program;
    slip_executor *executor;
    slip_candidate *candidates; /* [logit_rows] ours, and on rank 0 the best */
    slip_candidate *received;   /* rank 0: [logit_rows] of one other rank */
    float *logits;              /* rank 0: [logit_rows, vocabulary] */
    float *share;               /* [logit_rows, most vocabulary rows of a rank]: logits as they travel */
    slip_histogram *histograms; /* [logit_rows] of all ranks, on rank 0; as they travel, on the others */
    slip_histogram *arrived;    /* rank 0: [logit_rows] of one other rank, as they travel */
    bool awake;                 /* rank 0: a run was begun since the start or the last rest */
};

/* ---- how it is made ---- */

static bool is_coordinator(const slip_runner *runner)
{
    return !runner->options.link || slip_comm_rank(runner->options.link->comm) == 0;
}

/* NULL: this rank is alone with the program. */
static slip_comm *comm_of(const slip_runner *runner)
{
    return runner->options.link ? runner->options.link->comm : NULL;
}

static int ranks_of(const slip_runner *runner)
{
    return runner->options.link ? slip_comm_ranks(runner->options.link->comm) : 1;
}

static slip_range vocabulary_of(const slip_runner *runner, int rank)
{
    return slip_placement_piece(runner->options.source->model.vocabulary, 1, runner->options.shards, rank);
}

static slip_status allocate(slip_runner *runner)
{
    size_t rows = (size_t)runner->options.limits.logit_rows, vocabulary = (size_t)runner->options.source->model.vocabulary;
    size_t share = vocabulary / (size_t)runner->options.shards + 1;
    runner->candidates = malloc(rows * sizeof *runner->candidates);
    runner->received = malloc(rows * sizeof *runner->received);
    bool ok = runner->candidates && runner->received;
    if (!runner->options.draft)
        ok = ok && (runner->share = malloc(rows * share * sizeof(float))) != NULL;
    if (!runner->options.draft && is_coordinator(runner))
        ok = ok && (runner->logits = malloc(rows * vocabulary * sizeof(float))) != NULL;
    if (!runner->options.draft && runner->options.kind->histogram)
        ok = ok && (runner->histograms = malloc(rows * sizeof *runner->histograms)) != NULL &&
             (runner->arrived = malloc(rows * sizeof *runner->arrived)) != NULL;
    return ok ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for the logits of %zu rows", rows);
}

/* Over all ranks of the link. */
static slip_status agree(slip_link *link, slip_status mine)
{
    return link ? slip_comm_agree(link->comm, mine) : mine;
}

static slip_status make(slip_runner *runner)
{
    const slip_runner_options *o = &runner->options;
    slip_status status = allocate(runner);
    if (status == SLIP_OK)
        status = o->kind->create(&runner->program, &o->limits, comm_of(runner), &o->executor, &runner->executor);
    if (status == SLIP_OK)
        status = slip_shard_place(o->source, &runner->program, o->kind, runner->executor);
    return status;
}

static slip_status load(slip_runner *runner)
{
    const slip_runner_options *o = &runner->options;
    slip_packed_shard shard = {
        .source = o->source,
        .program = &runner->program,
        .kind = o->kind,
        .executor = runner->executor,
        .name = {o->draft, o->link ? slip_comm_rank(o->link->comm) : 0, o->shards},
    };
    return slip_shard_fetch(comm_of(runner), &shard);
}

slip_status slip_runner_create(slip_program *program, const slip_runner_options *options, slip_runner **out)
{
    slip_runner *runner = calloc(1, sizeof *runner);
    slip_status status = runner ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK) {
        runner->options = *options;
        runner->program = *program;
        *program = (slip_program){0};
        status = make(runner);
    }
    status = agree(options->link, status);
    if (status == SLIP_OK) {
        assert(runner != NULL); /* agreeing makes no status better */
        status = agree(options->link, load(runner));
    }
    if (status == SLIP_OK)
        status = agree(options->link, options->kind->prepare(runner->executor));
    if (status != SLIP_OK) {
        if (runner)
            slip_runner_free(runner);
        return status;
    }
    *out = runner;
    return SLIP_OK;
}

void slip_runner_free(slip_runner *runner)
{
    if (runner->executor)
        runner->options.kind->destroy(runner->executor);
    slip_program_free(&runner->program);
    free(runner->candidates);
    free(runner->received);
    free(runner->logits);
    free(runner->share);
    free(runner->histograms);
    free(runner->arrived);
    free(runner);
}

const slip_program *slip_runner_program(const slip_runner *runner)
{
    return &runner->program;
}

const slip_executor_kind *slip_runner_kind(const slip_runner *runner)
{
    return runner->options.kind;
}

slip_executor *slip_runner_executor(const slip_runner *runner)
{
    return runner->executor;
}

int slip_runner_max_in_flight(const slip_runner *runner, const slip_step *step)
{
    return slip_executor_max_in_flight(runner->options.kind, runner->executor, step);
}

void slip_runner_rest(slip_runner *runner)
{
    if (runner->options.kind->rest)
        runner->options.kind->rest(runner->executor);
    runner->awake = false;
}

/* ---- what both sides know of a run ---- */

static const char *name_step(const slip_runner *runner, const slip_step *step, char what[static WHAT])
{
    snprintf(what, WHAT, "%sstep %llu", runner->options.draft ? "draft " : "", (unsigned long long)step->number);
    return what;
}

/* For SIGUSR2 and deadlines. */
static void say_step(const slip_runner *runner, const slip_step *step)
{
    char what[WHAT];
    slip_activity_sequences(step->span_count);
    slip_activity_phase("%s", name_step(runner, step, what));
}

static bool device_collects(const slip_runner *runner, const slip_step *step)
{
    return slip_executor_device_collects(runner->options.kind, runner->executor, step);
}

/* Is a run whose results devices collect answered all the same? */
static bool answered_to_host(const slip_runner *runner)
{
    return !runner->options.draft;
}

static bool has_logits(const slip_step *step)
{
    return step->want == SLIP_WANT_LOGITS && step->logit_rows > 0;
}

static size_t logits_bytes(const slip_runner *runner, const slip_step *step, int rank)
{
    int32_t rows[SLIP_MAX_ROWS];
    return (size_t)slip_wire_rows(step, rows) * (size_t)vocabulary_of(runner, rank).count * sizeof(float);
}

/* Our rows of the head, one after the other without padding. */
static void pack_logits(slip_runner *runner, const slip_step *step)
{
    int32_t rows[SLIP_MAX_ROWS], wanted = slip_wire_rows(step, rows);
    int64_t count = runner->program.vocabulary.count;
    for (int32_t i = 0; i < wanted; i++)
        memcpy(runner->share + i * count, runner->options.kind->row(runner->executor, SLIP_BUFFER_LOGITS, rows[i]),
               (size_t)count * sizeof(float));
}

static slip_status send_histograms(slip_runner *runner, const slip_step *step)
{
    int32_t rows[SLIP_MAX_ROWS], wanted = slip_wire_rows(step, rows);
    for (int32_t i = 0; i < wanted; i++)
        runner->histograms[i] = *runner->options.kind->histogram(runner->executor, rows[i]);
    return wanted == 0
               ? SLIP_OK
               : slip_comm_send(comm_of(runner), runner->histograms, (size_t)wanted * sizeof *runner->histograms, "sending histograms");
}

static void find_candidates(slip_runner *runner, const slip_step *step)
{
    slip_activity_op(-1, "SAMPLE");
    runner->options.kind->candidates(runner->executor, step, runner->candidates);
}

/* ---- a rank that is not rank 0 ---- */

static slip_status send_results(slip_runner *runner, const slip_step *step)
{
    slip_comm *comm = comm_of(runner);
    if (has_logits(step)) {
        pack_logits(runner, step);
        return slip_comm_send(comm, runner->share, logits_bytes(runner, step, slip_comm_rank(comm)), "sending logits");
    }
    slip_status status = SLIP_OK;
    if (step->logit_rows > 0 && !device_collects(runner, step)) {
        find_candidates(runner, step);
        status = slip_comm_send(comm, runner->candidates, (size_t)step->logit_rows * sizeof *runner->candidates, "sending candidates");
    }
    return status == SLIP_OK ? send_histograms(runner, step) : status;
}

slip_status slip_runner_follow(slip_runner *runner, slip_phase phase, const slip_step *step)
{
    slip_run_cost cost;
    say_step(runner, step);
    slip_status status = slip_executor_run(runner->options.kind, runner->executor, phase, step, &cost);
    if (status != SLIP_OK || phase == SLIP_PHASE_INJECT || (device_collects(runner, step) && !answered_to_host(runner)))
        return status;
    status = slip_link_answer(runner->options.link, &cost);
    return status == SLIP_OK ? send_results(runner, step) : status;
}

/* ---- rank 0 ---- */

static slip_status post(slip_runner *runner, slip_phase phase, const slip_step *step)
{
    char what[WHAT];
    slip_order order = !runner->options.draft ? SLIP_ORDER_TARGET : phase == SLIP_PHASE_INJECT ? SLIP_ORDER_INJECT : SLIP_ORDER_DRAFT;
    return runner->options.link ? slip_link_post(runner->options.link, order, step, name_step(runner, step, what)) : SLIP_OK;
}

static slip_status hear(slip_runner *runner, const slip_step *step)
{
    char what[WHAT];
    return runner->options.link ? slip_link_hear(runner->options.link, name_step(runner, step, what)) : SLIP_OK;
}

/* The device first: it does not wait for what hosts say to each other. But a first step wakes the devices, which takes long: all at the same
 * time. */
static slip_status begin_collecting(slip_runner *runner, slip_phase phase, const slip_step *step)
{
    bool first = !runner->awake;
    runner->awake = true;
    slip_status status = first ? post(runner, phase, step) : SLIP_OK;
    if (status == SLIP_OK)
        status = runner->options.kind->begin(runner->executor, phase, step);
    if (status == SLIP_OK && !first)
        status = post(runner, phase, step);
    if (status != SLIP_OK || !answered_to_host(runner))
        return status;
    status = hear(runner, step);
    runner->options.link->unanswered++;
    return status;
}

slip_status slip_runner_begin(slip_runner *runner, slip_phase phase, const slip_step *step)
{
    say_step(runner, step);
    if (device_collects(runner, step))
        return begin_collecting(runner, phase, step);
    slip_status status = hear(runner, step);
    if (status == SLIP_OK)
        status = post(runner, phase, step);
    return status == SLIP_OK ? runner->options.kind->begin(runner->executor, phase, step) : status;
}

static void unpack_logits(slip_runner *runner, const slip_step *step, int from)
{
    int32_t rows[SLIP_MAX_ROWS], wanted = slip_wire_rows(step, rows);
    int64_t vocabulary = runner->options.source->model.vocabulary;
    slip_range ours = vocabulary_of(runner, from);
    for (int32_t i = 0; i < wanted; i++)
        memcpy(runner->logits + rows[i] * vocabulary + ours.first, runner->share + i * ours.count, (size_t)ours.count * sizeof(float));
}

static void take_own_histograms(slip_runner *runner, const slip_step *step)
{
    int32_t rows[SLIP_MAX_ROWS], wanted = slip_wire_rows(step, rows);
    for (int32_t i = 0; i < wanted; i++)
        runner->histograms[rows[i]] = *runner->options.kind->histogram(runner->executor, rows[i]);
}

static slip_status wait_own_share(slip_runner *runner, const slip_step *step, slip_run_cost *cost)
{
    slip_status status = runner->options.kind->wait(runner->executor, cost);
    if (status == SLIP_OK && has_logits(step)) {
        pack_logits(runner, step);
        unpack_logits(runner, step, 0);
    } else if (status == SLIP_OK) {
        find_candidates(runner, step);
        take_own_histograms(runner, step);
    }
    return status;
}

static slip_status collect_candidates(slip_runner *runner, const slip_step *step, int from, const char *what)
{
    size_t bytes = (size_t)step->logit_rows * sizeof *runner->received;
    slip_status status = slip_comm_receive(comm_of(runner), from, runner->received, bytes, what);
    for (int32_t i = 0; i < step->logit_rows && status == SLIP_OK; i++)
        runner->candidates[i] = slip_candidate_better(runner->candidates[i], runner->received[i]);
    return status;
}

static slip_status collect_histograms(slip_runner *runner, const slip_step *step, int from, const char *what)
{
    int32_t rows[SLIP_MAX_ROWS], wanted = slip_wire_rows(step, rows);
    if (wanted == 0)
        return SLIP_OK;
    slip_status status = slip_comm_receive(comm_of(runner), from, runner->arrived, (size_t)wanted * sizeof *runner->arrived, what);
    for (int32_t i = 0; i < wanted && status == SLIP_OK; i++)
        slip_histogram_add(&runner->histograms[rows[i]], &runner->arrived[i]);
    return status;
}

static slip_status collect_logits(slip_runner *runner, const slip_step *step, int from, const char *what)
{
    slip_status status = slip_comm_receive(comm_of(runner), from, runner->share, logits_bytes(runner, step, from), what);
    if (status == SLIP_OK)
        unpack_logits(runner, step, from);
    return status;
}

static slip_status collect_from(slip_runner *runner, const slip_step *step, int from, uint64_t *weight_bytes)
{
    char what[WHAT];
    slip_run_cost cost = {0};
    slip_status status = SLIP_OK;
    name_step(runner, step, what);
    if (!device_collects(runner, step))
        status = slip_link_hear_from(runner->options.link, from, what, &cost);
    *weight_bytes += cost.weight_bytes;
    if (status == SLIP_OK && has_logits(step))
        return collect_logits(runner, step, from, what);
    if (status == SLIP_OK && step->logit_rows > 0 && !device_collects(runner, step))
        status = collect_candidates(runner, step, from, what);
    return status == SLIP_OK ? collect_histograms(runner, step, from, what) : status;
}

slip_status slip_runner_wait(slip_runner *runner, const slip_step *step, slip_outcome *outcome)
{
    slip_run_cost cost = {0};
    int ranks = ranks_of(runner);
    slip_status status = wait_own_share(runner, step, &cost);
    uint64_t bytes = cost.weight_bytes;
    if (status == SLIP_OK && device_collects(runner, step) && step->want != SLIP_WANT_TOKENS && step->logit_rows > 0)
        status = hear(runner, step); /* answers come before logits and histograms */
    for (int from = 1; from < ranks && status == SLIP_OK; from++)
        status = collect_from(runner, step, from, &bytes);
    slip_activity_phase("after step %llu", (unsigned long long)step->number);
    if (status == SLIP_OK) /* a device that collects has the mean already */
        *outcome = (slip_outcome){runner->candidates, runner->histograms, runner->logits,
                                  device_collects(runner, step) ? bytes : bytes / (uint64_t)ranks, cost.device_ms};
    return status;
}

slip_status slip_runner_wait_inject(slip_runner *runner, double *device_ms)
{
    slip_run_cost cost;
    slip_status status = runner->options.kind->wait(runner->executor, &cost);
    if (status == SLIP_OK)
        *device_ms = cost.device_ms;
    return status;
}
