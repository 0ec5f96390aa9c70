#include "ranks/rank.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "comm/signals.h"
#include "io/base/activity/activity.h"
#include "io/base/clock.h"
#include "ranks/model/build.h"

enum { KEEP_ALIVES = 60 }; /* within the time in which other ranks would give rank 0 up */

struct slip_rank {
    slip_comm *comm;
    const slip_source *source;
    slip_rank_options options;
    slip_placement placement;
    slip_link link;
    slip_runner *target, *draft;
    slip_step step; /* other ranks: the step in hand */
};

static int32_t shards_of(const slip_rank *rank)
{
    return rank->options.shard_of ? rank->options.shard_of : slip_comm_ranks(rank->comm);
}

/* What can fail on one rank before the shards are read. */
static slip_status start(slip_rank *rank, slip_program *program)
{
    const slip_model *model = &rank->source->model;
    slip_status status = slip_comm_set_sum_room(rank->comm, (size_t)rank->options.limits.rows * (size_t)model->hidden);
    if (status == SLIP_OK)
        status = slip_placement_make(model, shards_of(rank), rank->options.slices, slip_comm_rank(rank->comm), &rank->placement);
    if (status == SLIP_OK)
        status = slip_link_open(rank->comm, &rank->link);
    return status == SLIP_OK ? slip_program_target(model, &rank->placement, program) : status;
}

static slip_runner_options runner_options(slip_rank *rank)
{
    return (slip_runner_options){
        .link = &rank->link,
        .source = rank->source,
        .kind = rank->options.kind,
        .limits = rank->options.limits,
        .executor = rank->options.executor,
        .shards = shards_of(rank),
    };
}

slip_status slip_rank_create(slip_comm *comm, const slip_source *source, const slip_rank_options *options, slip_rank **out)
{
    slip_program program = {0};
    slip_rank *rank = calloc(1, sizeof *rank);
    slip_status status = rank ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK) {
        rank->comm = comm;
        rank->source = source;
        rank->options = *options;
        status = start(rank, &program);
    }
    status = slip_comm_agree(comm, status);
    if (status == SLIP_OK) {
        assert(rank != NULL); /* agreeing makes no status better */
        slip_runner_options made = runner_options(rank);
        slip_activity_phase("loading the target");
        status = slip_runner_create(&program, &made, &rank->target);
    }
    slip_program_free(&program);
    if (status != SLIP_OK) {
        if (rank)
            slip_rank_free(rank);
        return status;
    }
    *out = rank;
    return SLIP_OK;
}

slip_status slip_rank_load_draft(slip_rank *rank, bool cut, const slip_executor_options *options)
{
    slip_program program = {0};
    slip_placement placement;
    slip_runner_options made = runner_options(rank);
    slip_activity_phase("loading the draft");
    made.draft = true;
    made.limits = slip_draft_limits(made.limits);
    made.executor = *options;
    made.executor.target = slip_runner_executor(rank->target);
    made.shards = cut ? shards_of(rank) : 1;
    if (made.shards == 1)
        made.link = NULL;
    slip_placement_draft(&rank->source->model, made.shards, made.link ? slip_comm_rank(rank->comm) : 0, &placement);
    slip_status status = slip_program_draft(&rank->source->model, &placement, &program);
    if (made.link)
        status = slip_comm_agree(rank->comm, status);
    if (status == SLIP_OK)
        status = slip_runner_create(&program, &made, &rank->draft);
    slip_program_free(&program);
    return status;
}

void slip_rank_free(slip_rank *rank)
{
    if (rank->draft)
        slip_runner_free(rank->draft);
    if (rank->target)
        slip_runner_free(rank->target);
    slip_link_close(&rank->link);
    free(rank);
}

slip_runner *slip_rank_target(const slip_rank *rank)
{
    return rank->target;
}

slip_runner *slip_rank_draft(const slip_rank *rank)
{
    return rank->draft;
}

const slip_source *slip_rank_source(const slip_rank *rank)
{
    return rank->source;
}

const slip_limits *slip_rank_limits(const slip_rank *rank)
{
    return &rank->options.limits;
}

const slip_placement *slip_rank_placement(const slip_rank *rank)
{
    return &rank->placement;
}

static void rest(slip_rank *rank)
{
    if (rank->draft)
        slip_runner_rest(rank->draft);
    slip_runner_rest(rank->target);
}

/* ---- a rank that is not rank 0 ---- */

static slip_status follow_idle(slip_rank *rank)
{
    const slip_run_cost nothing = {0};
    rest(rank);
    return slip_link_answer(&rank->link, &nothing);
}

static slip_status follow(slip_rank *rank, slip_order order)
{
    switch (order) {
    case SLIP_ORDER_TARGET: return slip_runner_follow(rank->target, SLIP_PHASE_RUN, &rank->step);
    case SLIP_ORDER_IDLE: return follow_idle(rank);
    default: break;
    }
    if (!rank->draft)
        return slip_fail(SLIP_ERR_FAILED, "rank 0 ordered a draft, and this rank has no share of it");
    return slip_runner_follow(rank->draft, order == SLIP_ORDER_INJECT ? SLIP_PHASE_INJECT : SLIP_PHASE_RUN, &rank->step);
}

slip_status slip_rank_serve(slip_rank *rank)
{
    slip_status status = SLIP_OK;
    for (uint64_t last = 0; status == SLIP_OK;) {
        char what[64];
        slip_order order;
        snprintf(what, sizeof what, "waiting for the step after step %llu", (unsigned long long)last);
        slip_activity_idle("%s", what);
        status = slip_link_next(&rank->link, &order, &rank->step, what);
        if (status == SLIP_OK && order == SLIP_ORDER_END)
            break;
        if (status == SLIP_OK && order == SLIP_ORDER_TARGET)
            last = rank->step.number;
        if (status == SLIP_OK)
            status = follow(rank, order);
    }
    return status;
}

/* ---- rank 0 ---- */

static slip_status order_all(slip_rank *rank, slip_order order, const char *what)
{
    const slip_step none = {0};
    slip_status status = slip_link_hear(&rank->link, what);
    return status == SLIP_OK ? slip_link_post(&rank->link, order, &none, what) : status;
}

slip_status slip_rank_idle(slip_rank *rank)
{
    if (slip_now_s() - rank->link.posted_s < slip_comm_idle_deadline(rank->comm) / KEEP_ALIVES)
        return SLIP_OK;
    rest(rank);
    slip_activity_idle("nothing to do");
    slip_status status = order_all(rank, SLIP_ORDER_IDLE, "nothing to do");
    rank->link.unanswered++;
    return status;
}

int slip_rank_signal(const slip_rank *rank, int *from)
{
    int number = slip_signals_noted();
    *from = number ? 0 : rank->link.signalled;
    return number ? number : rank->link.signal;
}

slip_status slip_rank_end(slip_rank *rank)
{
    return order_all(rank, SLIP_ORDER_END, "the end");
}
