/* Which datasets a model's checkpoint has, and their shapes: the one list that reading, checking and
 * converting share. */
#ifndef SLIP_IO_CHECKPOINT_LAYOUT_H
#define SLIP_IO_CHECKPOINT_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/checkpoint/checkpoint.h"
#include "io/base/status.h"
#include "ranks/model/model.h"

enum { SLIP_CHECKPOINT_DATASETS_MAX = 16384 };

/* What a weight is decides which types it may have. */
typedef enum {
    SLIP_KIND_VECTOR, /* [columns] f32 or bf16 */
    SLIP_KIND_SCALAR, /* [columns] f32: a logit or a bias a head or an expert */
    SLIP_KIND_TABLE,  /* [rows, columns] f32 or bf16: embedding, head, router */
    SLIP_KIND_MATRIX, /* [rows, columns] f32, bf16 or f8e4m3 */
    SLIP_KIND_EXPERTS /* [experts, rows, columns] any type */
} slip_stored_kind;

typedef struct {
    char name[SLIP_DATASET_NAME];
    slip_stored_kind kind;
    bool optional;
    int32_t chunks;  /* of rows, each with scale blocks of its own; 1 for all but a fused qkv */
    int64_t experts; /* 1 unless stacked */
    int64_t rows;    /* 1 for a vector */
    int64_t columns;
} slip_stored;

/* Every dataset that `model` asks for. The caller frees *weights. */
slip_status slip_layout_build(const slip_model *model, slip_stored **weights, size_t *count);

/* Whether a weight may be stored so: its kind allows the type, and its columns divide into MXFP4's blocks. */
bool slip_layout_allows(const slip_stored *weight, slip_dtype dtype);

/* The dataset of a weight stored as `dtype`, and of its scales where the type has them (else scales->bytes is
 * 0). Offsets are left 0. The type must be allowed. */
void slip_layout_datasets(const slip_stored *weight, slip_dtype dtype, slip_dataset *codes,
                          slip_dataset *scales);

#endif
