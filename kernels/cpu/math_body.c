/* Compiled once an instruction set; SLIP_MATH names the table that this compilation fills, SLIP_TILE how many tokens share
 * one decoded block (registers permitting). Neither changes a result. */
#include <math.h>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/product.h"

#define STRING(x) #x
#define NAME_OF(x) STRING(x)

#define EACH_DTYPE(CASE) CASE(SLIP_F32) CASE(SLIP_BF16) CASE(SLIP_F8E4M3) CASE(SLIP_MXFP4)

/* Wide tiles first: a token goes through the same operations in each. Experts often get one to three. */
#define TILE(size, GROUPS, SIDE, dtype, ...) \
    for (; (size) <= SLIP_TILE && t + (size) <= tokens; t += (size)) \
    ROWS(GROUPS, SIDE, dtype, size, w, __VA_ARGS__)

#define EACH_TILE(GROUPS, SIDE, dtype, ...) \
    case dtype: \
        TILE(8, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(4, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(3, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(2, GROUPS, SIDE, dtype, __VA_ARGS__); \
        TILE(1, GROUPS, SIDE, dtype, __VA_ARGS__); \
        break;

static void linear(const slip_matrix *w, int64_t expert, const float *const *x, int32_t tokens, float *const *y)
{
    int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) EACH_TILE(groups_linear, SIDE_BY_SIDE, dtype, x + t, y + t)
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

static void linear_partial(const slip_matrix *w, int64_t expert, const float *const *x, const float *gain, int32_t tokens, double *const *y)
{
    int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) EACH_TILE(groups_partial, SIDE_BY_SIDE, dtype, x + t, gain + t, y + t)
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

static void linear_exact(const slip_matrix *w, int64_t expert, const double *const *x, const float *gain, int32_t tokens, double *const *y)
{
    int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) EACH_TILE(groups_exact, ONE_BY_ONE, dtype, x + t, gain + t, y + t)
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

/* ---- the rest of a layer ---- */

static void norm(const float *x, const float *weight, int64_t columns, float epsilon, float *out)
{
    vf squares[SLIP_SPLIT] = {0};
    for (int64_t c = 0; c < columns; c += 16)
        for (int h = 0; h < SLIP_SPLIT; h++) {
            vf v = load_lanes(x + c + h * SLIP_LANES);
            squares[h] = multiply_add(v, v, squares[h]);
        }
    float scale = 1.0f / sqrtf(sum16(squares) / (float)columns + epsilon);
    for (int64_t c = 0; c < columns; c++)
        out[c] = weight[c] * (x[c] * scale);
}

SLIP_INLINE vf silu(vf gate)
{
    return gate / (1.0f + exp_lanes(-gate));
}

static void swiglu(const float *gate, const float *up, int64_t count, float *act)
{
    int64_t whole = count / SLIP_LANES * SLIP_LANES, padded = slip_padded(count);
    for (int64_t i = 0; i < whole; i += SLIP_LANES)
        store_lanes(act + i, silu(load_lanes(gate + i)) * load_lanes(up + i));
    if (whole < count) {
        float g[SLIP_LANES] = {0}, u[SLIP_LANES] = {0};
        memcpy(g, gate + whole, (size_t)(count - whole) * sizeof *g);
        memcpy(u, up + whole, (size_t)(count - whole) * sizeof *u);
        store_lanes(act + whole, silu(load_lanes(g)) * load_lanes(u));
    }
    for (int64_t i = count; i < padded; i++)
        act[i] = 0;
}

const slip_math SLIP_MATH = {
    .name = NAME_OF(SLIP_MATH),
    .linear = linear,
    .linear_partial = linear_partial,
    .linear_exact = linear_exact,
    .norm = norm,
    .swiglu = swiglu,
    .attend = attend,
};
