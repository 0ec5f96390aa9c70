#include "kernels/cuda/layout/pack.h"

#include <math.h>
#include <string.h>

#include "ranks/model/dtype.h"
#include "ranks/model/mxfp4.h"

/* ---- the cut ---- */

/* Bytes of one row group's activations of a granule's columns: e4m3 codes, or bf16 hi and lo. */
static int64_t operand_bytes(int32_t store)
{
    return slip_store_columns(store) * SLIP_TOKENS * (store == SLIP_STORE_BF16 ? 4 : 1);
}

static int64_t chunk_length(const slip_cuda_matrix *matrix, int64_t chunk)
{
    int64_t left = matrix->granules - chunk * matrix->chunk;
    return left < matrix->chunk ? left : matrix->chunk;
}

/* Granules that lie before a unit of a run of experts: units lie in memory in their order, without gaps. */
static int64_t granules_before(const slip_cuda_matrix *matrix, int64_t unit)
{
    int64_t expert = unit / matrix->units, chunk = unit % matrix->units / matrix->tiles, tile = unit % matrix->tiles;
    return (expert * matrix->granules + chunk * matrix->chunk) * matrix->tiles + tile * chunk_length(matrix, chunk);
}

int64_t slip_cuda_matrix_busiest(const slip_cuda_matrix *matrix, int64_t experts, int32_t workers)
{
    int64_t units = experts * matrix->units, most = 0;
    for (int64_t i = 0; units > 0 && i < workers; i++) {
        int64_t granules = granules_before(matrix, units * (i + 1) / workers) - granules_before(matrix, units * i / workers);
        most = granules > most ? granules : most;
    }
    return most;
}

int64_t slip_cuda_matrix_arena(const slip_cuda_matrix *matrix, int32_t sms)
{
    int64_t most = 0;
    for (int64_t cta = 0; cta < sms; cta++) {
        int64_t first = (int64_t)matrix->units * cta / sms, end = (int64_t)matrix->units * (cta + 1) / sms;
        if (first == end)
            continue;
        int64_t from = first / matrix->tiles, to = (end - 1) / matrix->tiles;
        int64_t granules = (to - from) * matrix->chunk + chunk_length(matrix, to);
        most = granules > most ? granules : most;
    }
    return most * operand_bytes(matrix->store);
}

int64_t slip_cuda_matrix_row_bytes(const slip_cuda_matrix *matrix)
{
    return matrix->plane * operand_bytes(matrix->store);
}

/* Fill in what follows from the length of a chunk. */
static void set_chunk(slip_cuda_matrix *matrix, int64_t chunk)
{
    matrix->chunk = (int32_t)chunk;
    matrix->chunks = (int32_t)((matrix->granules + chunk - 1) / chunk);
    matrix->units = (int32_t)(matrix->chunks * matrix->tiles);
}

/* What a chunking costs, in bytes of the busiest warpgroup times their number: what it streams, of experts in a step of 8 tokens and in
 * one of a single token; and what it costs to add the parts up, about 0.06 us each. */
static int64_t cost(const slip_cuda_matrix *matrix, slip_cuda_use use)
{
    enum { PART = 600 * 1000 };
    int64_t busiest = slip_cuda_matrix_busiest(matrix, use != SLIP_USE_LINEAR ? SLIP_PLAN_EXPERTS : 1, SLIP_PLAN_WARPGROUPS);
    if (use != SLIP_USE_LINEAR)
        busiest += slip_cuda_matrix_busiest(matrix, SLIP_PLAN_PICKS, SLIP_PLAN_WARPGROUPS);
    return busiest * slip_store_bytes(matrix->store) * SLIP_PLAN_WARPGROUPS + (int64_t)matrix->chunks * PART;
}

/* The longest chunk to look at. A CTA of experts keeps whole rows, so that any length will do. Elsewhere two chunks fit
 * SLIP_OPERAND_BYTES, and more than that a CTA does not touch while there are no more chunks than CTAs: of T units a chunk, its
 * range has L <= ceil(chunks * T / CTAs) <= T, and T consecutive units lie in at most two chunks. With more chunks than CTAs,
 * L - 1 < chunks * T / CTAs units behind the first touch at most ceil(chunks / CTAs) chunks more; a chunk of one granule then
 * always fits, because check_width() admits at most CTAs * (longest chunk) granules. Lengths between are tried one by one. */
static int64_t longest_chunk(const slip_cuda_matrix *matrix, slip_cuda_use use)
{
    int64_t limit = SLIP_OPERAND_BYTES / 2 / operand_bytes(matrix->store);
    return use != SLIP_USE_LINEAR || matrix->granules < limit ? matrix->granules : limit;
}

/* A chunk keeps to one plane, so that its operand's columns are consecutive. Of experts, chunks are as equal as their number
 * allows, and few. */
static bool allowed(const slip_cuda_matrix *matrix, slip_cuda_use use)
{
    if (use == SLIP_USE_DOWN)
        return matrix->chunks == 1;
    if (matrix->granules > matrix->plane && matrix->plane % matrix->chunk != 0)
        return false;
    if (use != SLIP_USE_LINEAR)
        return (matrix->granules + matrix->chunks - 1) / matrix->chunks == matrix->chunk && matrix->chunks <= SLIP_UP_PARTS;
    return slip_cuda_matrix_arena(matrix, SLIP_PLAN_SMS) <= SLIP_OPERAND_BYTES;
}

/* The cheapest; of equals the one with the fewest chunks. */
static void choose_chunk(slip_cuda_matrix *matrix, slip_cuda_use use)
{
    int64_t best = 1, least = INT64_MAX;
    for (int64_t chunk = longest_chunk(matrix, use); chunk >= 1; chunk--) {
        set_chunk(matrix, chunk);
        int64_t now = allowed(matrix, use) ? cost(matrix, use) : INT64_MAX;
        if (now < least) {
            least = now;
            best = chunk;
        }
    }
    set_chunk(matrix, best);
}

static slip_status check_shape(slip_dtype dtype, int64_t experts, int64_t rows, int64_t columns, int64_t scale_skew)
{
    if ((unsigned)dtype >= SLIP_DTYPES || experts < 0 || rows < 0 || columns < 0 || rows > INT32_MAX - SLIP_TILE ||
        columns > INT32_MAX / 2)
        return slip_fail(SLIP_ERR_INPUT, "a matrix of %lld experts x %lld rows x %lld columns is beyond the GPU engine",
                         (long long)experts, (long long)rows, (long long)columns);
    if (dtype == SLIP_F8E4M3 && scale_skew % SLIP_F8_BLOCK != 0)
        return slip_fail(SLIP_ERR_INPUT, "the GPU engine wants this rank's columns of an f8e4m3 matrix to begin with a scale block of "
                         "%d columns; they begin %lld columns into one", SLIP_F8_BLOCK, (long long)(scale_skew % SLIP_F8_BLOCK));
    if (dtype == SLIP_MXFP4 && columns % SLIP_MXFP4_BLOCK != 0)
        return slip_fail(SLIP_ERR_INPUT, "an mxfp4 matrix of %lld columns has part of a block of %d", (long long)columns,
                         SLIP_MXFP4_BLOCK);
    return SLIP_OK;
}

/* Activations must fit: whole rows of experts; else as many chunks as CTAs, each at its longest. */
static slip_status check_width(const slip_cuda_matrix *matrix, slip_dtype dtype, slip_cuda_use use)
{
    int64_t planes = use != SLIP_USE_LINEAR ? 1 : matrix->granules / matrix->plane; /* a row is kept once for both */
    int64_t room = use != SLIP_USE_LINEAR ? SLIP_OPERAND_BYTES : (int64_t)SLIP_PLAN_SMS * (SLIP_OPERAND_BYTES / 2);
    int64_t most = room / operand_bytes(matrix->store) / planes;
    if (matrix->plane <= most)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_INPUT, "a matrix of %d columns of %s is too wide for the GPU engine: at most %lld%s", matrix->columns,
                     slip_dtype_name(dtype), (long long)(most * slip_store_columns(matrix->store)),
                     use != SLIP_USE_LINEAR ? " of experts" : "");
}

static slip_status check_bytes(slip_cuda_matrix *matrix, int64_t experts)
{
    int64_t all, granules = (int64_t)matrix->tiles * matrix->granules; /* no fewer than units */
    if (granules > INT32_MAX || __builtin_mul_overflow(granules, slip_store_bytes(matrix->store), &matrix->expert_bytes) ||
        __builtin_mul_overflow(matrix->expert_bytes, experts, &all))
        return slip_fail(SLIP_ERR_INPUT, "%lld experts of %d rows x %d columns are beyond the GPU engine", (long long)experts,
                         matrix->rows, matrix->columns);
    return SLIP_OK;
}

slip_status slip_cuda_matrix_plan(slip_dtype dtype, int64_t experts, int64_t rows, int64_t columns, int64_t scale_skew,
                                  slip_cuda_use use, slip_cuda_matrix *matrix)
{
    slip_status status = check_shape(dtype, experts, rows, columns, scale_skew);
    if (status)
        return status;
    slip_cuda_matrix m = {.rows = (int32_t)rows, .columns = (int32_t)columns};
    m.store = dtype == SLIP_F8E4M3 ? SLIP_STORE_F8 : dtype == SLIP_MXFP4 ? SLIP_STORE_MXFP4 : SLIP_STORE_BF16;
    m.chunk = 1;
    if (rows > 0 && columns > 0) {
        m.tiles = (int32_t)((rows + SLIP_TILE - 1) / SLIP_TILE);
        m.plane = (int32_t)((columns + slip_store_columns(m.store) - 1) / slip_store_columns(m.store));
        m.granules = dtype == SLIP_F32 ? 2 * m.plane : m.plane;
        status = check_width(&m, dtype, use);
        if (!status)
            status = check_bytes(&m, experts);
        if (status)
            return status;
        choose_chunk(&m, use);
    }
    *matrix = m;
    return SLIP_OK;
}

/* ---- packing ---- */

/* What one granule is made of: rows [row, row + count) of an expert, `columns` columns from `column` on. */
typedef struct {
    const slip_weight *weight;
    int64_t row, column; /* row: of all experts */
    int32_t count, columns, store;
    bool low;            /* of f32: the plane of what bf16 leaves */
} piece;

static const unsigned char *piece_row(const piece *p, int32_t row)
{
    return p->weight->data + (size_t)(p->row + row) * p->weight->row_bytes;
}

/* bf16 and f8e4m3: units of 16 bytes, [unit][64 rows]. */
static void pack_units(const piece *p, int32_t item, unsigned char *out)
{
    int32_t bytes = p->columns * item, whole = bytes / 16;
    for (int32_t r = 0; r < p->count; r++) {
        const unsigned char *from = piece_row(p, r) + (size_t)p->column * (size_t)item;
        unsigned char *to = out + r * 16;
        for (int32_t u = 0; u < whole; u++)
            memcpy(to + u * SLIP_TILE * 16, from + u * 16, 16);
        if (bytes > whole * 16)
            memcpy(to + whole * SLIP_TILE * 16, from + whole * 16, (size_t)(bytes - whole * 16));
    }
}

static void pack_f32(const piece *p, unsigned char *out)
{
    for (int32_t r = 0; r < p->count; r++) {
        const unsigned char *from = piece_row(p, r) + (size_t)p->column * 4;
        for (int32_t c = 0; c < p->columns; c++) {
            float value;
            memcpy(&value, from + 4 * c, sizeof value);
            uint16_t code = slip_f32_to_bf16(value);
            if (p->low) {
                float high = slip_bf16_to_f32(code);
                code = isfinite(high) ? slip_f32_to_bf16(value - high) : 0;
            }
            memcpy(out + ((c / 8) * SLIP_TILE + r) * 16 + c % 8 * 2, &code, sizeof code);
        }
    }
}

static void pack_f8_scales(const piece *p, unsigned char *out)
{
    const slip_weight *w = p->weight;
    int64_t block = (w->scale_skew + p->column) / SLIP_F8_BLOCK;
    for (int32_t r = 0; r < p->count; r++)
        memcpy(out + 4 * r, w->scale + 4 * ((p->row + r) * w->scale_columns + block), 4);
}

/* Four codes, one in each byte. */
static uint32_t spread_codes(const unsigned char *from)
{
    uint32_t x = from[0] | (uint32_t)from[1] << 8;
    x = (x | x << 8) & 0x00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f;
}

/* Bits of a code, sign | eem: those of the upper row where e4m3 has them, those of the lower row in what is left. */
static uint32_t merge_rows(uint32_t upper, uint32_t lower)
{
    return (upper & 0x08080808) << 4 | (upper & 0x07070707) << 2 | (lower & 0x08080808) << 2 | (lower & 0x04040404) << 4 |
           (lower & 0x03030303);
}

/* Rows g and g + 8 of a warp, `blocks` blocks of 32 columns. A lane's uint4 j holds the 4 columns at 4 * (lane % 4) of both halves
 * of blocks 2j and 2j + 1. */
static void pack_row_pair(const unsigned char *upper, const unsigned char *lower, int32_t blocks, unsigned char *out)
{
    for (int32_t half = 0; half < 2 * blocks; half++)
        for (int32_t t = 0; t < 4; t++, upper += 2, lower += 2) {
            uint32_t word = merge_rows(spread_codes(upper), spread_codes(lower));
            memcpy(out + (half / 4) * 512 + t * 16 + half % 4 * 4, &word, sizeof word);
        }
}

static void pack_mxfp4(const piece *p, unsigned char *out)
{
    static const unsigned char absent[SLIP_CODE_BYTES / SLIP_TILE];
    const slip_weight *w = p->weight;
    int32_t blocks = p->columns / SLIP_MXFP4_BLOCK;
    unsigned char *scales = out + SLIP_CODE_BYTES;
    memset(scales, 127, SLIP_GRANULE_MXFP4 - SLIP_CODE_BYTES);
    for (int32_t r = 0; r < p->count; r++) {
        int32_t warp = r / 16, g = r % 8, second = r % 16 / 8;
        memcpy(scales + (warp * 8 + g) * 16 + second * 8,
               w->scale + (p->row + r) * w->scale_columns + p->column / SLIP_MXFP4_BLOCK, (size_t)blocks);
        if (second)
            continue;
        pack_row_pair(piece_row(p, r) + p->column / 2, r + 8 < p->count ? piece_row(p, r + 8) + p->column / 2 : absent, blocks,
                      out + warp * 2048 + g * 64);
    }
}

static void pack_granule(const piece *p, unsigned char *out)
{
    if (p->count < SLIP_TILE || p->columns < slip_store_columns(p->store))
        memset(out, 0, (size_t)slip_store_bytes(p->store));
    switch (p->weight->dtype) {
    case SLIP_F32: pack_f32(p, out); break;
    case SLIP_BF16: pack_units(p, 2, out); break;
    case SLIP_F8E4M3:
        pack_units(p, 1, out);
        pack_f8_scales(p, out + SLIP_CODE_BYTES);
        break;
    default: pack_mxfp4(p, out); break;
    }
}

void slip_cuda_matrix_pack(const slip_weight *weight, int64_t expert, const slip_cuda_matrix *matrix, unsigned char *out)
{
    int32_t width = slip_store_columns(matrix->store);
    for (int64_t chunk = 0; chunk < matrix->chunks; chunk++)
        for (int64_t tile = 0; tile < matrix->tiles; tile++)
            for (int64_t i = 0; i < chunk_length(matrix, chunk); i++, out += slip_store_bytes(matrix->store)) {
                int64_t granule = chunk * matrix->chunk + i, column = granule % matrix->plane * width;
                int64_t rows = matrix->rows - tile * SLIP_TILE, columns = matrix->columns - column;
                pack_granule(&(piece){.weight = weight,
                                      .row = expert * matrix->rows + tile * SLIP_TILE,
                                      .column = column,
                                      .count = (int32_t)(rows < SLIP_TILE ? rows : SLIP_TILE),
                                      .columns = (int32_t)(columns < width ? columns : width),
                                      .store = matrix->store,
                                      .low = granule >= matrix->plane},
                             out);
            }
}
