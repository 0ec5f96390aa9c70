#include "kernels/cpu/math.h"

#ifdef SLIP_X86_VARIANTS
#include <cpuid.h>
#endif

extern const slip_math slip_math_baseline, slip_math_avx2, slip_math_avx512;

#ifdef SLIP_X86_VARIANTS
/* clang 14's __builtin_cpu_supports() does not know this name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

int slip_math_all(const slip_math *table[3])
{
    int count = 0;
#ifdef SLIP_X86_VARIANTS
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        table[count++] = &slip_math_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        table[count++] = &slip_math_avx2;
#endif
    table[count++] = &slip_math_baseline;
    return count;
}

const slip_math *slip_math_best(void)
{
    const slip_math *table[3];
    slip_math_all(table);
    return table[0];
}
