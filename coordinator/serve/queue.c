#include "coordinator/serve/queue.h"

#include <stdlib.h>

enum { FIRST_ROOM = 16 };

static slip_queued *item_at(const slip_queue *queue, size_t i)
{
    return &queue->items[(queue->first + i) % queue->room];
}

void slip_queue_free(slip_queue *queue)
{
    free(queue->items);
    *queue = (slip_queue){0};
}

static slip_status grow(slip_queue *queue)
{
    slip_queue grown = {.count = queue->count, .room = queue->room ? 2 * queue->room : FIRST_ROOM};
    grown.items = malloc(grown.room * sizeof *grown.items);
    if (!grown.items)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for a queue of %zu requests", grown.room);
    for (size_t i = 0; i < queue->count; i++)
        grown.items[i] = *item_at(queue, i);
    free(queue->items);
    *queue = grown;
    return SLIP_OK;
}

slip_status slip_queue_push(slip_queue *queue, const slip_queued *item)
{
    slip_status status = queue->count == queue->room ? grow(queue) : SLIP_OK;
    if (status == SLIP_OK)
        *item_at(queue, queue->count++) = *item;
    return status;
}

const slip_queued *slip_queue_first(const slip_queue *queue)
{
    return item_at(queue, 0);
}

slip_queued slip_queue_pop(slip_queue *queue)
{
    slip_queued item = *item_at(queue, 0);
    queue->first = (queue->first + 1) % queue->room;
    queue->count--;
    return item;
}

bool slip_queue_remove(slip_queue *queue, uint64_t ticket, slip_queued *item)
{
    size_t i = 0;
    while (i < queue->count && item_at(queue, i)->ticket != ticket)
        i++;
    if (i == queue->count)
        return false;
    *item = *item_at(queue, i);
    for (; i + 1 < queue->count; i++)
        *item_at(queue, i) = *item_at(queue, i + 1);
    queue->count--;
    return true;
}
