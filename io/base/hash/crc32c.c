#include "io/base/hash/crc32c.h"

#include <stdbool.h>
#include <string.h>

#if defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

enum { LANES = 3, LANE = 4096 }; /* the instruction takes 3 cycles and begins every cycle: three runs at once keep it busy */

/* ---- by table ---- */

static uint32_t step(uint32_t crc, unsigned char byte)
{
    static const uint32_t reversed_polynomial = 0x82f63b78;
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++)
        crc = crc >> 1 ^ (crc & 1 ? reversed_polynomial : 0);
    return crc;
}

uint32_t slip_crc32c_portable(uint32_t before, const void *data, size_t size)
{
    uint32_t crc = ~before, table[256];
    const unsigned char *bytes = data;
    for (int i = 0; i < 256; i++)
        table[i] = step(0, (unsigned char)i);
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 255];
    return ~crc;
}

/* ---- by instruction ---- */

#if defined(__x86_64__)
#define HARDWARE __attribute__((target("sse4.2")))
#define CRC_64(crc, word) (uint32_t) __builtin_ia32_crc32di(crc, word)
#define CRC_8(crc, byte) __builtin_ia32_crc32qi(crc, byte)
static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#define HARDWARE
#define CRC_64(crc, word) __crc32cd(crc, word)
#define CRC_8(crc, byte) __crc32cb(crc, byte)
static bool has_instruction(void)
{
    return true;
}
#endif

#ifdef HARDWARE

/* table[k][b]: what byte k of a state, b, becomes when LANE zeros follow it. */
typedef struct {
    uint32_t byte[4][256];
} shift;

HARDWARE static uint32_t run(uint32_t crc, const unsigned char *bytes, size_t size)
{
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        crc = CRC_64(crc, word);
    }
    for (; size > 0; bytes++, size--)
        crc = CRC_8(crc, *bytes);
    return crc;
}

/* A state's bits are independent of each other, so that four look-ups move it over LANE bytes. */
HARDWARE static void fill(shift *zeros)
{
    static const unsigned char nothing[LANE];
    for (int k = 0; k < 4; k++)
        for (uint32_t b = 0; b < 256; b++)
            zeros->byte[k][b] = run(b << (8 * k), nothing, LANE);
}

static uint32_t move(const shift *zeros, uint32_t crc)
{
    return zeros->byte[0][crc & 255] ^ zeros->byte[1][crc >> 8 & 255] ^ zeros->byte[2][crc >> 16 & 255] ^ zeros->byte[3][crc >> 24];
}

HARDWARE static uint32_t run_lanes(const shift *zeros, uint32_t crc, const unsigned char *bytes)
{
    uint32_t second = 0, third = 0;
    for (size_t i = 0; i < LANE; i += 8) {
        uint64_t words[LANES];
        for (int lane = 0; lane < LANES; lane++)
            memcpy(&words[lane], bytes + lane * LANE + i, 8);
        crc = CRC_64(crc, words[0]);
        second = CRC_64(second, words[1]);
        third = CRC_64(third, words[2]);
    }
    return move(zeros, move(zeros, crc) ^ second) ^ third;
}

static uint32_t by_instruction(uint32_t before, const void *data, size_t size)
{
    static _Thread_local shift zeros;
    static _Thread_local bool ready;
    const unsigned char *bytes = data;
    uint32_t crc = ~before;
    if (!ready)
        fill(&zeros);
    ready = true;
    for (; size >= LANES * LANE; bytes += LANES * LANE, size -= LANES * LANE)
        crc = run_lanes(&zeros, crc, bytes);
    return ~run(crc, bytes, size);
}

uint32_t slip_crc32c_more(uint32_t crc, const void *data, size_t size)
{
    return has_instruction() ? by_instruction(crc, data, size) : slip_crc32c_portable(crc, data, size);
}

#else

uint32_t slip_crc32c_more(uint32_t crc, const void *data, size_t size)
{
    return slip_crc32c_portable(crc, data, size);
}

#endif

uint32_t slip_crc32c(const void *data, size_t size)
{
    return slip_crc32c_more(0, data, size);
}
