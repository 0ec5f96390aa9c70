/* A number's range in words, for messages: "an integer from 1 to 8", "a number above 0, up to 1". */
#ifndef SLIP_IO_BASE_RANGE_H
#define SLIP_IO_BASE_RANGE_H

#include <stdbool.h>

enum { SLIP_RANGE_WORDS = 96 };

/* Both ends belong to it; a lowest of DBL_MIN reads as "above 0". Returns `words`. */
const char *slip_range_words(bool whole, double low, double high, char words[SLIP_RANGE_WORDS]);

#endif
