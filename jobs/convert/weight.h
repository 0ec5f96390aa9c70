/* One weight of the layout: found in the source and checked by its headers alone, then gathered, checked value by value, and written.
 */
#ifndef SLIP_JOBS_CONVERT_WEIGHT_H
#define SLIP_JOBS_CONVERT_WEIGHT_H

#include "io/base/status.h"
#include "io/checkpoint/checkpoint.h"
#include "io/checkpoint/layout.h"
#include "jobs/convert/source.h"
#include "jobs/convert/write/rounding.h"

/* What becomes of a weight. Plain data, but that it borrows its source and its weight. */
typedef struct {
    slip_convert_source *source;
    const slip_weight_spec *weight;
    bool joined;        /* a fused qkv from tensors that lie apart (jobs/convert/qkv.h) */
    slip_st_dtype from; /* of every source tensor of this weight */
    slip_dtype to;
    slip_dataset codes, scales; /* as they will be stored; scales.bytes 0: none */
} slip_conversion;

/* Find every tensor of a weight and check what headers tell. `round_experts` turns F32, BF16, F16 and F8_E4M3 experts into MXFP4.
 * SLIP_ERR_INPUT names the file, the tensor and what is wrong: missing, its dtype, its shape. */
slip_status slip_conversion_plan(slip_convert_source *source, const slip_weight_spec *weight, bool round_experts,
                                 slip_conversion *conversion);

/* Read, convert and write it; what rounding does goes into *rounding. SLIP_ERR_INPUT also for a value that is not finite, with its place. Weights do not depend on one another. */
slip_status slip_conversion_write(const slip_conversion *conversion, slip_checkpoint_writer *writer, slip_rounding *rounding);

/* ---- for jobs/convert/qkv.c ---- */

/* A tensor of the weight (of one of its experts), its scales with a suffix, in this shape (dims 0: any) and marked used. */
slip_status slip_conversion_take(slip_convert_source *source, const slip_weight_spec *weight, int64_t expert, const char *suffix,
                                 const int64_t *shape, int dims, const slip_st_tensor **tensor);

typedef enum { SLIP_READ_VALUES, SLIP_READ_E8M0, SLIP_READ_F8_SCALES } slip_read_kind;

/* Read all of a tensor and refuse values that are not finite, and scales of F8_E4M3 that no quantiser writes. */
slip_status slip_conversion_read(const slip_convert_source *source, const slip_st_tensor *tensor, slip_read_kind kind, void *out);

#endif
