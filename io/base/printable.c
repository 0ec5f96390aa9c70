#include "io/base/printable.h"

#include <stdbool.h>
#include <string.h>

#include "io/base/utf8.h"

static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || c == 0x061c || c == 0xfeff;
}

void slip_make_printable(char *text)
{
    size_t left = strlen(text), step;
    for (; left > 0; text += step, left -= step) {
        uint32_t c = 0;
        bool whole = slip_utf8_valid(text, left < 4 ? left : 4) > 0;
        step = whole ? slip_utf8_get(text, &c) : 1;
        if (!whole || is_unsafe(c))
            memset(text, '?', step);
    }
}
