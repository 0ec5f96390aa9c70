/* Requests that wait for a slot: first in, first out, each known by its ticket. */
#ifndef SLIP_COORDINATOR_SERVE_QUEUE_H
#define SLIP_COORDINATOR_SERVE_QUEUE_H

#include "coordinator/serve/serve.h"

typedef struct {
    slip_serve_request request;
    uint64_t ticket;
} slip_queued;

/* A ring that grows; zero it to start. */
typedef struct {
    slip_queued *items;
    size_t first, count, room;
} slip_queue;

void slip_queue_free(slip_queue *queue);
slip_status slip_queue_push(slip_queue *queue, const slip_queued *item);

/* Who is next; count > 0. */
const slip_queued *slip_queue_first(const slip_queue *queue);

/* Remove the first; count > 0. */
slip_queued slip_queue_pop(slip_queue *queue);

/* Remove the one with this ticket, wherever it stands. False: it is not there. */
bool slip_queue_remove(slip_queue *queue, uint64_t ticket, slip_queued *item);

#endif
