/* UTF-8 that may be broken: what can never become a character turns into U+FFFD, one for each maximal ill-formed
 * part (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts"), as Python's errors="replace" does.
 */
#ifndef SLIP_IO_BASE_UTF8_H
#define SLIP_IO_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"

/* How many of the first bytes of `text` are well-formed UTF-8 made of whole characters. */
size_t slip_utf8_valid(const char *text, size_t size);

/* A well-formed copy of `text` (malloc'ed, the caller frees it), its broken parts replaced. SLIP_ERR_FAILED:
 * memory. */
slip_status slip_utf8_repair(const char *text, size_t size, char **repaired, size_t *repaired_size);

/* Write code point `c` (a scalar value) as UTF-8; returns its size, 1 to 4. */
size_t slip_utf8_put(uint32_t c, char out[4]);

/* Read the code point at the head of `text`, which is well-formed and not empty; *c is it, returns its size. */
size_t slip_utf8_get(const char *text, uint32_t *c);

/* Decode a stream: push bytes of tokens, receive only whole UTF-8 characters; bytes that can never become one turn into
 * U+FFFD as Python's incremental UTF-8 decoder with errors="replace" does (which waits a byte longer on half a
 * surrogate, for the same text in the end). Plain data: zero it to start. */
typedef struct {
    unsigned char held[4]; /* the first bytes of a character still to be finished */
    int32_t held_size;
} slip_utf8_stream;

/* Room a push of `size` bytes may need in `out`: each byte and each held byte can become a 3-byte U+FFFD. */
#define SLIP_UTF8_ROOM(size) (3 * ((size_t)(size) + 4))

/* Push bytes; whole characters go to out[0 .. *written). `out` has SLIP_UTF8_ROOM(size) bytes. */
void slip_utf8_push(slip_utf8_stream *stream, const char *bytes, size_t size, char *out, size_t *written);

/* End of the stream: held bytes become one U+FFFD. `out` has SLIP_UTF8_ROOM(0) bytes. */
void slip_utf8_finish(slip_utf8_stream *stream, char *out, size_t *written);

#endif
