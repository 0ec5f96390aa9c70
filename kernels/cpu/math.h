/* The arithmetic of the CPU executor, compiled once for each instruction set (baseline, AVX2, AVX-512) and chosen when the
 * program starts. Every function computes each token on its own, in one fixed order of operations: the result of a token
 * does not depend on the others in the step.
 */
#ifndef SLIP_KERNELS_CPU_MATH_H
#define SLIP_KERNELS_CPU_MATH_H

#include "kernels/cpu/matrix.h"

/* The keys and values of one sequence in one layer. */
typedef struct {
    const float *k; /* [slots, kv_heads, padded head_dim] */
    const float *v; /* [slots, kv_heads, padded v_head_dim] */
    int64_t slots;  /* position p lies in slot p % slots */
    int32_t kv_heads;
    int64_t k_width, v_width; /* padded dims */
} slip_cache_view;

enum { SLIP_QUERIES = 16 }; /* that go through the keys together, at most */

/* One query head, and what becomes of it. */
typedef struct {
    const float *q;      /* [padded head_dim], zeros beyond */
    int64_t first, last; /* positions of its keys */
    const float *sink;   /* joins the denominator; NULL: none */
    float *score;        /* scratch of last - first + 1 + 16 */
    float *sum;          /* scratch of padded v_head_dim */
    float *out;          /* [v_head_dim] */
} slip_query;

typedef struct {
    const char *name;

    /* y[t][row] = sum over columns of w[row][c] * x[t][c], t in [0, tokens). x[t]: padded columns, zeros beyond. f32 throughout. */
    void (*linear)(const slip_matrix *w, int64_t expert, const float *const *x, int32_t tokens, float *const *y);

    /* y[t][row] += gain[t] * the same sum, for sums that go on across ranks and experts: f32 within 32 columns, f64 beyond.
     * The total over ranks rounds to the same f32 wherever the columns are cut at multiples of 32. */
    void (*linear_partial)(const slip_matrix *w, int64_t expert, const float *const *x, const float *gain, int32_t tokens,
                           double *const *y);

    /* The same for columns that are cut anywhere: f64 throughout, at half the speed. */
    void (*linear_exact)(const slip_matrix *w, int64_t expert, const double *const *x, const float *gain, int32_t tokens, double *const *y);

    /* out[c] = x[c] * rsqrt(mean of x^2 + epsilon) * weight[c]; in place allowed; x padded with zeros. */
    void (*norm)(const float *x, const float *weight, int64_t columns, float epsilon, float *out);

    /* act[i] = silu(gate[i]) * up[i]; zeros up to whole blocks. `act` may not overlap. */
    void (*swiglu)(const float *gate, const float *up, int64_t count, float *act);

    /* At most SLIP_QUERIES query heads that share a K/V head: out = softmax(q.k / sqrt(head_dim)) v over each one's own keys. */
    void (*attend)(const slip_cache_view *cache, int32_t kv_head, const slip_query *queries, int32_t count, int32_t head_dim,
                   int32_t v_head_dim);
} slip_math;

/* The best that this processor runs. */
const slip_math *slip_math_best(void);

/* All that this processor runs, for tests; returns how many (at most 3). */
int slip_math_all(const slip_math *table[3]);

#endif
