#include "ranks/shard.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/clock.h"
#include "io/base/hash.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/layout.h"
#include "ranks/model/overlap.h"

enum { PIECE = 16 << 20 }; /* bytes read at once where only some columns are ours */

/* Where a matrix lies in a dataset, counted in bytes. */
typedef struct {
    const slip_dataset *dataset;
    int64_t offset;            /* of its first row */
    int64_t rows, row_bytes;   /* of one expert, all columns */
    int64_t first_byte, bytes; /* of our columns in a row */
} extent;

/* `count` rows from `row` on, our columns of them, to `to` (rows are `to_stride` apart). */
static slip_status read_rows(slip_checked_file *file, const extent *e, int64_t row, int64_t count, unsigned char *to, size_t to_stride)
{
    int64_t offset = e->offset + row * e->row_bytes;
    if (e->bytes == e->row_bytes && (int64_t)to_stride == e->row_bytes)
        return slip_checked_read(file, e->dataset, offset, count * e->row_bytes, to);
    int64_t at_once = PIECE / e->row_bytes > 0 ? PIECE / e->row_bytes : 1;
    unsigned char *whole = malloc((size_t)(at_once * e->row_bytes));
    if (!whole)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_status status = SLIP_OK;
    for (int64_t done = 0; done < count && status == SLIP_OK; done += at_once) {
        int64_t now = count - done < at_once ? count - done : at_once;
        status = slip_checked_read(file, e->dataset, offset + done * e->row_bytes, now * e->row_bytes, whole);
        for (int64_t i = 0; i < now && status == SLIP_OK; i++)
            memcpy(to + (size_t)(done + i) * to_stride, whole + i * e->row_bytes + e->first_byte, (size_t)e->bytes);
    }
    free(whole);
    return status;
}

static const slip_dataset *find_scale(const slip_source *source, const char *name)
{
    char scale[SLIP_WEIGHT_NAME];
    slip_layout_scale_name(name, scale);
    return slip_checkpoint_find(&source->table, scale);
}

/* f8e4m3: which row of scales a stored row has. Every chunk of a weight starts anew. */
static int64_t scale_row(const slip_weight_spec *weight, int64_t row)
{
    int64_t rows = weight->rows / weight->chunks;
    return row / rows * slip_f8_blocks(rows) + row % rows / SLIP_F8_BLOCK;
}

/* One expert's block scales, spread to a row of scales a weight row. */
static slip_status read_f8_scales(slip_checked_file *file, const slip_dataset *scale, const slip_tensor *tensor, const slip_part *part,
                                  int64_t expert, float *to, int64_t to_columns)
{
    int64_t scale_rows = scale->shape[scale->dims - 2], scale_columns = scale->shape[scale->dims - 1];
    float *all = malloc((size_t)(scale_rows * scale_columns) * sizeof *all + 1);
    if (!all)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    int64_t bytes = scale_rows * scale_columns * 4;
    slip_status status = slip_checked_read(file, scale, expert * bytes, bytes, all);
    for (int64_t i = 0; i < part->rows.count && status == SLIP_OK; i++)
        memcpy(to + i * to_columns,
               all + scale_row(&part->weight, part->rows.first + i) * scale_columns + tensor->columns.first / SLIP_F8_BLOCK,
               (size_t)to_columns * sizeof *to);
    free(all);
    return status;
}

/* One part of one expert of the dataset, to the weight's rows [at, at + part rows), counted over all its experts. */
static slip_status read_part(const slip_source *source, slip_checked_file *file, const slip_tensor *tensor, const slip_part *part,
                             int64_t expert, int64_t at, slip_weight *weight)
{
    const slip_dataset *dataset = slip_checkpoint_find(&source->table, part->weight.name);
    int64_t rows = dataset->dims > 1 ? dataset->shape[dataset->dims - 2] : 1;
    int64_t row_bytes = dataset->shape[dataset->dims - 1] * slip_dtype_item_bytes(weight->dtype);
    extent codes = {dataset,
                    expert * rows * row_bytes,
                    rows,
                    row_bytes,
                    slip_dtype_row_bytes(weight->dtype, tensor->columns.first),
                    (int64_t)weight->row_bytes};
    slip_status status =
        read_rows(file, &codes, part->rows.first, part->rows.count, weight->data + (size_t)at * weight->row_bytes, weight->row_bytes);
    if (status != SLIP_OK || weight->scale == NULL)
        return status;
    const slip_dataset *scale = find_scale(source, part->weight.name);
    if (weight->dtype == SLIP_F8E4M3)
        return read_f8_scales(file, scale, tensor, part, expert, (float *)weight->scale + at * weight->scale_columns,
                              weight->scale_columns);
    int64_t scale_bytes = scale->shape[scale->dims - 1];
    extent scales = {
        scale, expert * rows * scale_bytes, rows, scale_bytes, tensor->columns.first / SLIP_MXFP4_BLOCK, weight->scale_columns};
    return read_rows(file, &scales, part->rows.first, part->rows.count, weight->scale + at * weight->scale_columns,
                     (size_t)weight->scale_columns);
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

/* Sizes of a tensor in memory; data and scale are not allocated. */
static slip_status describe(const slip_source *source, const slip_program *program, const slip_tensor *tensor, slip_weight *weight)
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
    *weight = (slip_weight){
        .dtype = dtype,
        .experts = tensor->experts.first < 0 ? 1 : tensor->experts.count,
        .rows = tensor->rows,
        .columns = columns.count,
        .row_bytes = (size_t)slip_dtype_row_bytes(dtype, columns.count),
    };
    if (dtype == SLIP_MXFP4)
        weight->scale_columns = columns.count / SLIP_MXFP4_BLOCK;
    if (dtype == SLIP_F8E4M3 && columns.count > 0) {
        weight->scale_columns = slip_f8_blocks(columns.first + columns.count) - columns.first / SLIP_F8_BLOCK;
        weight->scale_skew = columns.first % SLIP_F8_BLOCK;
    }
    return SLIP_OK;
}

static size_t scale_bytes(const slip_weight *weight)
{
    size_t each = weight->dtype == SLIP_F8E4M3 ? sizeof(float) : 1;
    return (size_t)(weight->experts * weight->rows * weight->scale_columns) * each;
}

static slip_status read_tensor(const slip_source *source, slip_checked_file *file, const slip_program *program, const slip_tensor *tensor,
                               slip_weight *weight)
{
    slip_status status = describe(source, program, tensor, weight);
    if (status != SLIP_OK)
        return status;
    weight->data = malloc((size_t)(weight->experts * weight->rows) * weight->row_bytes + 1);
    weight->scale = weight->scale_columns ? malloc(scale_bytes(weight) + 1) : NULL;
    if (!weight->data || (weight->scale_columns && !weight->scale))
        return slip_fail(SLIP_ERR_FAILED, "out of memory for /%s", program->parts[tensor->first_part].weight.name);
    int64_t row = 0, first = tensor->experts.first < 0 ? 0 : tensor->experts.first;
    for (int64_t e = 0; e < weight->experts; e++)
        for (int32_t p = 0; p < tensor->parts && status == SLIP_OK; p++) {
            const slip_part *part = &program->parts[tensor->first_part + p];
            status = read_part(source, file, tensor, part, first + e, row, weight);
            row += part->rows.count;
        }
    return status;
}

static slip_status load_tensor(const slip_source *source, slip_checked_file *file, const slip_program *program, int32_t index,
                               const slip_executor_kind *kind, slip_executor *executor)
{
    slip_weight weight = {0};
    slip_status status = read_tensor(source, file, program, &program->tensors[index], &weight);
    if (status == SLIP_OK)
        status = kind->load(executor, index, &weight);
    free(weight.data);
    free(weight.scale);
    return status;
}

/* The biases of a router that picks of a pool. */
static slip_status load_biases(const slip_source *source, int32_t index, uint64_t seed, const slip_executor_kind *kind,
                               slip_executor *executor)
{
    const slip_model *model = &source->model;
    int32_t experts = model->experts;
    int32_t pool = slip_overlap_pool(experts, model->top_k, model->draft.block, source->distinct_experts);
    float *biases = malloc((size_t)experts * sizeof *biases);
    if (!biases)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_overlap_biases(biases, experts, pool, seed);
    slip_weight weight = {.dtype = SLIP_F32,
                          .experts = 1,
                          .rows = 1,
                          .columns = experts,
                          .row_bytes = (size_t)experts * sizeof *biases,
                          .data = (unsigned char *)biases};
    slip_status status = kind->load(executor, index, &weight);
    free(biases);
    return status;
}

static slip_status fill_tensor(const slip_source *source, const slip_program *program, int32_t index, const slip_executor_kind *kind,
                               slip_executor *executor)
{
    const slip_tensor *tensor = &program->tensors[index];
    const slip_weight_spec *first = &program->parts[tensor->first_part].weight;
    uint64_t seed = slip_hash_text(SLIP_HASH_START, first->name);
    if (source->distinct_experts && first->row->random.selects)
        return load_biases(source, index, seed, kind, executor);
    return kind->fill(executor, index, first->row->dtype, seed);
}

/* Codes and scales; 0 for one that cannot be loaded. */
static uint64_t tensor_bytes(const slip_source *source, const slip_program *program, int32_t index)
{
    slip_weight weight;
    if (describe(source, program, &program->tensors[index], &weight) != SLIP_OK)
        return 0;
    return (uint64_t)(weight.experts * weight.rows) * weight.row_bytes + scale_bytes(&weight);
}

slip_status slip_shard_load(const slip_source *source, const slip_program *program, const slip_executor_kind *kind, slip_executor *executor)
{
    slip_checked_file file = {.checkpoint = &source->table, .files = &source->files};
    slip_status status = SLIP_OK;
    int64_t done = 0, total = source->progress ? (int64_t)slip_shard_bytes(source, program) : 0;
    for (int32_t i = 0; i < program->tensor_count && status == SLIP_OK; i++) {
        status = source->path ? load_tensor(source, &file, program, i, kind, executor) : fill_tensor(source, program, i, kind, executor);
        done += source->progress ? (int64_t)tensor_bytes(source, program, i) : 0;
        slip_progress_bytes(source->progress, "loading", done, total, slip_now_s());
    }
    slip_checked_close(&file);
    return status;
}

uint64_t slip_shard_bytes(const slip_source *source, const slip_program *program)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < program->tensor_count; i++)
        total += tensor_bytes(source, program, i);
    return total;
}
