/* One line of OUT.unfinished, as text. Private to io/openai/result. */
#ifndef SLIP_IO_OPENAI_RESULT_UNFINISHED_LINE_H
#define SLIP_IO_OPENAI_RESULT_UNFINISHED_LINE_H

#include <jansson.h>

#include "io/openai/result/result.h"

/* Every line begins so; no result does. */
#define SLIP_UNFINISHED_PREFIX "{\"crc32c\":\""

/* Make a line, '\n' included (malloc'ed, *size bytes). */
slip_status slip_unfinished_line(const slip_request *request, uint64_t run_hash, const slip_answer *answers, char **line, size_t *size);

/* A line read back. */
typedef struct {
    const char *custom_id; /* inside `json` */
    uint64_t request_hash, run_hash;
    json_t *choices;
    json_t *json; /* the caller drops it with json_decref */
} slip_unfinished_record;

/* False when it is damaged. `size` counts no newline. */
bool slip_unfinished_line_parse(const char *line, size_t size, slip_unfinished_record *record);

/* Its choices. SLIP_ERR_FAILED: no memory. One that cannot be read gives none at all. */
slip_status slip_unfinished_line_choices(const slip_unfinished_record *record, slip_begun *begun);

#endif
