#include "kernels/cuda/layout/pack.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "ranks/model/dtype.h"
#include "ranks/model/mxfp4.h"

/* ---- the cut ---- */

/* Bytes of one row group's activations of a tile's columns: e4m3 codes, or bf16 hi and lo. */
static int64_t operand_bytes(int32_t format)
{
    return slip_tile_columns(format) * SLIP_TOKENS * (format == SLIP_WEIGHT_BF16 ? 4 : 1);
}

/* Tiles that lie before a unit of a run of experts: units lie in memory in their order, without gaps. */
static int64_t tiles_before(const slip_cuda_matrix *matrix, int64_t unit)
{
    int64_t expert = unit / matrix->units, of_expert = unit % matrix->units;
    return expert * matrix->column_tiles * matrix->row_tiles +
           slip_tiles_before(matrix, (int32_t)(of_expert / matrix->row_tiles), (int32_t)(of_expert % matrix->row_tiles));
}

int64_t slip_cuda_matrix_busiest(const slip_cuda_matrix *matrix, int64_t experts, int32_t workers)
{
    int64_t units = experts * matrix->units, most = 0;
    for (int64_t i = 0; units > 0 && i < workers; i++) {
        int64_t tiles = tiles_before(matrix, units * (i + 1) / workers) - tiles_before(matrix, units * i / workers);
        most = tiles > most ? tiles : most;
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
        int64_t from = first / matrix->row_tiles, to = (end - 1) / matrix->row_tiles;
        int64_t tiles = (to - from) * matrix->chunk + slip_chunk_length(matrix, (int32_t)to);
        most = tiles > most ? tiles : most;
    }
    return most * operand_bytes(matrix->format);
}

int64_t slip_cuda_matrix_row_bytes(const slip_cuda_matrix *matrix)
{
    return matrix->plane_tiles * operand_bytes(matrix->format);
}

/* Fill in what follows from the length of a chunk. */
static void set_chunk(slip_cuda_matrix *matrix, int64_t chunk)
{
    assert(chunk > 0);
    matrix->chunk = (int32_t)chunk;
    matrix->chunks = (int32_t)((matrix->column_tiles + chunk - 1) / chunk);
    matrix->units = (int32_t)(matrix->chunks * matrix->row_tiles);
}

/* The cost of a chunking in bytes: those that the busiest warpgroup streams, times the number of warpgroups, and for adding up each part what
 * memory streams in about 0.06 us. For experts, the streams of a step of 8 tokens and of one token are added. */
static int64_t cost(const slip_cuda_matrix *matrix, slip_cuda_use use)
{
    enum { PART = 600 * 1000 };
    int64_t busiest = slip_cuda_matrix_busiest(matrix, use != SLIP_USE_LINEAR ? SLIP_PLAN_EXPERTS : 1, SLIP_PLAN_WARPGROUPS);
    if (use != SLIP_USE_LINEAR)
        busiest += slip_cuda_matrix_busiest(matrix, SLIP_PLAN_PICKS, SLIP_PLAN_WARPGROUPS);
    return busiest * slip_tile_bytes(matrix->format) * SLIP_PLAN_WARPGROUPS + (int64_t)matrix->chunks * PART;
}

/* The longest chunk to look at. A CTA of experts keeps whole rows, so that any length will do. Elsewhere two chunks fit
 * SLIP_OPERAND_BYTES, and more than that a CTA does not touch while there are no more chunks than CTAs: of T units a chunk, its
 * range has L <= ceil(chunks * T / CTAs) <= T, and T consecutive units lie in at most two chunks. With more chunks than CTAs,
 * L - 1 < chunks * T / CTAs units behind the first touch at most ceil(chunks / CTAs) chunks more; a chunk of one tile then
 * always fits, because check_width() admits at most CTAs * (longest chunk) tiles. Lengths between are tried one by one. */
static int64_t longest_chunk(const slip_cuda_matrix *matrix, slip_cuda_use use)
{
    int64_t limit = SLIP_OPERAND_BYTES / 2 / operand_bytes(matrix->format);
    return use != SLIP_USE_LINEAR || matrix->column_tiles < limit ? matrix->column_tiles : limit;
}

/* A chunk keeps to one plane, so that its operand's columns are consecutive. Experts' chunks are as equal as their number
 * allows, and few. */
static bool allowed(const slip_cuda_matrix *matrix, slip_cuda_use use)
{
    if (use == SLIP_USE_DOWN)
        return matrix->chunks == 1;
    if (matrix->column_tiles > matrix->plane_tiles && matrix->plane_tiles % matrix->chunk != 0)
        return false;
    if (use != SLIP_USE_LINEAR)
        return (matrix->column_tiles + matrix->chunks - 1) / matrix->chunks == matrix->chunk && matrix->chunks <= SLIP_GATE_UP_PARTS;
    return slip_cuda_matrix_arena(matrix, SLIP_ARCH_SMS) <= SLIP_OPERAND_BYTES;
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
    if ((unsigned)dtype >= SLIP_DTYPES || experts < 0 || rows < 0 || columns < 0 || rows > INT32_MAX - SLIP_TILE_ROWS ||
        columns > INT32_MAX / 2)
        return slip_fail(SLIP_ERR_INPUT, "a matrix of %lld experts x %lld rows x %lld columns is beyond the GPU engine", (long long)experts,
                         (long long)rows, (long long)columns);
    if (dtype == SLIP_F8E4M3 && scale_skew % SLIP_F8_BLOCK != 0)
        return slip_fail(SLIP_ERR_INPUT,
                         "the GPU engine wants this rank's columns of an f8e4m3 matrix to begin with a scale block of "
                         "%d columns; they begin %lld columns into one",
                         SLIP_F8_BLOCK, (long long)(scale_skew % SLIP_F8_BLOCK));
    if (dtype == SLIP_MXFP4 && columns % SLIP_MXFP4_BLOCK != 0)
        return slip_fail(SLIP_ERR_INPUT, "an mxfp4 matrix of %lld columns has part of a block of %d", (long long)columns, SLIP_MXFP4_BLOCK);
    return SLIP_OK;
}

/* Activations must fit: whole rows of experts; else as many chunks as CTAs, each at its longest. */
static slip_status check_width(const slip_cuda_matrix *matrix, slip_dtype dtype, slip_cuda_use use)
{
    int64_t planes = use != SLIP_USE_LINEAR ? 1 : matrix->column_tiles / matrix->plane_tiles; /* a row is kept once for both */
    int64_t room = use != SLIP_USE_LINEAR ? SLIP_OPERAND_BYTES : (int64_t)SLIP_ARCH_SMS * (SLIP_OPERAND_BYTES / 2);
    int64_t most = room / operand_bytes(matrix->format) / planes;
    if (matrix->plane_tiles <= most)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_INPUT, "a matrix of %d columns of %s is too wide for the GPU engine: at most %lld%s", matrix->columns,
                     slip_dtype_name(dtype), (long long)(most * slip_tile_columns(matrix->format)),
                     use != SLIP_USE_LINEAR ? " of experts" : "");
}

static slip_status check_bytes(slip_cuda_matrix *matrix, int64_t experts)
{
    int64_t all, tiles = (int64_t)matrix->row_tiles * matrix->column_tiles; /* no fewer than units */
    if (tiles > INT32_MAX || __builtin_mul_overflow(tiles, slip_tile_bytes(matrix->format), &matrix->expert_bytes) ||
        __builtin_mul_overflow(matrix->expert_bytes, experts, &all))
        return slip_fail(SLIP_ERR_INPUT, "%lld experts of %d rows x %d columns are beyond the GPU engine", (long long)experts, matrix->rows,
                         matrix->columns);
    return SLIP_OK;
}

slip_status slip_cuda_matrix_plan(slip_dtype dtype, int64_t experts, int64_t rows, int64_t columns, int64_t scale_skew, slip_cuda_use use,
                                  slip_cuda_matrix *matrix)
{
    slip_status status = check_shape(dtype, experts, rows, columns, scale_skew);
    if (status)
        return status;
    slip_cuda_matrix m = {.rows = (int32_t)rows, .columns = (int32_t)columns};
    m.format = dtype == SLIP_F8E4M3 ? SLIP_WEIGHT_F8 : dtype == SLIP_MXFP4 ? SLIP_WEIGHT_MXFP4 : SLIP_WEIGHT_BF16;
    m.chunk = 1;
    if (rows > 0 && columns > 0) {
        m.row_tiles = (int32_t)((rows + SLIP_TILE_ROWS - 1) / SLIP_TILE_ROWS);
        m.plane_tiles = (int32_t)((columns + slip_tile_columns(m.format) - 1) / slip_tile_columns(m.format));
        m.column_tiles = dtype == SLIP_F32 ? 2 * m.plane_tiles : m.plane_tiles;
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

/* What one tile is made of: rows [row, row + count) of an expert, `columns` columns from `column` on. */
typedef struct {
    const slip_weight *weight;
    int64_t row, column; /* row: of all experts */
    int32_t count, columns, format;
    bool low; /* of f32: the plane of what bf16 leaves */
} piece;

static const unsigned char *piece_row(const piece *p, int32_t row)
{
    return p->weight->data + (size_t)(p->row + row) * p->weight->row_bytes;
}

/* bf16 and f8e4m3: slices of 16 bytes along the columns. */
static void pack_slices(const piece *p, int32_t item, unsigned char *out)
{
    int32_t bytes = p->columns * item;
    for (int32_t r = 0; r < p->count; r++) {
        const unsigned char *from = piece_row(p, r) + (size_t)p->column * (size_t)item;
        for (int32_t done = 0; done < bytes; done += 16)
            memcpy(out + slip_tile_slice_at(done / 16, r), from + done, (size_t)(bytes - done < 16 ? bytes - done : 16));
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
            memcpy(out + slip_tile_slice_at(c / 8, r) + c % 8 * 2, &code, sizeof code);
        }
    }
}

static void pack_f8_scales(const piece *p, unsigned char *out)
{
    const slip_weight *w = p->weight;
    int64_t block = (w->scale_skew + p->column) / SLIP_F8_BLOCK;
    for (int32_t r = 0; r < p->count; r++)
        memcpy(out + slip_tile_f8_scale_at(r), w->scale + 4 * ((p->row + r) * w->scale_columns + block), 4);
}

/* Four codes, one in each byte. */
static uint32_t spread_codes(const unsigned char *from)
{
    uint32_t x = from[0] | (uint32_t)from[1] << 8;
    x = (x | x << 8) & 0x00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f;
}

/* Rows `row` and `row` + 8 of a tile, row % 16 < 8, `blocks` blocks of 32 columns. */
static void pack_row_pair(const unsigned char *upper, const unsigned char *lower, int32_t row, int32_t blocks, unsigned char *out)
{
    for (int32_t half = 0; half < 2 * blocks; half++)
        for (int32_t t = 0; t < 4; t++, upper += 2, lower += 2) {
            uint32_t word = slip_tile_mxfp4_merge(spread_codes(upper), spread_codes(lower));
            memcpy(out + slip_tile_mxfp4_word_at(row, half, t), &word, sizeof word);
        }
}

static void pack_mxfp4(const piece *p, unsigned char *out)
{
    static const unsigned char absent[SLIP_TILE_CODES / SLIP_TILE_ROWS];
    const slip_weight *w = p->weight;
    int32_t blocks = p->columns / SLIP_MXFP4_BLOCK;
    memset(out + SLIP_TILE_CODES, 127, SLIP_TILE_MXFP4 - SLIP_TILE_CODES);
    for (int32_t r = 0; r < p->count; r++) {
        memcpy(out + slip_tile_mxfp4_scales_at(r), w->scale + (p->row + r) * w->scale_columns + p->column / SLIP_MXFP4_BLOCK,
               (size_t)blocks);
        if (r % 16 < 8)
            pack_row_pair(piece_row(p, r) + p->column / 2, r + 8 < p->count ? piece_row(p, r + 8) + p->column / 2 : absent, r, blocks, out);
    }
}

static void pack_tile(const piece *p, unsigned char *out)
{
    if (p->count < SLIP_TILE_ROWS || p->columns < slip_tile_columns(p->format))
        memset(out, 0, (size_t)slip_tile_bytes(p->format));
    switch (p->weight->dtype) {
    case SLIP_F32: pack_f32(p, out); break;
    case SLIP_BF16: pack_slices(p, 2, out); break;
    case SLIP_F8E4M3:
        pack_slices(p, 1, out);
        pack_f8_scales(p, out);
        break;
    default: pack_mxfp4(p, out); break;
    }
}

void slip_cuda_matrix_pack(const slip_weight *weight, int64_t expert, const slip_cuda_matrix *matrix, unsigned char *out)
{
    int32_t width = slip_tile_columns(matrix->format);
    for (int32_t chunk = 0; chunk < matrix->chunks; chunk++)
        for (int64_t row_tile = 0; row_tile < matrix->row_tiles; row_tile++)
            for (int64_t i = 0; i < slip_chunk_length(matrix, chunk); i++, out += slip_tile_bytes(matrix->format)) {
                int64_t tile = chunk * matrix->chunk + i, column = tile % matrix->plane_tiles * width;
                int64_t rows = matrix->rows - row_tile * SLIP_TILE_ROWS, columns = matrix->columns - column;
                pack_tile(&(piece){.weight = weight,
                                   .row = expert * matrix->rows + row_tile * SLIP_TILE_ROWS,
                                   .column = column,
                                   .count = (int32_t)(rows < SLIP_TILE_ROWS ? rows : SLIP_TILE_ROWS),
                                   .columns = (int32_t)(columns < width ? columns : width),
                                   .format = matrix->format,
                                   .low = tile >= matrix->plane_tiles},
                          out);
            }
}
