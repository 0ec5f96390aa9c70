/* Text from files, arguments and other programs, made safe for a terminal and for one line of a log. */
#ifndef SLIP_IO_BASE_PRINTABLE_H
#define SLIP_IO_BASE_PRINTABLE_H

/* Put '?' in place of every byte of `text` that could move the cursor, end the line, colour, ring, or turn the direction of
 * writing: control characters of ASCII and of Unicode (C1, bidirectional marks, line and paragraph separators), and bytes
 * that are not UTF-8. In place; the length stays. */
void slip_make_printable(char *text);

#endif
