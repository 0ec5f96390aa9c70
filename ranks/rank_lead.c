#include "ranks/rank_state.h"

#include <stdio.h>
#include <string.h>

#include "ranks/model/sample.h"

static void unpack_logits(slip_rank *rank, const slip_step *step, int worker)
{
    int64_t vocabulary = rank->source->model.vocabulary;
    slip_range rows = slip_placement_piece(vocabulary, 1, slip_rank_shards(rank), worker);
    for (int32_t i = 0; i < step->head_count; i++)
        memcpy(rank->logits + i * vocabulary + rows.first, rank->share + i * rows.count, (size_t)rows.count * sizeof(float));
}

static const char *name_step(const slip_step *step, char what[static SLIP_WHAT])
{
    snprintf(what, SLIP_WHAT, "step %llu", (unsigned long long)step->number);
    return what;
}

static slip_status post(slip_rank *rank, const slip_step *step)
{
    char what[SLIP_WHAT];
    return slip_comm_post(rank->comm, rank->wire, slip_wire_pack(SLIP_ORDER_TARGET, step, rank->wire), name_step(step, what));
}

static slip_status hear_cost(slip_rank *rank, int from, const char *what, uint64_t *weight_bytes)
{
    slip_run_cost cost;
    slip_status status = slip_comm_receive(rank->comm, from, &cost, sizeof cost, what);
    *weight_bytes += status == SLIP_OK ? cost.weight_bytes : 0;
    return status;
}

/* Where devices hand on steps by themselves, hosts have nothing to do but to notice that another one is gone: we hear that they saw
 * the end of a step while the next one runs. */
static slip_status hear_all(slip_rank *rank, const char *what)
{
    uint64_t ignored = 0;
    slip_status status = SLIP_OK;
    for (; rank->unanswered > 0 && status == SLIP_OK; rank->unanswered--)
        for (int from = 1; from < slip_comm_ranks(rank->comm) && status == SLIP_OK; from++)
            status = hear_cost(rank, from, what, &ignored);
    return status;
}

/* The device first: it does not wait for what hosts say to each other. But the first step makes devices ready, which takes long: all at
 * the same time. */
static slip_status begin_gathering(slip_rank *rank, const slip_step *step)
{
    char what[SLIP_WHAT];
    bool first = !rank->began;
    rank->began = true;
    slip_status status = first ? post(rank, step) : SLIP_OK;
    if (status == SLIP_OK)
        status = rank->options.kind->begin(rank->executor, SLIP_PHASE_RUN, step);
    if (status == SLIP_OK && !first)
        status = post(rank, step);
    if (status == SLIP_OK)
        status = hear_all(rank, name_step(step, what));
    rank->unanswered++;
    return status;
}

slip_status slip_rank_begin(slip_rank *rank, const slip_step *step)
{
    if (rank->gathers)
        return begin_gathering(rank, step);
    slip_status status = post(rank, step);
    if (status == SLIP_OK && rank->executor)
        status = rank->options.kind->begin(rank->executor, SLIP_PHASE_RUN, step);
    return status;
}

static slip_status wait_own_share(slip_rank *rank, const slip_step *step, slip_run_cost *cost)
{
    *cost = (slip_run_cost){0};
    for (int32_t i = 0; i < step->head_count; i++)
        rank->candidates[i] = (slip_candidate){0, -1};
    if (!rank->executor)
        return SLIP_OK;
    slip_status status = rank->options.kind->wait(rank->executor, cost);
    if (status == SLIP_OK && step->want == SLIP_WANT_LOGITS) {
        slip_rank_pack_logits(rank, step);
        unpack_logits(rank, step, 0);
    } else if (status == SLIP_OK) {
        rank->options.kind->candidates(rank->executor, step, rank->candidates);
    }
    return status;
}

static slip_status collect_candidates(slip_rank *rank, const slip_step *step, int from, const char *what)
{
    slip_status status = slip_comm_receive(rank->comm, from, rank->received, (size_t)step->head_count * sizeof *rank->received, what);
    for (int32_t i = 0; i < step->head_count && status == SLIP_OK; i++)
        rank->candidates[i] = slip_candidate_better(rank->candidates[i], rank->received[i]);
    return status;
}

static slip_status collect_logits(slip_rank *rank, const slip_step *step, int worker, int from, const char *what)
{
    slip_range rows = slip_placement_piece(rank->source->model.vocabulary, 1, slip_rank_shards(rank), worker);
    slip_status status = slip_comm_receive(rank->comm, from, rank->share, (size_t)step->head_count * (size_t)rows.count * sizeof(float), what);
    if (status == SLIP_OK)
        unpack_logits(rank, step, worker);
    return status;
}

static slip_status collect_from(slip_rank *rank, const slip_step *step, int worker, const char *what, uint64_t *weight_bytes)
{
    int from = slip_comm_first_worker(rank->comm) + worker;
    slip_status status = rank->gathers ? SLIP_OK : hear_cost(rank, from, what, weight_bytes);
    if (status == SLIP_OK && step->want == SLIP_WANT_LOGITS && step->head_count > 0)
        status = collect_logits(rank, step, worker, from, what);
    else if (status == SLIP_OK && step->head_count > 0 && !rank->gathers)
        status = collect_candidates(rank, step, from, what);
    for (int32_t i = 0; rank->taps && rank->options.taps && worker == 0 && i < step->row_count && status == SLIP_OK; i++)
        status = slip_comm_receive(rank->comm, from, rank->taps + i * slip_rank_tap_width(rank),
                                   (size_t)slip_rank_tap_width(rank) * sizeof(float), what);
    return status;
}

slip_status slip_rank_wait(slip_rank *rank, const slip_step *step, slip_outcome *outcome)
{
    char what[SLIP_WHAT];
    slip_run_cost cost;
    int workers = slip_comm_workers(rank->comm);
    slip_status status = wait_own_share(rank, step, &cost);
    if (status == SLIP_OK && rank->gathers && step->want == SLIP_WANT_LOGITS)
        status = hear_all(rank, name_step(step, what)); /* it comes before the logits */
    uint64_t bytes = cost.weight_bytes;
    for (int worker = rank->executor ? 1 : 0; worker < workers && status == SLIP_OK; worker++)
        status = collect_from(rank, step, worker, name_step(step, what), &bytes);
    if (status == SLIP_OK)
        *outcome = (slip_outcome){rank->candidates, rank->logits, rank->gathers ? bytes : bytes / (uint64_t)workers, cost.device_ms};
    return status;
}

bool slip_rank_queues(const slip_rank *rank)
{
    return rank->executor && slip_executor_queues(rank->options.kind, rank->executor);
}

const float *slip_rank_taps(const slip_rank *rank, int32_t row)
{
    if (slip_rank_tap_width(rank) == 0)
        return NULL;
    if (rank->taps)
        return rank->taps + row * slip_rank_tap_width(rank);
    return rank->options.kind->row(rank->executor, SLIP_BUFFER_TAPS, row);
}

slip_status slip_rank_end(slip_rank *rank)
{
    slip_step end = {.want = SLIP_WANT_END};
    slip_status status = hear_all(rank, "the end");
    if (status != SLIP_OK)
        return status;
    return slip_comm_post(rank->comm, rank->wire, slip_wire_pack(SLIP_ORDER_TARGET, &end, rank->wire), "the end");
}
