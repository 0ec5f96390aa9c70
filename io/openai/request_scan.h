/* The members of a JSON object, found without judging their values: a line that a strict parser refuses still shows its
 * name, and a fault is known by the member it lies in. Private to io/openai.
 */
#ifndef SLIP_IO_OPENAI_REQUEST_SCAN_H
#define SLIP_IO_OPENAI_REQUEST_SCAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Spelled as they are in the text: the key with its quotes, the value without the space around it. */
typedef struct {
    const char *key, *value;
    size_t key_size, value_size;
} slip_member;

typedef struct {
    const char *at, *end; /* what has not been read */
    bool begun, broken;
    slip_member broken_in; /* the member that does not end; key NULL where it is none */
} slip_scan;

void slip_scan_start(slip_scan *scan, const char *text, size_t size);

/* The next member; false behind the last one, or, with scan->broken, where no member can be told. Every text that JSON
 * allows as an object is read to its end. */
bool slip_scan_next(slip_scan *scan, slip_member *member);

/* Is nothing but space left? */
bool slip_scan_at_end(const slip_scan *scan);

/* The key as text: a new JSON string, NULL where it is none (bad escapes, bad UTF-8, U+0000) or memory fails. */
json_t *slip_member_key(const slip_member *member);

/* Is this the key? */
bool slip_member_is(const slip_member *member, const char *name);

/* The value: a new reference, NULL with *error set where jansson refuses it. */
json_t *slip_member_value(const slip_member *member, json_error_t *error);

#endif
