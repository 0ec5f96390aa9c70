/* Memory for weights and caches. */
#ifndef SLIP_IO_BASE_MEMORY_LARGE_H
#define SLIP_IO_BASE_MEMORY_LARGE_H

#include <stddef.h>

/* `size` bytes on a cache line, undefined but for the rest of the last line, which is zeros; NULL: there are none. free() takes them. Large
 * ones ask for huge pages: a gigabyte of small ones costs a quarter of a million page faults, and the products as many misses. */
void *slip_large_alloc(size_t size);

/* Pieces of large allocations, for what is much together but small one by one: pieces share huge pages, and are freed all at once. Plain data;
 * zero it to start. */
typedef struct {
    unsigned char *block; /* the one in hand, whose first line points at the one before; NULL: none */
    size_t used, size;
} slip_large_pieces;

/* As slip_large_alloc(), but free() does not take it. */
void *slip_large_piece(slip_large_pieces *pieces, size_t size);
void slip_large_free_pieces(slip_large_pieces *pieces);

#endif
