#include "ranks/runner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/activity/activity.h"
#include "ranks/load/fetch.h"
#include "ranks/model/build.h"
#include "ranks/results.h"

enum { WHAT = 64 }; /* bytes of what errors call a step */

struct slip_runner {
    slip_runner_options options;
    slip_program program;
    slip_executor *executor;
    slip_results results;
    bool awake; /* rank 0: a run was begun since the start or the last rest */
};

/* ---- how it is made ---- */

/* NULL: this rank is alone with the program. */
static slip_comm *comm_of(const slip_runner *runner)
{
    return runner->options.link ? runner->options.link->comm : NULL;
}

static int ranks_of(const slip_runner *runner)
{
    return runner->options.link ? slip_comm_ranks(runner->options.link->comm) : 1;
}

static slip_status allocate(slip_runner *runner)
{
    const slip_runner_options *o = &runner->options;
    runner->results = (slip_results){.kind = o->kind,
                                     .comm = comm_of(runner),
                                     .vocabulary = o->source->model.vocabulary,
                                     .shards = o->shards,
                                     .draft = o->draft,
                                     .walks = runner->program.walk.slots > 0};
    return slip_results_alloc(&runner->results, o->limits.logit_rows);
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
    runner->results.executor = runner->executor;
    return status;
}

/* All ranks have made theirs. */
static slip_status settle(slip_runner *runner)
{
    const slip_runner_options *o = &runner->options;
    slip_status status = ranks_of(runner) > 1 && o->kind->join ? o->kind->join(runner->executor) : SLIP_OK;
    return status == SLIP_OK ? slip_shard_place(o->source, &runner->program, o->kind, runner->executor) : status;
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
        status = agree(options->link, settle(runner));
    }
    if (status == SLIP_OK)
        status = agree(options->link, load(runner));
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
    slip_results_free(&runner->results);
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
    return slip_results_collected(&runner->results, step);
}

/* Is a run whose results devices collect answered all the same? */
static bool answered_to_host(const slip_runner *runner)
{
    return !runner->options.draft;
}

/* ---- a rank that is not rank 0 ---- */

slip_status slip_runner_follow(slip_runner *runner, slip_phase phase, const slip_step *step)
{
    slip_run_cost cost;
    say_step(runner, step);
    slip_status status = slip_executor_run(runner->options.kind, runner->executor, phase, step, &cost);
    if (status != SLIP_OK || phase == SLIP_PHASE_INJECT || (device_collects(runner, step) && !answered_to_host(runner)))
        return status;
    status = slip_link_answer(runner->options.link, &cost);
    return status == SLIP_OK ? slip_results_send(&runner->results, step) : status;
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

static slip_status collect_from(slip_runner *runner, const slip_step *step, int from, uint64_t *weight_bytes)
{
    char what[WHAT];
    slip_run_cost cost = {0};
    slip_status status = SLIP_OK;
    name_step(runner, step, what);
    if (!device_collects(runner, step))
        status = slip_link_hear_from(runner->options.link, from, what, &cost);
    *weight_bytes += cost.weight_bytes;
    return status == SLIP_OK ? slip_results_collect(&runner->results, step, from, what) : status;
}

slip_status slip_runner_wait(slip_runner *runner, const slip_step *step, slip_outcome *outcome)
{
    slip_run_cost cost = {0};
    int ranks = ranks_of(runner);
    slip_status status = runner->options.kind->wait(runner->executor, &cost);
    if (status == SLIP_OK)
        slip_results_take(&runner->results, step);
    uint64_t bytes = cost.weight_bytes;
    if (status == SLIP_OK && device_collects(runner, step) && step->want != SLIP_WANT_TOKENS && step->logit_rows > 0)
        status = hear(runner, step); /* answers come before all that is not candidates */
    for (int from = 1; from < ranks && status == SLIP_OK; from++)
        status = collect_from(runner, step, from, &bytes);
    if (status == SLIP_OK)
        status = slip_results_finish(&runner->results, step);
    slip_activity_phase("after step %llu", (unsigned long long)step->number);
    if (status == SLIP_OK) /* a device that collects has the mean already */
        *outcome = (slip_outcome){runner->results.best,
                                  runner->results.whole,
                                  runner->results.likeliest,
                                  runner->results.logits,
                                  device_collects(runner, step) ? bytes : bytes / (uint64_t)ranks,
                                  cost.device_ms};
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
