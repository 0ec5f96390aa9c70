/* The results of shards (batch --shard) become one file, in the order of the requests, once every request is found to have exactly one line. */
#ifndef SLIP_IO_OPENAI_RESULT_MERGE_H
#define SLIP_IO_OPENAI_RESULT_MERGE_H

#include <stdio.h>

#include "io/base/status.h"
#include "io/openai/request_file.h"

typedef struct {
    int64_t requests;                /* in the request file */
    int64_t refused;                 /* lines that say so */
    int64_t missing, twice, foreign; /* requests without a line; lines that answer again, or what nobody asked */
    int64_t changed;                 /* lines whose request is not what it was */
    int64_t unchecked;               /* lines that do not tell what it was (they have no line_hash) */
} slip_merged;

/* Join the lines of `paths` [count] in `out`, written whole or not at all. A line is known by its custom_id; those of one custom_id that
 * several requests have, in the order of their request hashes, but for the first one, which alone is not refused for its name. A line
 * carries the line_hash of its request, which must be that of the request now. Lines of requests that never ran count for nothing. What is
 * missing, there twice, foreign or changed is named on `log`, the first few of each kind
 * (SLIP_ERR_FAILED). SLIP_ERR_INPUT: a line is torn or no result, or of another run than the first one. *merged is set in any case. */
slip_status slip_results_merge(char *const *paths, int count, slip_request_file *requests, const char *out, FILE *log, slip_merged *merged);

#endif
