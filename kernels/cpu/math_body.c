/* Compiled once an instruction set; SLIP_MATH names the table that this compilation fills, SLIP_TILE how many tokens share
 * one decoded block (registers permitting). Neither changes a result. */
#include <math.h>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/product.h"

#define STRING(x) #x
#define NAME_OF(x) STRING(x)

#define EACH_DTYPE(CASE) CASE(SLIP_F32) CASE(SLIP_BF16) CASE(SLIP_F8E4M3) CASE(SLIP_MXFP4)

/* Experts often get one to three tokens. Many tokens meet a group of rows while it is in the first cache. */
#define FEW(STRIP_OF, dtype, few, Y) \
    if (SIDE(few) > 1 && tokens == (few)) \
        ROWS_FEW(STRIP_OF, dtype, few, w, first, x, Y(0)); \
    else
#define EACH_STRIP(STRIP_OF, dtype, Y) \
    case dtype: \
        FEW(STRIP_OF, dtype, 1, Y) \
        FEW(STRIP_OF, dtype, 2, Y) \
        FEW(STRIP_OF, dtype, 3, Y) \
        FEW(STRIP_OF, dtype, 4, Y) \
        for (int64_t group = 0; group < w->groups; group++) \
            for (int32_t t = 0; t < tokens; t += TOKENS) \
                STRIP_OF(dtype, 1, tokens - t < TOKENS ? tokens - t : TOKENS, w, first, group, x + t, Y(t)); \
        break;

static void linear(const slip_matrix *w, int64_t expert, const float *const *x, int32_t tokens, float *const *y)
{
    const int64_t first = expert * w->groups;
    switch (w->dtype) {
#define TO(t) y + (t)
#define CASE(dtype) EACH_STRIP(strip_linear, dtype, TO)
        EACH_DTYPE(CASE)
#undef CASE
#undef TO
    case SLIP_DTYPES: break;
    }
}

static void linear_partial(const slip_matrix *w, int64_t expert, const float *const *x, const float *gain, int32_t tokens, double *const *y)
{
    const int64_t first = expert * w->groups;
    switch (w->dtype) {
#define TO(t) gain + (t), y + (t)
#define CASE(dtype) EACH_STRIP(strip_partial, dtype, TO)
        EACH_DTYPE(CASE)
#undef CASE
#undef TO
    case SLIP_DTYPES: break;
    }
}

static void linear_exact(const slip_matrix *w, int64_t expert, const double *const *x, const float *gain, int32_t tokens, double *const *y)
{
    const int64_t first = expert * w->groups;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype) \
    case dtype: \
        t = rows_exact(dtype, 8, w, first, x, gain, t, tokens, y); \
        t = rows_exact(dtype, 4, w, first, x, gain, t, tokens, y); \
        t = rows_exact(dtype, 3, w, first, x, gain, t, tokens, y); \
        t = rows_exact(dtype, 2, w, first, x, gain, t, tokens, y); \
        rows_exact(dtype, 1, w, first, x, gain, t, tokens, y); \
        break;
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
