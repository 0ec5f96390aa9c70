#include "io/text/split.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    EXPRESSION_MAX = 4096, /* bytes; Qwen2's has 120 */
    /* Backtracking steps that one match may take: some for each byte of the text, so that a hostile expression is
     * found out soon on a short text, and a good one passes over the longest run of spaces. */
    STEPS = 10000,
    STEPS_PER_BYTE = 16,
};

const char SLIP_SPLIT_GPT2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct slip_splitter {
    pcre2_code *code;
};

/* Unicode's White_Space, for use inside of brackets. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
enum { GROWTH = sizeof "[^" SPACE "]" }; /* of one \S; \s is two bytes to begin with */

static size_t put(char *out, size_t at, const char *text)
{
    memcpy(out + at, text, strlen(text));
    return at + strlen(text);
}

/* Copy the expression with \s and \S spelled out; \S within brackets has no such spelling and keeps PCRE2's
 * sense. `out` has GROWTH bytes for each byte of the expression. */
static size_t spell_spaces(const char *expression, char *out)
{
    size_t at = 0;
    int brackets = 0;
    for (const char *c = expression; *c != '\0'; c++) {
        if (c[0] == '\\' && c[1] == 's') {
            at = put(out, at, brackets ? SPACE : "[" SPACE "]");
            c++;
        } else if (c[0] == '\\' && c[1] == 'S' && !brackets) {
            at = put(out, at, "[^" SPACE "]");
            c++;
        } else if (c[0] == '\\' && c[1] != '\0') {
            out[at++] = *c++;
            out[at++] = *c;
        } else {
            if (*c == '[')
                brackets = 1;
            else if (*c == ']')
                brackets = 0;
            out[at++] = *c;
        }
    }
    return at;
}

static pcre2_code *compile(const char *expression, const char *source, const char *field)
{
    char spelled[EXPRESSION_MAX * GROWTH], message[200];
    int error;
    size_t where;
    size_t size = spell_spaces(expression, spelled);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)spelled, size, PCRE2_UTF | PCRE2_UCP, &error, &where, NULL);
    if (code == NULL) {
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
        slip_fail(SLIP_ERR_INPUT, "%s: %s is not a regular expression: %s", source, field, message);
    }
    return code;
}

slip_status slip_splitter_create(const char *expression, const char *source, const char *field, slip_splitter **splitter)
{
    slip_status status = SLIP_ERR_INPUT;
    uint32_t matches_empty = 0;
    if (strlen(expression) > EXPRESSION_MAX)
        return slip_fail(status, "%s: %s has %zu bytes, more than %d", source, field, strlen(expression), EXPRESSION_MAX);
    pcre2_code *code = compile(expression, source, field);
    if (code == NULL)
        return status;
    pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty) {
        status = slip_fail(status, "%s: %s matches the empty string and so cuts nothing", source, field);
        goto err_free_code;
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match() interprets */

    slip_splitter *made = malloc(sizeof *made);
    if (made == NULL) {
        status = slip_fail(SLIP_ERR_FAILED, "out of memory for the pre-tokenizer");
        goto err_free_code;
    }
    made->code = code;
    *splitter = made;
    return SLIP_OK;

err_free_code:
    pcre2_code_free(code);
    return status;
}

void slip_splitter_free(slip_splitter *splitter)
{
    if (splitter == NULL)
        return;
    pcre2_code_free(splitter->code);
    free(splitter);
}

/* One text that is being cut. */
typedef struct {
    const pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
    PCRE2_SPTR text;
    size_t size;
} subject;

/* The next match at or behind `at`; PCRE2_ERROR_NOMATCH at the end, another negative number when PCRE2 gives up. */
static int match(const subject *in, size_t at)
{
    const uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int found = pcre2_match(in->code, in->text, in->size, at, options, in->data, in->limits);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) /* the machine's stack is short; the interpreter uses the heap */
        found = pcre2_match(in->code, in->text, in->size, at, options | PCRE2_NO_JIT, in->data, in->limits);
    return found;
}

typedef struct {
    size_t *items;
    size_t count, room;
} cuts;

static slip_status add_cut(cuts *ends, size_t end)
{
    if (ends->count == ends->room) {
        size_t room = ends->room * 2 + 64;
        size_t *items = realloc(ends->items, room * sizeof *items);
        if (items == NULL)
            return slip_fail(SLIP_ERR_FAILED, "out of memory for %zu pieces of text", room);
        ends->items = items;
        ends->room = room;
    }
    ends->items[ends->count++] = end;
    return SLIP_OK;
}

static slip_status cut_all(const subject *in, cuts *ends)
{
    slip_status status = SLIP_OK;
    for (size_t at = 0; at < in->size && status == SLIP_OK;) {
        int found = match(in, at);
        if (found == PCRE2_ERROR_NOMATCH)
            return add_cut(ends, in->size);
        const size_t *range = pcre2_get_ovector_pointer(in->data);
        /* \K may move the start of a match about; then it is no cut that moves on. */
        if (found < 0 || range[0] < at || range[1] <= range[0])
            return slip_fail(SLIP_ERR_INPUT, "the tokenizer's regular expression gives up (%d) at byte %zu of %zu", found, at, in->size);
        if (range[0] > at)
            status = add_cut(ends, range[0]);
        if (status == SLIP_OK)
            status = add_cut(ends, range[1]);
        at = range[1];
    }
    return status;
}

slip_status slip_splitter_cut(const slip_splitter *splitter, const char *text, size_t size, size_t **ends, size_t *count)
{
    slip_status status;
    cuts made = {0};
    const size_t steps = size < (UINT32_MAX - STEPS) / STEPS_PER_BYTE ? STEPS + size * STEPS_PER_BYTE : UINT32_MAX;
    const subject in = {splitter->code, pcre2_match_data_create(1, NULL), pcre2_match_context_create(NULL), (PCRE2_SPTR)text, size};
    if (in.data != NULL && in.limits != NULL) {
        pcre2_set_match_limit(in.limits, (uint32_t)steps);
        status = cut_all(&in, &made);
    } else {
        status = slip_fail(SLIP_ERR_FAILED, "out of memory for the pre-tokenizer");
    }
    pcre2_match_data_free(in.data);
    pcre2_match_context_free(in.limits);
    if (status != SLIP_OK) {
        free(made.items);
        return status;
    }
    *ends = made.items;
    *count = made.count;
    return SLIP_OK;
}
