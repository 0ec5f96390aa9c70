/* --logits: rows of logits as one HDF5 dataset, /logits, f32 [tokens, vocabulary]. */
#ifndef SLIP_IO_REPORT_LOGITS_H
#define SLIP_IO_REPORT_LOGITS_H

#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"

typedef struct slip_logits slip_logits;

/* `path` is borrowed, and claimed (io/report/output.h). */
slip_status slip_logits_create(const char *path, size_t tokens, int32_t vocabulary, slip_logits **logits);

/* Rows [first, first + count), `values` [count, vocabulary]. */
slip_status slip_logits_write(slip_logits *logits, size_t first, int32_t count, const float *values);

/* Frees *logits in any case; NULL is fine. What the file system could not take may come out only here. */
slip_status slip_logits_close(slip_logits *logits);

#endif
