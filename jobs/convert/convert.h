/* slipstream convert: a Hugging Face folder becomes a Slipstream checkpoint.
 *
 * Taken in: safetensors in F32, BF16 or F16 (widened to f32), FP8 E4M3 with weight_scale_inv, MXFP4 with
 * weight_scale, q/k/v split or fused in chunks; config.json as the families of ranks/model/family.h read it; tokenizer.json;
 * a DFlash drafter's folder. Values stay the source's own: a stored code or scale is never rounded again.
 * Only `--experts mxfp4` rounds, and only experts that are F32, BF16 or F16.
 */
#ifndef SLIP_JOBS_CONVERT_CONVERT_H
#define SLIP_JOBS_CONVERT_CONVERT_H

#include "io/base/status.h"

typedef enum { SLIP_CONVERT_KEEP, SLIP_CONVERT_MXFP4 } slip_convert_experts;

typedef struct {
    const char *source_folder;
    const char *out_path;     /* refused when it exists; what an interrupted run left is overwritten */
    const char *draft_folder; /* NULL: SOURCE/dflash where that exists */
    slip_convert_experts experts;
    int rank, ranks; /* rank 0 converts; the others return at once, to wait where the job next meets */
} slip_convert_options;

/* Progress, warnings and one line of summary go to standard error. On failure nothing is left at out_path. */
slip_status slip_convert_run(const slip_convert_options *options);

#endif
