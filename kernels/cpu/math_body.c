/* Compiled once an instruction set; SLIP_MATH names the table that this compilation fills, SLIP_TILE how many tokens share
 * one decoded block (registers permitting). Neither changes a result. */
#include <math.h>

#include "kernels/cpu/math.h"
#include "kernels/cpu/vector.h"

#define STRING(x) #x
#define NAME_OF(x) STRING(x)

/* ---- one block of 32 weights as floats ---- */

typedef struct {
    v16f a, b; /* columns 0..15 and 16..31 */
} block;

SLIP_INLINE v16f as_float(v16u bits)
{
    v16f v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

SLIP_INLINE block decode_bf16(const unsigned char *data)
{
    v16h low, high;
    memcpy(&low, data, sizeof low);
    memcpy(&high, data + 32, sizeof high);
    return (block){as_float(__builtin_convertvector(low, v16u) << 16), as_float(__builtin_convertvector(high, v16u) << 16)};
}

/* E4M3 bits moved into a float's fields are the value times 2^-120, subnormals included. */
SLIP_INLINE v16f decode_f8_half(const unsigned char *data)
{
    v16b bytes;
    memcpy(&bytes, data, sizeof bytes);
    v16u code = __builtin_convertvector(bytes, v16u);
    return as_float((code & 0x80) << 24 | (code & 0x7f) << 20) * 0x1p120f;
}

/* A table lookup of doubled values: E2M1 in halves, exact in int8. */
SLIP_INLINE v16f decode_fp4_half(v16b code)
{
    const v16c twice = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    v16c value = __builtin_shuffle(twice, (v16c)code);
    return __builtin_convertvector(__builtin_convertvector(value, v16i), v16f);
}

/* 2^(byte - 127) / 2, the half for the doubled table. 2^-128 needs a subnormal. */
SLIP_INLINE float half_e8m0(unsigned char byte)
{
    uint32_t bits = byte >= 2 ? (uint32_t)(byte - 1) << 23 : (uint32_t)0x200000 << byte;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

SLIP_INLINE block decode_mxfp4(const unsigned char *data, unsigned char scale)
{
    v16b bytes;
    memcpy(&bytes, data, sizeof bytes);
    float half = half_e8m0(scale);
    return (block){decode_fp4_half(bytes & 15) * half, decode_fp4_half(bytes >> 4) * half};
}

SLIP_INLINE block decode(slip_dtype dtype, const slip_matrix *w, int64_t row, int64_t b)
{
    const unsigned char *data = w->data + (size_t)row * w->row_bytes;
    switch (dtype) {
    case SLIP_F32: {
        const float *f = (const float *)data + b * SLIP_BLOCK;
        return (block){load16(f), load16(f + 16)};
    }
    case SLIP_BF16: return decode_bf16(data + 64 * b);
    case SLIP_F8E4M3: {
        float scale = w->scale_f32[row * w->blocks + b];
        return (block){decode_f8_half(data + 32 * b) * scale, decode_f8_half(data + 32 * b + 16) * scale};
    }
    default: return decode_mxfp4(data + 16 * b, w->scale_e8m0[row * w->blocks + b]);
    }
}

/* ---- matrix times tokens ---- */

/* `dtype` and `tokens` are constants where this is inlined: the switch folds, the accumulators live in registers. */
SLIP_INLINE void row_linear(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t row, const float *const *x, float *sums)
{
    v16f acc[SLIP_TILE];
    for (int t = 0; t < tokens; t++)
        acc[t] = splat16(0);
    for (int64_t b = 0; b < w->blocks; b++) {
        block k = decode(dtype, w, row, b);
        for (int t = 0; t < tokens; t++) {
            acc[t] = k.a * load16(x[t] + b * SLIP_BLOCK) + acc[t];
            acc[t] = k.b * load16(x[t] + b * SLIP_BLOCK + 16) + acc[t];
        }
    }
    for (int t = 0; t < tokens; t++)
        sums[t] = sum16(acc[t]);
}

typedef struct {
    v8d low, high;
} wide;

SLIP_INLINE wide widen(v16f v)
{
    return (wide){widen8(low8(v)), widen8(high8(v))};
}

/* Products of two f32 are exact in f64, and a sum of thousands loses nothing that f32 would show: wherever the columns are cut
 * between ranks, the total rounds to the same f32. */
SLIP_INLINE void row_partial(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t row, const float *const *x, double *sums)
{
    v8d acc[SLIP_TILE];
    for (int t = 0; t < tokens; t++)
        acc[t] = (v8d){0};
    for (int64_t b = 0; b < w->blocks; b++) {
        block k = decode(dtype, w, row, b);
        wide a = widen(k.a), c = widen(k.b);
        for (int t = 0; t < tokens; t++) {
            const float *columns = x[t] + b * SLIP_BLOCK;
            acc[t] = a.low * widen8(load8(columns)) + acc[t];
            acc[t] = a.high * widen8(load8(columns + 8)) + acc[t];
            acc[t] = c.low * widen8(load8(columns + 16)) + acc[t];
            acc[t] = c.high * widen8(load8(columns + 24)) + acc[t];
        }
    }
    for (int t = 0; t < tokens; t++)
        sums[t] = sum8d(acc[t]);
}

/* All rows for `tokens` <= SLIP_TILE tokens. */
SLIP_INLINE void tile_linear(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t first, const float *const *x, float *const *y)
{
    float sums[SLIP_TILE];
    for (int64_t row = 0; row < w->rows; row++) {
        row_linear(dtype, tokens, w, first + row, x, sums);
        for (int t = 0; t < tokens; t++)
            y[t][row] = sums[t];
    }
}

SLIP_INLINE void tile_partial(slip_dtype dtype, int tokens, const slip_matrix *w, int64_t first, const float *const *x,
                              const float *gain, double *const *y)
{
    double sums[SLIP_TILE];
    for (int64_t row = 0; row < w->rows; row++) {
        row_partial(dtype, tokens, w, first + row, x, sums);
        for (int t = 0; t < tokens; t++)
            y[t][row] += (double)gain[t] * sums[t];
    }
}

#define EACH_DTYPE(CASE) CASE(SLIP_F32) CASE(SLIP_BF16) CASE(SLIP_F8E4M3) CASE(SLIP_MXFP4)

/* Full tiles, then single tokens: a token goes through the same operations in either. */
static void linear(const slip_matrix *w, int64_t expert, const float *const *x, int32_t tokens, float *const *y)
{
    int64_t first = expert * w->rows;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype)                                                    \
    case dtype:                                                        \
        for (; t + SLIP_TILE <= tokens; t += SLIP_TILE)                \
            tile_linear(dtype, SLIP_TILE, w, first, x + t, y + t);     \
        for (; t + SLIP_TILE / 2 <= tokens; t += SLIP_TILE / 2)        \
            tile_linear(dtype, SLIP_TILE / 2, w, first, x + t, y + t); \
        for (; t < tokens; t++)                                        \
            tile_linear(dtype, 1, w, first, x + t, y + t);             \
        break;
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

static void linear_partial(const slip_matrix *w, int64_t expert, const float *const *x, const float *gain, int32_t tokens,
                           double *const *y)
{
    int64_t first = expert * w->rows;
    int32_t t = 0;
    switch (w->dtype) {
#define CASE(dtype)                                                               \
    case dtype:                                                                   \
        for (; t + SLIP_TILE <= tokens; t += SLIP_TILE)                           \
            tile_partial(dtype, SLIP_TILE, w, first, x + t, gain + t, y + t);     \
        for (; t + SLIP_TILE / 2 <= tokens; t += SLIP_TILE / 2)                   \
            tile_partial(dtype, SLIP_TILE / 2, w, first, x + t, gain + t, y + t); \
        for (; t < tokens; t++)                                                   \
            tile_partial(dtype, 1, w, first, x + t, gain + t, y + t);             \
        break;
        EACH_DTYPE(CASE)
#undef CASE
    case SLIP_DTYPES: break;
    }
}

/* ---- the rest of a layer ---- */

static void norm(const float *x, const float *weight, int64_t columns, float epsilon, float *out)
{
    v16f squares = splat16(0);
    for (int64_t c = 0; c < columns; c += 16) {
        v16f v = load16(x + c);
        squares = v * v + squares;
    }
    float scale = 1.0f / sqrtf(sum16(squares) / (float)columns + epsilon);
    for (int64_t c = 0; c < columns; c++)
        out[c] = weight[c] * (x[c] * scale);
}

static void swiglu(const float *gate, const float *up, int64_t count, float *act)
{
    int64_t whole = count / 16 * 16, padded = slip_padded(count);
    for (int64_t i = 0; i < whole; i += 16) {
        v16f g = load16(gate + i);
        store16(act + i, g / (1.0f + exp16(-g)) * load16(up + i));
    }
    if (whole < count) {
        float g[16] = {0}, u[16] = {0};
        memcpy(g, gate + whole, (size_t)(count - whole) * sizeof *g);
        memcpy(u, up + whole, (size_t)(count - whole) * sizeof *u);
        store16(act + whole, load16(g) / (1.0f + exp16(-load16(g))) * load16(u));
    }
    for (int64_t i = count; i < padded; i++)
        act[i] = 0;
}

SLIP_INLINE float dot(const float *a, const float *b, int64_t width)
{
    v16f sum = splat16(0);
    for (int64_t c = 0; c < width; c += 16)
        sum = load16(a + c) * load16(b + c) + sum;
    return sum16(sum);
}

/* Scores of all keys; returns the largest. */
static float score_keys(const slip_cache_view *cache, int32_t kv_head, const float *q, float scale, int64_t first, int64_t last,
                        float *score)
{
    float most = -INFINITY;
    for (int64_t p = first; p <= last; p++) {
        const float *k = cache->k + ((p % cache->slots) * cache->kv_heads + kv_head) * cache->k_width;
        float s = dot(q, k, cache->k_width) * scale;
        score[p - first] = s;
        most = s > most ? s : most;
    }
    return most;
}

static void attend(const slip_cache_view *cache, int32_t kv_head, const float *q, int32_t head_dim, int32_t v_head_dim,
                   int64_t first, int64_t last, const float *sink, float *score, float *out)
{
    int64_t keys = last - first + 1;
    float most = score_keys(cache, kv_head, q, 1.0f / sqrtf((float)head_dim), first, last, score);
    if (sink && *sink > most)
        most = *sink;
    for (int64_t i = keys; i < keys + 16; i++)
        score[i] = -INFINITY;
    v16f total = splat16(0);
    for (int64_t i = 0; i < keys; i += 16) {
        v16f e = exp16(load16(score + i) - most);
        store16(score + i, e);
        total += e;
    }
    float denominator = sum16(total) + (sink ? expf(*sink - most) : 0.0f);
    for (int64_t c = 0; c < v_head_dim; c += 16) {
        v16f sum = splat16(0);
        for (int64_t i = 0; i < keys; i++) {
            const float *v = cache->v + (((first + i) % cache->slots) * cache->kv_heads + kv_head) * cache->v_width;
            sum = splat16(score[i]) * load16(v + c) + sum;
        }
        sum /= denominator;
        int64_t lanes = v_head_dim - c < 16 ? v_head_dim - c : 16;
        memcpy(out + c, &sum, (size_t)lanes * sizeof *out);
    }
}

const slip_math SLIP_MATH = {
    .name = NAME_OF(SLIP_MATH),
    .linear = linear,
    .linear_partial = linear_partial,
    .norm = norm,
    .swiglu = swiglu,
    .attend = attend,
};
