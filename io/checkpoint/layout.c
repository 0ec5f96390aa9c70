#include "io/checkpoint/layout.h"

#include <stdio.h>
#include <string.h>

void slip_layout_scale_name(const char *weight, char name[SLIP_WEIGHT_NAME])
{
    snprintf(name, SLIP_WEIGHT_NAME, "%.*s_scale", SLIP_WEIGHT_NAME - 7, weight);
}

bool slip_layout_allows(const slip_weight_spec *weight, slip_dtype dtype)
{
    switch (dtype) {
    case SLIP_F32: return true;
    case SLIP_BF16: return weight->row->kind != SLIP_KIND_SCALAR;
    case SLIP_F8E4M3: return weight->row->kind == SLIP_KIND_MATRIX || weight->row->kind == SLIP_KIND_EXPERTS;
    case SLIP_MXFP4: return weight->row->kind == SLIP_KIND_EXPERTS && weight->columns % SLIP_MXFP4_BLOCK == 0;
    case SLIP_DTYPES: break;
    }
    return false;
}

/* The product cannot wrap: ranks/model/config/limits.h bounds every size. */
static void set_shape(slip_dataset *dataset, const slip_weight_spec *weight, slip_dtype dtype, int64_t rows, int64_t columns)
{
    bool vector = slip_weight_is_vector(weight->row);
    int64_t sizes[SLIP_DATASET_DIMS] = {weight->experts, rows, columns};
    dataset->dtype = dtype;
    dataset->dims = weight->row->kind == SLIP_KIND_EXPERTS ? 3 : vector ? 1 : 2;
    memcpy(dataset->shape, sizes + SLIP_DATASET_DIMS - dataset->dims, (size_t)dataset->dims * sizeof *sizes);
    dataset->bytes = weight->experts * rows * columns * slip_dtype_item_bytes(dtype);
}

void slip_layout_datasets(const slip_weight_spec *weight, slip_dtype dtype, slip_dataset *codes, slip_dataset *scales)
{
    memset(codes, 0, sizeof *codes);
    memset(scales, 0, sizeof *scales);
    memcpy(codes->name, weight->name, sizeof codes->name);
    slip_layout_scale_name(weight->name, scales->name);
    set_shape(codes, weight, dtype, weight->rows, slip_dtype_row_bytes(dtype, weight->columns) / slip_dtype_item_bytes(dtype));
    if (dtype == SLIP_MXFP4)
        set_shape(scales, weight, SLIP_MXFP4, weight->rows, weight->columns / SLIP_MXFP4_BLOCK);
    if (dtype == SLIP_F8E4M3)
        set_shape(scales, weight, SLIP_F32, weight->chunks * slip_f8_blocks(weight->rows / weight->chunks),
                  slip_f8_blocks(weight->columns));
}
