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

/* So many neighbouring tiles are packed together: a row's columns are read far enough for the CPU to see where that goes, and what is written
 * stays in its cache. */
enum { RUN = 8 };

/* Tiles of a row tile, one behind the other, and what they are made of: rows [row, row + count) of an expert, `columns` columns from
 * `column` on. */
typedef struct {
    const slip_weight *weight;
    int64_t row, column; /* row: of all experts */
    int32_t count, columns, tiles, format;
    bool low; /* of f32: the plane of what bf16 leaves */
} piece;

static const unsigned char *piece_row(const piece *p, int32_t row)
{
    return p->weight->data + (size_t)(p->row + row) * p->weight->row_bytes;
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Columns that tile `tile` of the piece has of it. */
static int32_t columns_of(const piece *p, int32_t tile)
{
    int32_t width = slip_tile_columns(p->format);
    return least(p->columns - tile * width, width);
}

/* Slices of `rows` rows, which lie together. */
static inline void copy_slices(const unsigned char *from, size_t row_bytes, int32_t rows, int32_t slices, unsigned char *out)
{
    for (int32_t slice = 0; slice < slices; slice++)
        for (int32_t r = 0; r < rows; r++)
            memcpy(out + slip_tile_slice_at(slice, r), from + (size_t)r * row_bytes + 16 * slice, 16);
}

/* bf16 and f8e4m3: slices of 16 bytes along the columns. Four rows of a slice are a line of the cache. */
static void pack_slices(const piece *p, int32_t item, unsigned char *out)
{
    enum { LINE_ROWS = 4 };
    size_t row_bytes = p->weight->row_bytes;
    for (int32_t r = 0; r < p->count; r += LINE_ROWS)
        for (int32_t tile = 0; tile < p->tiles; tile++) {
            int32_t rows = least(p->count - r, LINE_ROWS), bytes = columns_of(p, tile) * item, slices = bytes / 16;
            const unsigned char *from = piece_row(p, r) + (size_t)(p->column + tile * slip_tile_columns(p->format)) * (size_t)item;
            unsigned char *to = out + tile * slip_tile_bytes(p->format) + slip_tile_slice_at(0, r);
            if (rows == LINE_ROWS)
                copy_slices(from, row_bytes, LINE_ROWS, slices, to);
            else
                copy_slices(from, row_bytes, rows, slices, to);
            for (int32_t i = 0; bytes % 16 != 0 && i < rows; i++)
                memcpy(to + slip_tile_slice_at(slices, i), from + (size_t)i * row_bytes + 16 * slices, (size_t)(bytes % 16));
        }
}

/* A slice: eight floats. */
static void pack_floats(const unsigned char *from, int32_t count, bool low, unsigned char *out)
{
    uint16_t codes[8] = {0};
    for (int32_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, from + 4 * i, sizeof value);
        codes[i] = slip_f32_to_bf16(value);
        if (low) {
            float high = slip_bf16_to_f32(codes[i]);
            codes[i] = isfinite(high) ? slip_f32_to_bf16(value - high) : 0;
        }
    }
    memcpy(out, codes, sizeof codes);
}

static void pack_f32(const piece *p, unsigned char *out)
{
    for (int32_t r = 0; r < p->count; r++)
        for (int32_t tile = 0; tile < p->tiles; tile++) {
            int32_t columns = columns_of(p, tile);
            const unsigned char *from = piece_row(p, r) + (size_t)(p->column + tile * slip_tile_columns(p->format)) * 4;
            unsigned char *to = out + tile * slip_tile_bytes(p->format);
            for (int32_t c = 0; c < columns; c += 8)
                pack_floats(from + 4 * c, least(columns - c, 8), p->low, to + slip_tile_slice_at(c / 8, r));
        }
}

static void pack_f8_scales(const piece *p, unsigned char *out)
{
    const slip_weight *w = p->weight;
    int64_t block = (w->scale_skew + p->column) / SLIP_F8_BLOCK;
    for (int32_t r = 0; r < p->count; r++)
        for (int32_t tile = 0; tile < p->tiles; tile++)
            memcpy(out + tile * SLIP_TILE_F8 + slip_tile_f8_scale_at(r), w->scale + 4 * ((p->row + r) * w->scale_columns + block + tile),
                   4);
}

/* 64 codes, one in each byte. */
static void spread_codes(const unsigned char *from, uint32_t *words)
{
    unsigned char codes[64];
    for (int i = 0; i < 32; i++) {
        codes[2 * i] = from[i] & 15;
        codes[2 * i + 1] = from[i] >> 4;
    }
    memcpy(words, codes, sizeof codes);
}

/* 64 columns of rows `row` and `row` + 8 of a tile. */
static void merge_line(const unsigned char *upper, const unsigned char *lower, unsigned char *out)
{
    uint32_t above[16], below[16], words[16];
    spread_codes(upper, above);
    spread_codes(lower, below);
    for (int i = 0; i < 16; i++)
        above[i] = slip_tile_mxfp4_merge(above[i], below[i]);
    for (int t = 0; t < 4; t++)
        for (int half = 0; half < 4; half++)
            words[4 * t + half] = above[4 * half + t];
    memcpy(out, words, sizeof words);
}

/* Columns that do not exist are zeros. */
static void merge_end(const unsigned char *upper, const unsigned char *lower, int32_t columns, unsigned char *out)
{
    unsigned char above[32] = {0}, below[32] = {0};
    memcpy(above, upper, (size_t)columns / 2);
    memcpy(below, lower, (size_t)columns / 2);
    merge_line(above, below, out);
}

/* Rows `row` and `row` + 8 of all tiles, row % 16 < 8. */
static void pack_row_pair(const piece *p, int32_t row, unsigned char *out)
{
    static const unsigned char absent[RUN * 128];
    const unsigned char *upper = piece_row(p, row) + p->column / 2,
                        *lower = row + 8 < p->count ? piece_row(p, row + 8) + p->column / 2 : absent;
    for (int32_t tile = 0; tile < p->tiles; tile++, out += SLIP_TILE_MXFP4) {
        int32_t columns = columns_of(p, tile);
        for (int32_t done = 0; done < columns; done += 64, upper += 32, lower += 32) {
            unsigned char *to = out + slip_tile_mxfp4_line_at(row, done / 64);
            if (columns - done >= 64)
                merge_line(upper, lower, to);
            else
                merge_end(upper, lower, columns - done, to);
        }
    }
}

static void pack_mxfp4(const piece *p, unsigned char *out)
{
    const slip_weight *w = p->weight;
    for (int32_t tile = 0; tile < p->tiles; tile++)
        memset(out + tile * SLIP_TILE_MXFP4 + SLIP_TILE_CODES, 127, SLIP_TILE_MXFP4 - SLIP_TILE_CODES);
    for (int32_t r = 0; r < p->count; r++) {
        const unsigned char *scales = w->scale + (p->row + r) * w->scale_columns + p->column / SLIP_MXFP4_BLOCK;
        for (int32_t tile = 0; tile < p->tiles; tile++, scales += 8)
            memcpy(out + tile * SLIP_TILE_MXFP4 + slip_tile_mxfp4_scales_at(r), scales, (size_t)(columns_of(p, tile) / SLIP_MXFP4_BLOCK));
        if (r % 16 < 8)
            pack_row_pair(p, r, out);
    }
}

static void pack_piece(const piece *p, unsigned char *out)
{
    if (p->count < SLIP_TILE_ROWS || p->columns < p->tiles * slip_tile_columns(p->format))
        memset(out, 0, (size_t)p->tiles * (size_t)slip_tile_bytes(p->format));
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
    int32_t width = slip_tile_columns(matrix->format), tiles;
    for (int32_t chunk = 0; chunk < matrix->chunks; chunk++)
        for (int64_t row_tile = 0; row_tile < matrix->row_tiles; row_tile++)
            for (int32_t i = 0; i < slip_chunk_length(matrix, chunk); i += tiles, out += tiles * slip_tile_bytes(matrix->format)) {
                int32_t tile = chunk * matrix->chunk + i, of_plane = tile % matrix->plane_tiles;
                int64_t rows = matrix->rows - row_tile * SLIP_TILE_ROWS, column = (int64_t)of_plane * width;
                tiles = least(least(slip_chunk_length(matrix, chunk) - i, matrix->plane_tiles - of_plane), RUN);
                pack_piece(&(piece){.weight = weight,
                                    .row = expert * matrix->rows + row_tile * SLIP_TILE_ROWS,
                                    .column = column,
                                    .count = (int32_t)(rows < SLIP_TILE_ROWS ? rows : SLIP_TILE_ROWS),
                                    .columns = least((int32_t)(matrix->columns - column), tiles * width),
                                    .tiles = tiles,
                                    .format = matrix->format,
                                    .low = tile >= matrix->plane_tiles},
                           out);
            }
}
