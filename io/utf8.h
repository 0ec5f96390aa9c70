/* UTF-8 that may be broken: what can never become a character turns into U+FFFD, one for each maximal ill-formed
 * part (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts"), as Python's errors="replace" does.
 *
 * The stream form, slip_utf8_push(), is declared in io/tokenizer.h, whose users decode with it.
 */
#ifndef SLIP_IO_UTF8_H
#define SLIP_IO_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* How many of the first bytes of `text` are well-formed UTF-8 made of whole characters. */
size_t slip_utf8_valid(const char *text, size_t size);

/* A well-formed copy of `text` (malloc'ed, the caller frees it), its broken parts replaced. SLIP_ERR_FAILED:
 * memory. */
slip_status slip_utf8_repair(const char *text, size_t size, char **repaired, size_t *repaired_size);

/* Write code point `c` (a scalar value) as UTF-8; returns its size, 1 to 4. */
size_t slip_utf8_put(uint32_t c, char out[4]);

/* Read the code point at the head of `text`, which is well-formed and not empty; *c is it, returns its size. */
size_t slip_utf8_get(const char *text, uint32_t *c);

#endif
