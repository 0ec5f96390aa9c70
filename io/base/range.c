#include "io/base/range.h"

#include <float.h>
#include <stdio.h>

const char *slip_range_words(bool whole, double low, double high, char words[SLIP_RANGE_WORDS])
{
    const char *kind = whole ? "an integer" : "a number";
    if (low == DBL_MIN)
        snprintf(words, SLIP_RANGE_WORDS, "%s above 0, up to %.16g", kind, high);
    else
        snprintf(words, SLIP_RANGE_WORDS, "%s from %.16g to %.16g", kind, low, high);
    return words;
}
