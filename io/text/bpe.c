#include "io/text/bpe.h"

#include <stdlib.h>
#include <string.h>

enum { PAIR_SIZE = 2 * sizeof(int32_t) };

/* A token of the piece as it stands, in a list by position; id -1 once it has been merged into its left
 * neighbour. */
struct slip_symbol {
    int32_t id, previous, next; /* -1: none */
};

/* A merge that could be made: the symbol at `position` with its right neighbour. It may be stale when its turn
 * comes. */
struct slip_candidate {
    int32_t rank, position, merged;
};

slip_status slip_bpe_init(slip_bpe *bpe, const slip_vocab *vocab, size_t merges)
{
    slip_merge *room = calloc(merges + 1, sizeof *room);
    if (room == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu merges", merges);
    slip_status status = slip_map_init(&bpe->by_pair, merges);
    if (status != SLIP_OK) {
        free(room);
        return status;
    }
    bpe->merges = room;
    bpe->count = 0;
    bpe->room = merges;
    for (int i = 0; i < 256; i++)
        bpe->byte_ids[i] = slip_vocab_find(vocab, &(unsigned char){(unsigned char)i}, 1);
    return SLIP_OK;
}

void slip_bpe_free(slip_bpe *bpe)
{
    slip_map_free(&bpe->by_pair);
    free(bpe->merges);
    *bpe = (slip_bpe){0};
}

void slip_bpe_add(slip_bpe *bpe, int32_t left, int32_t right, int32_t merged)
{
    slip_merge *merge = &bpe->merges[bpe->count];
    *merge = (slip_merge){left, right, merged};
    slip_map_put(&bpe->by_pair, merge, PAIR_SIZE, (int32_t)bpe->count++);
}

void slip_bpe_work_free(slip_bpe_work *work)
{
    free(work->ids);
    free(work->symbols);
    free(work->heap);
    *work = (slip_bpe_work){0};
}

/* `items` with room for at least `needed` things of `item` bytes, half more than that when it must grow. NULL
 * when memory fails, and then `items` is as it was. */
static void *grow(void *items, size_t *room, size_t needed, size_t item)
{
    if (needed <= *room)
        return items;
    size_t wanted = needed + needed / 2 + 64, bytes;
    void *grown = __builtin_mul_overflow(wanted, item, &bytes) ? NULL : realloc(items, bytes);
    if (grown == NULL)
        slip_fail(SLIP_ERR_FAILED, "out of memory to encode a text of %zu tokens", needed);
    else
        *room = wanted;
    return grown;
}

slip_status slip_bpe_reserve(slip_bpe_work *work, size_t more)
{
    int32_t *ids = grow(work->ids, &work->room, work->count + more, sizeof *ids);
    if (ids == NULL)
        return SLIP_ERR_FAILED;
    work->ids = ids;
    return SLIP_OK;
}

static slip_status grow_piece(slip_bpe_work *work, size_t size)
{
    struct slip_symbol *symbols = grow(work->symbols, &work->symbols_room, size, sizeof *symbols);
    if (symbols == NULL)
        return SLIP_ERR_FAILED;
    work->symbols = symbols;
    /* size - 1 candidates to begin with, and each of at most size - 1 merges proposes two for the one it took. */
    struct slip_candidate *heap = grow(work->heap, &work->heap_room, 2 * size, sizeof *heap);
    if (heap == NULL)
        return SLIP_ERR_FAILED;
    work->heap = heap;
    return slip_bpe_reserve(work, size);
}

slip_status slip_bpe_push(slip_bpe_work *work, int32_t id)
{
    slip_status status = slip_bpe_reserve(work, 1);
    if (status == SLIP_OK)
        work->ids[work->count++] = id;
    return status;
}

static int before(const struct slip_candidate *a, const struct slip_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static void heap_put(slip_bpe_work *work, struct slip_candidate candidate)
{
    size_t at = work->heap_count++;
    for (; at > 0 && before(&candidate, &work->heap[(at - 1) / 2]); at = (at - 1) / 2)
        work->heap[at] = work->heap[(at - 1) / 2];
    work->heap[at] = candidate;
}

static struct slip_candidate heap_take(slip_bpe_work *work)
{
    struct slip_candidate *heap = work->heap, first = heap[0], last = heap[--work->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < work->heap_count; at = child) {
        if (child + 1 < work->heap_count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

/* The merge of two symbols in a row, NULL where none was learnt. */
static const slip_merge *merge_of(const slip_bpe *bpe, int32_t left, int32_t right)
{
    const int32_t pair[2] = {left, right};
    int32_t rank = slip_map_find(&bpe->by_pair, pair, PAIR_SIZE);
    return rank >= 0 ? &bpe->merges[rank] : NULL;
}

static void propose(const slip_bpe *bpe, slip_bpe_work *work, int32_t position)
{
    const struct slip_symbol *symbols = work->symbols;
    if (position < 0 || symbols[position].next < 0)
        return;
    const slip_merge *merge = merge_of(bpe, symbols[position].id, symbols[symbols[position].next].id);
    if (merge != NULL)
        heap_put(work, (struct slip_candidate){(int32_t)(merge - bpe->merges), position, merge->merged});
}

/* Make the merge if the two symbols are still there: a pair that has changed since makes a longer token or none. */
static void apply(const slip_bpe *bpe, slip_bpe_work *work, const struct slip_candidate *candidate)
{
    struct slip_symbol *symbols = work->symbols, *left = &symbols[candidate->position];
    if (left->id < 0 || left->next < 0)
        return;
    struct slip_symbol *right = &symbols[left->next];
    const slip_merge *merge = merge_of(bpe, left->id, right->id);
    if (merge == NULL || merge->merged != candidate->merged)
        return;
    left->id = merge->merged;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0)
        symbols[left->next].previous = candidate->position;
    propose(bpe, work, left->previous);
    propose(bpe, work, candidate->position);
}

/* The piece as bytes, and the merges that these could make. */
static void start(const slip_bpe *bpe, slip_bpe_work *work, const char *piece, int32_t size)
{
    for (int32_t i = 0; i < size; i++)
        work->symbols[i] = (struct slip_symbol){bpe->byte_ids[(unsigned char)piece[i]], i - 1, i + 1};
    work->symbols[size - 1].next = -1;
    work->heap_count = 0;
    for (int32_t i = 0; i < size; i++)
        propose(bpe, work, i);
}

slip_status slip_bpe_encode(const slip_bpe *bpe, slip_bpe_work *work, const char *piece, size_t size)
{
    slip_status status = grow_piece(work, size);
    if (status != SLIP_OK || size == 0)
        return status;
    start(bpe, work, piece, (int32_t)size);
    while (work->heap_count > 0) {
        struct slip_candidate candidate = heap_take(work);
        apply(bpe, work, &candidate);
    }
    for (int32_t at = 0; at >= 0; at = work->symbols[at].next)
        work->ids[work->count++] = work->symbols[at].id;
    return SLIP_OK;
}
