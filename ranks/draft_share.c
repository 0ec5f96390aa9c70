#include "ranks/draft_share.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/sample.h"
#include "ranks/model/build.h"

enum { WHAT = 64 };

struct slip_draft_share {
    slip_comm *comm;            /* NULL: nobody else has a share */
    const slip_executor_kind *kind;
    slip_program program;
    slip_executor *executor;
    int64_t tap_width;          /* floats of a row of taps that comes by the host; 0: none does */
    float *taps;                /* [rows, tap_width] as they travel, whole rows; NULL: straight into the executor */
    unsigned char *wire;        /* rank 0: [slip_wire_room()] */
    slip_candidate *candidates; /* [head_rows] ours, and on rank 0 the best */
    slip_candidate *received;   /* rank 0: [head_rows] of another rank */
    bool gathers;               /* the devices hand on steps and results by themselves (kernels/executor.h) */
    bool injecting;             /* an inject is open */
    double inject_ms;           /* our device was at injects since the last draft */
};

static slip_status allocate(slip_draft_share *share, const slip_limits *limits)
{
    size_t heads = (size_t)limits->head_rows, taps = (size_t)limits->rows * (size_t)share->tap_width;
    share->candidates = malloc(heads * sizeof *share->candidates);
    share->received = malloc(heads * sizeof *share->received);
    share->wire = malloc(slip_wire_room());
    bool ok = share->candidates && share->received && share->wire;
    if (share->comm && taps > 0)
        ok = ok && (share->taps = malloc(taps * sizeof *share->taps)) != NULL;
    return ok ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for the draft's steps of %d rows", limits->rows);
}

slip_status slip_draft_share_create(const slip_source *source, const slip_executor_kind *kind, slip_comm *comm,
                                    const slip_executor_options *options, const slip_limits *limits, slip_draft_share **out)
{
    slip_draft_share *share = calloc(1, sizeof *share);
    if (!share)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_placement placement;
    share->comm = comm && slip_comm_workers(comm) > 1 ? comm : NULL;
    share->kind = kind;
    share->tap_width = kind->resident_taps ? 0 : (int64_t)source->model.draft.taps * source->model.hidden;
    slip_placement_draft(&source->model, share->comm ? slip_comm_workers(comm) : 1, share->comm ? slip_comm_rank(comm) : 0, &placement);
    slip_status status = allocate(share, limits);
    if (status == SLIP_OK)
        status = slip_program_draft(&source->model, &placement, &share->program);
    if (status == SLIP_OK)
        status = kind->create(&share->program, limits, share->comm, options, &share->executor);
    if (status == SLIP_OK)
        status = slip_shard_load(source, &share->program, kind, share->executor);
    if (share->comm)
        status = slip_comm_agree(comm, status);
    if (status == SLIP_OK)
        status = kind->prepare(share->executor);
    share->gathers = status == SLIP_OK && slip_executor_gathers(kind, share->executor);
    if (status != SLIP_OK) {
        slip_draft_share_free(share);
        return status;
    }
    *out = share;
    return SLIP_OK;
}

void slip_draft_share_free(slip_draft_share *share)
{
    if (share->executor)
        share->kind->destroy(share->executor);
    slip_program_free(&share->program);
    free(share->taps);
    free(share->wire);
    free(share->candidates);
    free(share->received);
    free(share);
}

float *slip_draft_share_taps(slip_draft_share *share, int32_t row)
{
    if (share->tap_width == 0)
        return NULL;
    return share->taps ? share->taps + row * share->tap_width : share->kind->row(share->executor, SLIP_BUFFER_TAPS, row);
}

const slip_program *slip_draft_share_program(const slip_draft_share *share)
{
    return &share->program;
}

static size_t tap_bytes(const slip_draft_share *share, const slip_step *step)
{
    return share->taps ? (size_t)step->row_count * (size_t)share->tap_width * sizeof(float) : 0;
}

/* What errors call the step. */
static const char *name_step(const slip_step *step, char what[static WHAT])
{
    snprintf(what, WHAT, "draft step %llu", (unsigned long long)step->number);
    return what;
}

/* Of whole rows that travelled, the executor gets our columns. */
static slip_status begin_inject(slip_draft_share *share, const slip_step *step)
{
    size_t bytes = (size_t)share->program.width[SLIP_BUFFER_TAPS] * sizeof(float);
    for (int32_t i = 0; share->taps && i < step->row_count; i++)
        memcpy(share->kind->row(share->executor, SLIP_BUFFER_TAPS, i), share->taps + i * share->tap_width + share->program.tap_first,
               bytes);
    slip_status status = share->kind->begin(share->executor, SLIP_PHASE_INJECT, step);
    share->injecting = status == SLIP_OK;
    return status;
}

static slip_status finish_inject(slip_draft_share *share)
{
    slip_run_cost cost;
    slip_status status = share->injecting ? share->kind->wait(share->executor, &cost) : SLIP_OK;
    if (share->injecting && status == SLIP_OK)
        share->inject_ms += cost.device_ms;
    share->injecting = false;
    return status;
}

/* ---- a rank that is not rank 0 ---- */

static slip_status serve_inject(slip_draft_share *share, const slip_step *step)
{
    char what[WHAT];
    size_t want = tap_bytes(share, step), size = 0;
    slip_status status = want ? slip_comm_take(share->comm, share->taps, want, &size, 0, name_step(step, what)) : SLIP_OK;
    if (status == SLIP_OK && size != want)
        status = slip_fail(SLIP_ERR_FAILED, "the taps of %d rows came in %zu bytes", step->row_count, size);
    if (status == SLIP_OK)
        status = begin_inject(share, step);
    return status == SLIP_OK ? finish_inject(share) : status;
}

static slip_status send_draft(slip_draft_share *share, const slip_step *step, const slip_run_cost *cost)
{
    share->kind->candidates(share->executor, step, share->candidates);
    slip_status status = slip_comm_send(share->comm, cost, sizeof *cost, "sending a draft's cost");
    if (status == SLIP_OK)
        status = slip_comm_send(share->comm, share->candidates, (size_t)step->head_count * sizeof *share->candidates,
                                "sending a draft's candidates");
    return status;
}

static slip_status serve_draft(slip_draft_share *share, const slip_step *step)
{
    slip_run_cost cost;
    slip_status status = slip_executor_run(share->kind, share->executor, SLIP_PHASE_RUN, step, &cost);
    return status == SLIP_OK && !share->gathers ? send_draft(share, step, &cost) : status;
}

slip_status slip_draft_share_serve(slip_draft_share *share, slip_order order, const slip_step *step)
{
    return order == SLIP_ORDER_INJECT ? serve_inject(share, step) : serve_draft(share, step);
}

/* ---- rank 0 ---- */

static slip_status post(slip_draft_share *share, slip_order order, const slip_step *step)
{
    char what[WHAT];
    if (!share->comm)
        return SLIP_OK;
    return slip_comm_post(share->comm, share->wire, slip_wire_pack(order, step, share->wire), name_step(step, what));
}

static slip_status post_inject(slip_draft_share *share, const slip_step *step)
{
    char what[WHAT];
    slip_status status = post(share, SLIP_ORDER_INJECT, step);
    if (status == SLIP_OK && tap_bytes(share, step) > 0)
        status = slip_comm_post(share->comm, share->taps, tap_bytes(share, step), name_step(step, what));
    return status;
}

slip_status slip_draft_share_inject(slip_draft_share *share, const slip_step *step)
{
    slip_status status = finish_inject(share);
    if (status == SLIP_OK && !share->gathers)
        status = post_inject(share, step);
    if (status == SLIP_OK)
        status = begin_inject(share, step);
    return status == SLIP_OK && share->gathers ? post_inject(share, step) : status;
}

slip_status slip_draft_share_begin(slip_draft_share *share, const slip_step *step)
{
    slip_status status = share->gathers ? SLIP_OK : post(share, SLIP_ORDER_DRAFT, step);
    if (status == SLIP_OK && !slip_executor_queues(share->kind, share->executor))
        status = finish_inject(share);
    if (status == SLIP_OK)
        status = share->kind->begin(share->executor, SLIP_PHASE_RUN, step);
    return status == SLIP_OK && share->gathers ? post(share, SLIP_ORDER_DRAFT, step) : status;
}

static slip_status collect_from(slip_draft_share *share, const slip_step *step, int rank, const char *what, uint64_t *weight_bytes)
{
    slip_run_cost cost;
    slip_status status = slip_comm_receive(share->comm, rank, &cost, sizeof cost, what);
    if (status == SLIP_OK)
        status = slip_comm_receive(share->comm, rank, share->received, (size_t)step->head_count * sizeof *share->received, what);
    if (status != SLIP_OK)
        return status;
    *weight_bytes += cost.weight_bytes;
    for (int32_t i = 0; i < step->head_count; i++)
        share->candidates[i] = slip_candidate_better(share->candidates[i], share->received[i]);
    return SLIP_OK;
}

slip_status slip_draft_share_wait(slip_draft_share *share, const slip_step *step, slip_draft_outcome *outcome)
{
    char what[WHAT];
    slip_run_cost cost = {0};
    int ranks = share->comm && !share->gathers ? slip_comm_workers(share->comm) : 1;
    slip_status status = finish_inject(share);
    if (status == SLIP_OK)
        status = share->kind->wait(share->executor, &cost);
    if (status == SLIP_OK)
        share->kind->candidates(share->executor, step, share->candidates);
    uint64_t bytes = cost.weight_bytes;
    for (int rank = 1; rank < ranks && status == SLIP_OK; rank++)
        status = collect_from(share, step, rank, name_step(step, what), &bytes);
    if (status != SLIP_OK)
        return status;
    *outcome = (slip_draft_outcome){share->candidates, bytes / (uint64_t)ranks, share->inject_ms, share->inject_ms + cost.device_ms};
    share->inject_ms = 0;
    return SLIP_OK;
}
