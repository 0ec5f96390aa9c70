/* How alike two names are. Private to io/openai. */
#ifndef SLIP_IO_OPENAI_REQUEST_NAMES_H
#define SLIP_IO_OPENAI_REQUEST_NAMES_H

/* Slips of the pen between two names: letters left out, put in, changed or swapped with their neighbour; case, '_', '-'
 * and space do not count ("maxTokens" is max_tokens). -1 when more than one letter in four differs. */
int slip_name_distance(const char *name, const char *other);

#endif
