/* How the weights of a model (ranks/model/weights.h) are stored: the shapes of their datasets, which reading, checking and
 * converting share. */
#ifndef SLIP_IO_CHECKPOINT_LAYOUT_H
#define SLIP_IO_CHECKPOINT_LAYOUT_H

#include <stdbool.h>

#include "io/checkpoint/checkpoint.h"
#include "ranks/model/weights.h"

enum { SLIP_CHECKPOINT_DATASETS_MAX = 16384 };

/* Whether a weight may be stored so: its kind allows the type, and its columns divide into MXFP4's blocks. */
bool slip_layout_allows(const slip_weight_spec *weight, slip_dtype dtype);

/* The dataset of a weight stored as `dtype`, and of its scales where the type has them (else scales->bytes is
 * 0). Offsets are left 0. The type must be allowed. */
void slip_layout_datasets(const slip_weight_spec *weight, slip_dtype dtype, slip_dataset *codes, slip_dataset *scales);

/* The name of the scales of a weight's dataset. */
void slip_layout_scale_name(const char *weight, char name[SLIP_WEIGHT_NAME]);

#endif
