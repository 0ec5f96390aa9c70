/* A file of request lines, read twice, so that it need not lie in memory: opening it looks at nothing but each line's
 * custom_id, which tells how many requests there are and which names are taken; then they come one at a time, parsed.
 *
 * Blank lines and byte order marks are passed over. A custom_id is its first line's; later lines are refused. A line without
 * a name is given one that no line has.
 */
#ifndef SLIP_IO_OPENAI_REQUEST_FILE_H
#define SLIP_IO_OPENAI_REQUEST_FILE_H

#include "io/openai/request.h"

typedef struct slip_request_file slip_request_file;

/* Open a file, gzip's too, or standard input ("-"). `path`, and what `defaults` point to, must outlive *file. SLIP_ERR_INPUT:
 * it cannot be read, or holds no request. */
slip_status slip_request_file_open(const char *path, const slip_request_defaults *defaults, slip_request_file **file);
void slip_request_file_close(slip_request_file *file);

/* From here on, and from the first request on, see only the requests whose place in the whole file is `shard` modulo `shards`; what a line is called
 * and which line of a custom_id comes first stays the whole file's affair. Only before the first move. */
void slip_request_file_take_shard(slip_request_file *file, int64_t shard, int64_t shards);

/* How many requests there are, and how many positions the longest of them can need, prompt and answer together: a bound from
 * above, and INT64_MAX where one names no max_tokens and the defaults neither. */
int64_t slip_request_file_count(const slip_request_file *file);
int64_t slip_request_file_positions(const slip_request_file *file);

/* Move to the next request; *found is false behind the last one. A file that has changed since it was opened is
 * SLIP_ERR_INPUT. */
slip_status slip_request_file_next(slip_request_file *file, bool *found);

/* The request moved to: its place from 0 on, within the shard, its name (until the next move), and the whole of it, which is the caller's to free. */
int64_t slip_request_file_index(const slip_request_file *file);
const char *slip_request_file_name(const slip_request_file *file);
slip_status slip_request_file_parse(const slip_request_file *file, slip_request *request);

/* What the line moved to would hash as without the defaults: it tells one who does not know them whether the line has changed. */
slip_status slip_request_file_line_hash(const slip_request_file *file, uint64_t *hash);

/* Back to in front of the first request. */
slip_status slip_request_file_rewind(slip_request_file *file);

#endif
