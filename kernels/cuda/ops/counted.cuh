/* Sums that do not depend on the order of their terms: integers, which count the terms that they have (SLIP_COUNTED_BITS). */
#pragma once

#include "kernels/cuda/sync/context.cuh"

namespace slip {

// A term of a counted sum. Not a number counts as the largest negative term.
__device__ __forceinline__ uint64_t counted_term(float x)
{
    const float most = SLIP_COUNTED_LARGEST, term = fminf(fmaxf(x, -most), most);
    const long long fixed = __double2ll_rn((double)term * (double)(1ull << SLIP_COUNTED_BITS));
    return (uint64_t)fixed * 256 + 1;
}

// Adds one term, or the sum of some.
__device__ __forceinline__ void count_terms(uint64_t *sum, uint64_t terms)
{
    asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(sum), "l"(terms) : "memory");
}

// A token's terms of rows g and g + 8. Apart, and by value: not in the way of the other products.
static __device__ __noinline__ void count_two(uint64_t *to, float one, float two)
{
    count_terms(to, counted_term(one));
    count_terms(to + 8, counted_term(two));
}

} // namespace slip
