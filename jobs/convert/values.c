#include "jobs/convert/values.h"

#include <stdbool.h>
#include <string.h>

#include "ranks/model/dtype.h"
#include "ranks/model/mxfp4.h"

enum { BLOCK = 4096 }; /* values looked through before anybody asks where: the compiler makes vectors of that */

/* All bits of `mask` set: the exponent that means NaN or infinity; in E4M3, the whole code but its sign. */
#define HAS_BAD(name, type) \
    static bool name(const char *bytes, int64_t count, type mask) \
    { \
        unsigned found = 0; \
        for (int64_t i = 0; i < count; i++) { \
            type value; \
            memcpy(&value, bytes + i * (int64_t)sizeof value, sizeof value); \
            found |= (value & mask) == mask; \
        } \
        return found != 0; \
    }
HAS_BAD(has_bad_8, uint8_t)
HAS_BAD(has_bad_16, uint16_t)
HAS_BAD(has_bad_32, uint32_t)

static bool has_bad(int size, const char *bytes, int64_t count, uint32_t mask)
{
    switch (size) {
    case 1: return has_bad_8(bytes, count, (uint8_t)mask);
    case 2: return has_bad_16(bytes, count, (uint16_t)mask);
    default: return has_bad_32(bytes, count, mask);
    }
}

static int64_t find(int size, const void *values, int64_t count, uint32_t mask)
{
    const char *bytes = values;
    for (int64_t first = 0; first < count; first += BLOCK) {
        int64_t here = count - first < BLOCK ? count - first : BLOCK;
        if (!has_bad(size, bytes + first * size, here, mask))
            continue;
        while (!has_bad(size, bytes + first * size, 1, mask))
            first++;
        return first;
    }
    return -1;
}

int64_t slip_values_find_bad(slip_st_dtype dtype, const void *values, int64_t count)
{
    switch (dtype) {
    case SLIP_ST_F32: return find(4, values, count, 0x7f800000);
    case SLIP_ST_BF16: return find(2, values, count, 0x7f80);
    case SLIP_ST_F16: return find(2, values, count, 0x7c00);
    case SLIP_ST_F8E4M3: return find(1, values, count, 0x7f);
    case SLIP_ST_U8:
    case SLIP_ST_F8E8M0:
    case SLIP_ST_OTHER: break;
    }
    return -1;
}

int64_t slip_values_find_bad_e8m0(const void *scales, int64_t count)
{
    return find(1, scales, count, SLIP_E8M0_NAN);
}

int64_t slip_values_find_bad_scale(const float *scales, int64_t count)
{
    static const float highest = 65504.0f / 448.0f;
    int64_t i = 0;
    while (i < count && scales[i] >= 0 && scales[i] <= highest)
        i++;
    return i < count ? i : -1;
}

static bool is_zero(const uint8_t *codes, int64_t rows, int64_t width, int64_t columns)
{
    unsigned found = 0;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < width; i++)
            found |= codes[row * columns + i] & 0x7f;
    return found == 0;
}

static int64_t at_most_block(int64_t left)
{
    return left < SLIP_F8_BLOCK ? left : SLIP_F8_BLOCK;
}

int64_t slip_values_find_lost_block(const uint8_t *codes, int64_t chunks, int64_t rows, int64_t columns, const float *scales)
{
    int64_t down = slip_f8_blocks(rows), across = slip_f8_blocks(columns);
    for (int64_t i = 0; i < chunks * down * across; i++) {
        int64_t row = i / across % down * SLIP_F8_BLOCK, column = i % across * SLIP_F8_BLOCK;
        const uint8_t *block = codes + (i / across / down * rows + row) * columns + column;
        if (scales[i] == 0 && !is_zero(block, at_most_block(rows - row), at_most_block(columns - column), columns))
            return i;
    }
    return -1;
}
