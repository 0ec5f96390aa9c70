/* One line of results, as text. Private to io/openai. */
#ifndef SLIP_IO_OPENAI_RESULT_LINE_H
#define SLIP_IO_OPENAI_RESULT_LINE_H

#include <jansson.h>

#include "io/openai/result/result.h"

/* Every line begins so: it is how a torn one is known for ours. */
#define SLIP_RESULT_PREFIX "{\"id\":\"slip-"

/* Make a line, '\n' included (malloc'ed, *size bytes). SLIP_ERR_FAILED: no memory, or text that is not UTF-8. */
slip_status slip_result_line_answer(const slip_request *request, uint64_t run_hash, const slip_answer *answers, char **line, size_t *size);
slip_status slip_result_line_refuse(const slip_request *request, uint64_t run_hash, char **line, size_t *size);
slip_status slip_result_line_never_ran(const char *custom_id, uint64_t run_hash, const char *code, const char *message, char **line,
                                       size_t *size);

/* A line read back. */
typedef struct {
    const char *custom_id; /* inside `json` */
    bool never_ran;        /* then there are no hashes */
    bool refused;
    uint64_t request_hash, run_hash;
    json_t *json; /* the caller drops it with json_decref */
} slip_result_record;

/* False when it is not a line as the functions above make them. */
bool slip_result_line_parse(const char *line, size_t size, slip_result_record *record);

#endif
