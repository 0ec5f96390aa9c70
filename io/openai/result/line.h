/* One line of results, as text. Private to io/openai. */
#ifndef SLIP_IO_OPENAI_RESULT_LINE_H
#define SLIP_IO_OPENAI_RESULT_LINE_H

#include <jansson.h>

#include "io/base/hash/hash.h"
#include "io/openai/result/result.h"

/* Every line begins so: it is how a torn one is known for ours. */
#define SLIP_RESULT_PREFIX "{\"id\":\"slip-"

/* Make a line, '\n' included (malloc'ed, *size bytes). SLIP_ERR_FAILED: no memory, or text that is not UTF-8. */
slip_status slip_result_line_answer(const slip_request *request, uint64_t run_hash, const slip_answer *answers, char **line, size_t *size);
slip_status slip_result_line_refuse(const slip_request *request, uint64_t run_hash, char **line, size_t *size);
slip_status slip_result_line_never_ran(const char *custom_id, uint64_t run_hash, const char *code, const char *message, char **line,
                                       size_t *size);

/* A result line may be this long: an answer may echo its prompt, and JSON may write one byte as six. */
enum { SLIP_RESULT_LINE_MAX = SLIP_REQUEST_LINE_MAX * 8 };

/* How names are told apart. */
static inline slip_hash128 slip_result_name(const char *custom_id)
{
    return slip_hash128_on(SLIP_HASH128_START, custom_id, strlen(custom_id));
}

/* A request is the same while its name and its hash are. */
static inline slip_hash128 slip_result_key(const char *custom_id, uint64_t hash)
{
    return slip_hash128_on(slip_result_name(custom_id), &hash, sizeof hash);
}

/* A line read back. */
typedef struct {
    const char *custom_id; /* inside `json` */
    bool never_ran;        /* then there are no hashes */
    bool refused;
    bool has_line_hash; /* older results have none */
    uint64_t request_hash, line_hash, run_hash;
    json_t *json; /* the caller drops it with json_decref */
} slip_result_record;

/* False when it is not a line as the functions above make them. */
bool slip_result_line_parse(const char *line, size_t size, slip_result_record *record);

/* Parts of lines: a hash as SLIP_RESULT_HEX - 1 digits, and token ids as a list (NULL when memory fails). */
enum { SLIP_RESULT_HEX = 17 };
bool slip_result_parse_hash(const json_t *object, const char *name, uint64_t *hash);
json_t *slip_result_id_list(const int32_t *ids, int32_t count);

#endif
