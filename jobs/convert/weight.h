/* One weight of the layout: gathered from the source, turned into what the checkpoint stores, written. */
#ifndef SLIP_JOBS_CONVERT_WEIGHT_H
#define SLIP_JOBS_CONVERT_WEIGHT_H

#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/layout.h"
#include "io/base/status.h"
#include "jobs/convert/source.h"

/* Weights do not depend on one another: each call reads its own tensors and writes its own datasets.
 * `round_experts` turns F32, BF16 and F16 experts into MXFP4. *bytes counts what was written. SLIP_ERR_INPUT
 * names the file, the tensor and what is wrong: missing, its dtype, its shape, a value that is not finite. */
slip_status slip_convert_weight(slip_checkpoint_writer *writer, slip_convert_source *source,
                                const slip_weight_spec *weight, bool round_experts, int64_t *bytes);

#endif
