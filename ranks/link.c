#include "ranks/link.h"

#include <stdlib.h>

#include "comm/signals.h"
#include "io/base/clock.h"

typedef struct {
    slip_run_cost cost;
    int64_t signal; /* 0: none */
} answer;

slip_status slip_link_open(slip_comm *comm, slip_link *link)
{
    *link = (slip_link){.comm = comm,
                        .wire = malloc(slip_wire_room()),
                        .adjustments = malloc(SLIP_MAX_ADJUSTMENTS * sizeof *link->adjustments),
                        .posted_s = slip_now_s()};
    return link->wire && link->adjustments ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for a step");
}

void slip_link_close(slip_link *link)
{
    free(link->wire);
    free(link->adjustments);
    *link = (slip_link){0};
}

slip_status slip_link_post(slip_link *link, slip_order order, const slip_step *step, const char *what)
{
    link->posted_s = slip_now_s();
    return slip_comm_post(link->comm, link->wire, slip_wire_pack(order, step, link->wire), what);
}

slip_status slip_link_hear_from(slip_link *link, int from, const char *what, slip_run_cost *cost)
{
    answer heard = {0};
    slip_status status = slip_comm_receive(link->comm, from, &heard, sizeof heard, what);
    if (heard.signal && !link->signal) {
        link->signal = (int)heard.signal;
        link->signalled = from;
    }
    *cost = heard.cost;
    return status;
}

slip_status slip_link_hear(slip_link *link, const char *what)
{
    slip_run_cost ignored;
    slip_status status = SLIP_OK;
    for (; link->unanswered > 0 && status == SLIP_OK; link->unanswered--)
        for (int from = 1; from < slip_comm_ranks(link->comm) && status == SLIP_OK; from++)
            status = slip_link_hear_from(link, from, what, &ignored);
    return status;
}

slip_status slip_link_next(slip_link *link, slip_order *order, slip_step *step, const char *what)
{
    size_t size;
    slip_status status = slip_comm_receive_posted(link->comm, link->wire, slip_wire_room(), &size, what);
    return status == SLIP_OK ? slip_wire_unpack(link->wire, size, order, step, link->adjustments) : status;
}

slip_status slip_link_answer(slip_link *link, const slip_run_cost *cost)
{
    const answer said = {*cost, slip_signals_noted()};
    return slip_comm_send(link->comm, &said, sizeof said, "saying that a step is done");
}
