/* The pre-tokenizer: cuts text into the pieces within which byte pairs may merge, by the regular expression
 * that tokenizer.json carries. Each match is a piece, and so is each gap between matches ("Isolated").
 *
 * The expression was written for Oniguruma; PCRE2 reads it with UTF and UCP. What Qwen2's and GPT-2's use is the
 * same in both but for U+180E, which PCRE2's \s takes for a space and Unicode (since 6.3) does not: \s and \S are
 * spelled out. \w, which neither uses, leaves out combining marks in PCRE2.
 */
#ifndef SLIP_IO_TEXT_SPLIT_H
#define SLIP_IO_TEXT_SPLIT_H

#include <stddef.h>

#include "io/base/status.h"

typedef struct slip_splitter slip_splitter;

/* The expression of GPT-2, which ByteLevel's use_regex = true stands for. */
extern const char SLIP_SPLIT_GPT2[];

/* Compile a NUL-terminated expression; `source` and `field` name it in errors. SLIP_ERR_INPUT: not an expression,
 * longer than 4,096 bytes, or one that matches the empty string. The caller frees *splitter. */
slip_status slip_splitter_create(const char *expression, const char *source, const char *field, slip_splitter **splitter);
void slip_splitter_free(slip_splitter *splitter);

/* Cut well-formed UTF-8: piece i is text[ends[i - 1] .. ends[i]), the first one begins at 0, the last one ends
 * at `size`. *ends (malloc'ed, the caller frees it) and *count. SLIP_ERR_INPUT: the expression needs more than
 * its limit of backtracking on this text; SLIP_ERR_FAILED: out of memory. */
slip_status slip_splitter_cut(const slip_splitter *splitter, const char *text, size_t size, size_t **ends, size_t *count);

#endif
