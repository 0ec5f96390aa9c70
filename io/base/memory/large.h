/* Memory for weights. */
#ifndef SLIP_IO_BASE_MEMORY_LARGE_H
#define SLIP_IO_BASE_MEMORY_LARGE_H

#include <stddef.h>

/* `size` bytes on a cache line, undefined but for the rest of the last line, which is zeros; NULL: there are none. free() takes them. Large
 * ones ask for huge pages: a gigabyte of small ones costs a quarter of a million page faults, and the products as many misses. */
void *slip_large_alloc(size_t size);

#endif
