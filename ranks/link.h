/* What rank 0 and the others say to each other between them: rank 0's orders, and that they were carried out.
 *
 * Rank 0 need not hear the answer to an order before it gives the next one; it must have heard it some time later, or a rank that is gone
 * would not be missed.
 */
#ifndef SLIP_RANKS_LINK_H
#define SLIP_RANKS_LINK_H

#include "comm/comm.h"
#include "kernels/executor.h"
#include "ranks/wire.h"

typedef struct {
    slip_comm *comm;              /* borrowed */
    unsigned char *wire;          /* [slip_wire_room()] */
    slip_adjustment *adjustments; /* other ranks: [SLIP_MAX_ADJUSTMENTS] of the step in hand */
    int unanswered;               /* rank 0: orders whose answers have not been heard */
    int signal, signalled;        /* rank 0: the first signal that another rank was sent (comm/signals.h), and that rank; 0: none */
    double posted_s;              /* rank 0: when the last one was given */
} slip_link;

slip_status slip_link_open(slip_comm *comm, slip_link *link);
void slip_link_close(slip_link *link);

/* Rank 0: an order to all others. `what` names it in errors. */
slip_status slip_link_post(slip_link *link, slip_order order, const slip_step *step, const char *what);

/* Rank 0: hear the answers that are still open. */
slip_status slip_link_hear(slip_link *link, const char *what);

/* Other ranks: the next order. Rank 0 may be busy for long, but not for ever: see slip_comm_set_idle_deadline(). The
 * step's adjustments lie in the link until then. */
slip_status slip_link_next(slip_link *link, slip_order *order, slip_step *step, const char *what);

/* Other ranks: it was carried out, at this cost. A signal that we were sent is told on the way. */
slip_status slip_link_answer(slip_link *link, const slip_run_cost *cost);

/* Rank 0: one rank's answer. */
slip_status slip_link_hear_from(slip_link *link, int from, const char *what, slip_run_cost *cost);

#endif
