#include "ranks/load/piece.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/memory/large.h"
#include "io/checkpoint/layout.h"

/* ---- the form of a tensor ---- */

static const slip_dataset *find_scale(const slip_source *source, const char *name)
{
    char scale[SLIP_WEIGHT_NAME];
    slip_layout_scale_name(name, scale);
    return slip_checkpoint_find(&source->table, scale);
}

/* All parts of a tensor are of one encoding, since they are used as one matrix. */
static slip_status tensor_dtype(const slip_source *source, const slip_program *program, const slip_tensor *tensor, slip_dtype *dtype)
{
    if (source->path == NULL) {
        *dtype = program->parts[tensor->first_part].weight.row->dtype;
        return SLIP_OK;
    }
    for (int32_t p = 0; p < tensor->parts; p++) {
        const char *name = program->parts[tensor->first_part + p].weight.name;
        const slip_dataset *dataset = slip_checkpoint_find(&source->table, name);
        if (!dataset)
            return slip_fail(SLIP_ERR_INPUT, "%s: dataset /%s is missing", source->path, name);
        if (p > 0 && dataset->dtype != (int32_t)*dtype)
            return slip_fail(SLIP_ERR_INPUT, "%s: /%s is %s where its neighbours are %s", source->path, name,
                             slip_dtype_name((slip_dtype)dataset->dtype), slip_dtype_name(*dtype));
        if ((dataset->dtype == SLIP_F8E4M3 || dataset->dtype == SLIP_MXFP4) && !find_scale(source, name))
            return slip_fail(SLIP_ERR_INPUT, "%s: dataset /%s_scale is missing", source->path, name);
        *dtype = (slip_dtype)dataset->dtype;
    }
    return SLIP_OK;
}

slip_status slip_piece_form(const slip_source *source, const slip_program *program, const slip_tensor *tensor, slip_weight *form)
{
    slip_dtype dtype = SLIP_F32;
    slip_status status = tensor_dtype(source, program, tensor, &dtype);
    if (status != SLIP_OK)
        return status;
    slip_range columns = tensor->columns;
    if (dtype == SLIP_F8E4M3 && columns.first % SLIP_MXFP4_BLOCK != 0)
        return slip_fail(SLIP_ERR_INPUT,
                         "%s: /%s is f8e4m3 and this rank's columns start at %lld, not at a multiple of %d: "
                         "use fewer ranks",
                         source->path, program->parts[tensor->first_part].weight.name, (long long)columns.first, SLIP_MXFP4_BLOCK);
    *form = (slip_weight){
        .dtype = dtype,
        .experts = tensor->experts.first < 0 ? 1 : tensor->experts.count,
        .rows = tensor->rows,
        .columns = columns.count,
        .row_bytes = (size_t)slip_dtype_row_bytes(dtype, columns.count),
    };
    if (dtype == SLIP_MXFP4)
        form->scale_columns = columns.count / SLIP_MXFP4_BLOCK;
    if (dtype == SLIP_F8E4M3 && columns.count > 0) {
        form->scale_columns = slip_f8_blocks(columns.first + columns.count) - columns.first / SLIP_F8_BLOCK;
        form->scale_skew = columns.first % SLIP_F8_BLOCK;
    }
    return SLIP_OK;
}

/* Bytes of one expert's scales. */
static size_t scale_bytes(const slip_weight *form)
{
    return (size_t)(form->rows * form->scale_columns) * (form->dtype == SLIP_F8E4M3 ? sizeof(float) : 1);
}

size_t slip_piece_expert_bytes(const slip_weight *form)
{
    return (size_t)form->rows * form->row_bytes + scale_bytes(form);
}

/* ---- a piece ---- */

slip_status slip_load_reserve(slip_load_buffer *buffer, size_t bytes)
{
    if (bytes <= buffer->room)
        return SLIP_OK;
    free(buffer->at);
    *buffer = (slip_load_buffer){slip_large_alloc(bytes), bytes};
    if (buffer->at)
        return SLIP_OK;
    buffer->room = 0;
    return slip_fail(SLIP_ERR_FAILED, "out of memory: %zu bytes to load a weight", bytes);
}

static int64_t row_count(const slip_dataset *dataset)
{
    return dataset->dims > 1 ? dataset->shape[dataset->dims - 2] : 1;
}

/* Rows of a part that a piece has. */
typedef struct {
    const slip_part *part;
    slip_range rows; /* of the part's */
    int64_t at;      /* where they are in the piece */
} part_rows;

/* `before`: rows of the tensor that precede the part; `rows`: those of the tensor that are wanted. */
static part_rows rows_within(const slip_part *part, int64_t before, slip_range rows)
{
    int64_t first = rows.first > before ? rows.first : before, last = rows.first + rows.count, end = before + part->rows.count;
    end = end < last ? end : last;
    return (part_rows){part, {first - before, end > first ? end - first : 0}, first - rows.first};
}

static slip_range rows_of_piece(const slip_piece *piece)
{
    return (slip_range){piece->weight.first_row, piece->weight.rows};
}

/* The part's rows of the piece's experts: of an array with as many rows as the weight, `bytes` bytes from byte `column` of each row on. They
 * go to each expert of `to`, whose rows are as long. */
static slip_strip rows_of_part(const slip_piece *piece, const part_rows *of, const slip_dataset *dataset, int64_t row_bytes, int64_t column,
                               int64_t bytes, unsigned char *to)
{
    int64_t expert = piece->first + (piece->tensor->experts.first < 0 ? 0 : piece->tensor->experts.first), rows = row_count(dataset);
    return (slip_strip){
        .dataset = dataset,
        .first = (expert * rows + of->part->rows.first + of->rows.first) * row_bytes,
        .stride = rows * row_bytes,
        .runs = piece->weight.experts,
        .rows = of->rows.count,
        .row_bytes = row_bytes,
        .column = column,
        .bytes = bytes,
        .to = to + of->at * bytes,
        .to_run = piece->weight.rows * bytes,
        .to_row = bytes,
    };
}

static slip_strip codes_strip(const slip_piece *piece, const part_rows *of, const slip_dataset *dataset)
{
    const slip_weight *w = &piece->weight;
    return rows_of_part(piece, of, dataset, dataset->shape[dataset->dims - 1] * slip_dtype_item_bytes(w->dtype),
                        slip_dtype_row_bytes(w->dtype, piece->tensor->columns.first), (int64_t)w->row_bytes, w->data);
}

static slip_strip mxfp4_strip(const slip_piece *piece, const part_rows *of, const slip_dataset *scale)
{
    return rows_of_part(piece, of, scale, scale->shape[scale->dims - 1], piece->tensor->columns.first / SLIP_MXFP4_BLOCK,
                        piece->weight.scale_columns, piece->weight.scale);
}

static int64_t grid_bytes(const slip_dataset *scale)
{
    return row_count(scale) * scale->shape[scale->dims - 1] * (int64_t)sizeof(float);
}

/* All block scales of the piece's experts, from byte `at` of each expert's on. */
static slip_strip grid_strip(const slip_piece *piece, const slip_dataset *scale, int64_t at)
{
    int64_t expert = piece->first + (piece->tensor->experts.first < 0 ? 0 : piece->tensor->experts.first), bytes = grid_bytes(scale);
    return (slip_strip){
        .dataset = scale,
        .first = expert * bytes,
        .stride = bytes,
        .runs = piece->weight.experts,
        .rows = 1,
        .row_bytes = bytes,
        .bytes = bytes,
        .to = piece->grid.at + at,
        .to_run = piece->grid_bytes,
        .to_row = bytes,
    };
}

static void list_strips(slip_piece *piece, const slip_source *source)
{
    int64_t row = 0, grid = 0;
    piece->strip_count = 0;
    for (int32_t p = 0; p < piece->tensor->parts; row += piece->parts[p++].rows.count) {
        const slip_part *part = &piece->parts[p];
        const part_rows of = rows_within(part, row, rows_of_piece(piece));
        const slip_dataset *scale = find_scale(source, part->weight.name);
        piece->strips[piece->strip_count++] = codes_strip(piece, &of, slip_checkpoint_find(&source->table, part->weight.name));
        if (piece->weight.scale == NULL)
            continue;
        bool blocks = piece->weight.dtype == SLIP_F8E4M3;
        piece->strips[piece->strip_count++] = blocks ? grid_strip(piece, scale, grid) : mxfp4_strip(piece, &of, scale);
        grid += blocks ? grid_bytes(scale) : 0;
    }
}

static int64_t grid_bytes_of_expert(const slip_piece *piece, const slip_source *source)
{
    int64_t bytes = 0;
    for (int32_t p = 0; p < piece->tensor->parts && piece->weight.dtype == SLIP_F8E4M3; p++)
        bytes += grid_bytes(find_scale(source, piece->parts[p].weight.name));
    return bytes;
}

static slip_status reserve_strips(slip_piece *piece)
{
    int32_t needed = 2 * piece->tensor->parts;
    if (needed <= piece->strip_room)
        return SLIP_OK;
    free(piece->strips);
    piece->strips = malloc((size_t)needed * sizeof *piece->strips);
    piece->strip_room = piece->strips ? needed : 0;
    return piece->strips ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
}

slip_status slip_piece_begin(slip_piece *piece, const slip_source *source, const slip_program *program, int32_t index,
                             const slip_weight *form, slip_range experts, slip_range rows)
{
    piece->tensor = &program->tensors[index];
    piece->parts = &program->parts[piece->tensor->first_part];
    piece->index = index;
    piece->first = experts.first;
    piece->weight = *form;
    piece->weight.experts = experts.count;
    piece->weight.first_row = rows.first;
    piece->weight.rows = rows.count;
    piece->grid_bytes = grid_bytes_of_expert(piece, source);
    slip_status status = slip_load_reserve(&piece->data, (size_t)(experts.count * rows.count) * form->row_bytes + 1);
    if (status == SLIP_OK)
        status = slip_load_reserve(&piece->scale, (size_t)experts.count * scale_bytes(&piece->weight) + 1);
    if (status == SLIP_OK)
        status = slip_load_reserve(&piece->grid, (size_t)(experts.count * piece->grid_bytes) + 1);
    if (status == SLIP_OK)
        status = reserve_strips(piece);
    if (status != SLIP_OK)
        return status;
    piece->weight.data = piece->data.at;
    piece->weight.scale = form->scale_columns ? piece->scale.at : NULL;
    list_strips(piece, source);
    return SLIP_OK;
}

/* f8e4m3: which row of scales a stored row has. Every chunk of a weight starts anew. */
static int64_t scale_row(const slip_weight_spec *weight, int64_t row)
{
    int64_t rows = weight->rows / weight->chunks;
    return row / rows * slip_f8_blocks(rows) + row % rows / SLIP_F8_BLOCK;
}

/* Rows of scales for those rows of a piece that part `p` has: from the part's grid to `to`, where the first of `rows` goes. */
static void spread_part(const slip_piece *piece, const part_rows *of, const unsigned char *grid, unsigned char *to)
{
    const slip_weight_spec *spec = &of->part->weight;
    int64_t columns = slip_f8_blocks(spec->columns), left = piece->tensor->columns.first / SLIP_F8_BLOCK;
    size_t bytes = (size_t)piece->weight.scale_columns * sizeof(float);
    to += (size_t)of->at * bytes;
    for (int64_t i = 0; i < of->rows.count; i++, to += bytes) {
        int64_t block = scale_row(spec, of->part->rows.first + of->rows.first + i) * columns + left;
        memcpy(to, grid + block * (int64_t)sizeof(float), bytes);
    }
}

slip_weight slip_piece_rows(slip_piece *piece, int64_t expert, slip_range rows)
{
    slip_weight w = piece->weight;
    int64_t row = expert * w.rows + rows.first, before = 0, scale_row_bytes = (int64_t)scale_bytes(&w) / (w.rows > 0 ? w.rows : 1);
    rows.first += w.first_row;
    w.experts = 1;
    w.rows = rows.count;
    w.first_row = rows.first;
    w.data += (size_t)row * w.row_bytes;
    if (w.scale == NULL)
        return w;
    w.scale += row * scale_row_bytes;
    const unsigned char *grid = piece->grid.at + expert * piece->grid_bytes;
    for (int32_t p = 0; p < piece->tensor->parts && w.dtype == SLIP_F8E4M3; before += piece->parts[p++].rows.count) {
        const slip_weight_spec *spec = &piece->parts[p].weight;
        const part_rows of = rows_within(&piece->parts[p], before, rows);
        spread_part(piece, &of, grid, w.scale);
        grid += spec->chunks * slip_f8_blocks(spec->rows / spec->chunks) * slip_f8_blocks(spec->columns) * (int64_t)sizeof(float);
    }
    return w;
}

void slip_piece_free(slip_piece *piece)
{
    free(piece->data.at);
    free(piece->scale.at);
    free(piece->grid.at);
    free(piece->strips);
    *piece = (slip_piece){0};
}
