/* The stream ceiling: how fast this process reads memory, over a buffer beyond the caches. */
#include <stdlib.h>

#include "io/base/clock.h"
#include "kernels/cpu/state.h"

double slip_cpu_ceiling(slip_executor *executor)
{
    enum { BYTES = 128 << 20, WORDS = BYTES / 8, PASSES = 3 };
    (void)executor;
    uint64_t *words = malloc(BYTES);
    double best = 0;
    if (!words)
        return 0;
    for (size_t i = 0; i < WORDS; i++)
        words[i] = i;
    volatile uint64_t sink = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double start = slip_now_s();
        uint64_t sum[8] = {0};
        for (size_t i = 0; i < WORDS; i += 8)
            for (int lane = 0; lane < 8; lane++)
                sum[lane] += words[i + (size_t)lane];
        for (int lane = 0; lane < 8; lane++)
            sink += sum[lane];
        double rate = BYTES / (slip_now_s() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    (void)sink;
    free(words);
    return best;
}
