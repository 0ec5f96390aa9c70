#include "ranks/rank_state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/build.h"

static bool is_coordinator(const slip_rank *rank)
{
    return slip_comm_rank(rank->comm) == 0;
}

int64_t slip_rank_tap_width(const slip_rank *rank)
{
    const slip_model *model = &rank->source->model;
    return model->has_draft && !rank->options.kind->resident_taps ? (int64_t)model->draft.taps * model->hidden : 0;
}

int32_t slip_rank_shards(const slip_rank *rank)
{
    return rank->options.shard_of ? rank->options.shard_of : slip_comm_workers(rank->comm);
}

static slip_status allocate(slip_rank *rank)
{
    size_t heads = (size_t)rank->options.limits.head_rows, vocabulary = (size_t)rank->source->model.vocabulary;
    size_t share = vocabulary / (size_t)slip_rank_shards(rank) + 1;
    rank->wire = malloc(slip_wire_room());
    rank->candidates = malloc(heads * sizeof *rank->candidates);
    rank->received = malloc(heads * sizeof *rank->received);
    rank->share = malloc(heads * share * sizeof(float));
    bool ok = rank->wire && rank->candidates && rank->received && rank->share;
    if (is_coordinator(rank))
        ok = ok && (rank->logits = malloc(heads * vocabulary * sizeof(float))) != NULL;
    if (is_coordinator(rank) && rank->options.dedicated)
        ok = ok && (rank->taps = malloc(((size_t)rank->options.limits.rows * (size_t)slip_rank_tap_width(rank) + 1) * sizeof(float))) != NULL;
    return ok ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for the logits of %zu rows", heads);
}

static slip_status create_worker(slip_rank *rank)
{
    slip_status status = slip_program_target(&rank->source->model, &rank->placement, &rank->program);
    if (status == SLIP_OK)
        status = rank->options.kind->create(&rank->program, &rank->options.limits, rank->comm, &rank->options.executor,
                                            &rank->executor);
    if (status == SLIP_OK)
        status = slip_shard_load(rank->source, &rank->program, rank->options.kind, rank->executor);
    return status;
}

static slip_status prepare(slip_rank *rank)
{
    slip_status status = rank->executor ? rank->options.kind->prepare(rank->executor) : SLIP_OK;
    rank->gathers = rank->executor && slip_executor_gathers(rank->options.kind, rank->executor);
    return status;
}

slip_status slip_rank_create(slip_comm *comm, const slip_source *source, const slip_rank_options *options, slip_rank **out)
{
    const slip_model *model = &source->model;
    int first = options->dedicated ? 1 : 0, worker = slip_comm_rank(comm) - first;
    if (slip_comm_ranks(comm) - first < 1)
        return slip_fail(SLIP_ERR_INPUT, "--coordinator dedicated needs at least 2 ranks");
    slip_rank *rank = calloc(1, sizeof *rank);
    slip_status status = rank ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK) {
        rank->comm = comm;
        rank->source = source;
        rank->options = *options;
        status = slip_comm_set_workers(comm, first, (size_t)options->limits.rows * (size_t)model->hidden);
    }
    if (status == SLIP_OK)
        status = slip_placement_make(model, slip_rank_shards(rank), options->slices, worker < 0 ? 0 : worker, &rank->placement);
    if (status == SLIP_OK)
        status = allocate(rank);
    if (status == SLIP_OK && worker >= 0)
        status = create_worker(rank);
    status = slip_comm_agree(comm, status);
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, prepare(rank));
    if (status != SLIP_OK) {
        if (rank)
            slip_rank_free(rank);
        return status;
    }
    *out = rank;
    return SLIP_OK;
}

void slip_rank_free(slip_rank *rank)
{
    if (rank->executor)
        rank->options.kind->destroy(rank->executor);
    slip_program_free(&rank->program);
    free(rank->wire);
    free(rank->candidates);
    free(rank->received);
    free(rank->logits);
    free(rank->share);
    free(rank->taps);
    free(rank);
}

const slip_placement *slip_rank_placement(const slip_rank *rank)
{
    return &rank->placement;
}

slip_executor *slip_rank_executor(const slip_rank *rank)
{
    return rank->executor;
}

const slip_program *slip_rank_program(const slip_rank *rank)
{
    return &rank->program;
}

void slip_rank_pack_logits(slip_rank *rank, const slip_step *step)
{
    int64_t count = rank->program.vocabulary.count;
    for (int32_t i = 0; i < step->head_count; i++)
        memcpy(rank->share + i * count, rank->options.kind->row(rank->executor, SLIP_BUFFER_LOGITS, i), (size_t)count * sizeof(float));
}

/* ---- a worker that is not rank 0 ---- */

static slip_status send_logits(slip_rank *rank)
{
    const slip_step *step = &rank->step;
    slip_rank_pack_logits(rank, step);
    size_t bytes = (size_t)step->head_count * (size_t)rank->program.vocabulary.count * sizeof(float);
    return slip_comm_send(rank->comm, rank->share, bytes, "sending logits");
}

static slip_status send_candidates(slip_rank *rank)
{
    rank->options.kind->candidates(rank->executor, &rank->step, rank->candidates);
    return slip_comm_send(rank->comm, rank->candidates, (size_t)rank->step.head_count * sizeof *rank->candidates, "sending candidates");
}

/* The cost says that our host has seen the end of the step, too. */
static slip_status send_results(slip_rank *rank, const slip_run_cost *cost)
{
    const slip_step *step = &rank->step;
    slip_status status = slip_comm_send(rank->comm, cost, sizeof *cost, "sending a step's cost");
    if (status == SLIP_OK && step->want == SLIP_WANT_LOGITS && step->head_count > 0)
        status = send_logits(rank);
    else if (status == SLIP_OK && step->head_count > 0 && !rank->gathers)
        status = send_candidates(rank);
    bool leads = rank->options.dedicated && slip_comm_rank(rank->comm) == slip_comm_first_worker(rank->comm);
    for (int32_t i = 0; leads && rank->options.taps && i < step->row_count && status == SLIP_OK; i++)
        status = slip_comm_send(rank->comm, rank->options.kind->row(rank->executor, SLIP_BUFFER_TAPS, i),
                                (size_t)slip_rank_tap_width(rank) * sizeof(float), "sending taps");
    return status;
}

static slip_status serve_target(slip_rank *rank)
{
    slip_run_cost cost;
    slip_status status = slip_executor_run(rank->options.kind, rank->executor, SLIP_PHASE_RUN, &rank->step, &cost);
    return status == SLIP_OK ? send_results(rank, &cost) : status;
}

slip_status slip_rank_serve(slip_rank *rank, slip_draft_share *draft)
{
    for (uint64_t last = 0;;) {
        char what[SLIP_WHAT];
        size_t size;
        slip_order order = SLIP_ORDER_TARGET;
        snprintf(what, sizeof what, "waiting for the step after step %llu", (unsigned long long)last);
        slip_status status = slip_comm_take(rank->comm, rank->wire, slip_wire_room(), &size, SLIP_IDLE_PATIENCE_S, what);
        if (status == SLIP_OK)
            status = slip_wire_unpack(rank->wire, size, &order, &rank->step);
        if (status != SLIP_OK || rank->step.want == SLIP_WANT_END)
            return status;
        if (order == SLIP_ORDER_TARGET) {
            last = rank->step.number;
            status = serve_target(rank);
        } else {
            assert(draft);
            status = slip_draft_share_serve(draft, order, &rank->step);
        }
        if (status != SLIP_OK)
            return status;
    }
}
