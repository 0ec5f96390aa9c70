/* slipstream convert: a Hugging Face folder becomes a Slipstream checkpoint.
 *
 * Taken in: safetensors in F32, BF16 or F16 (widened to f32), FP8 E4M3 with weight_scale_inv, MXFP4 with
 * weight_scale, q/k/v split or fused in chunks; config.json as the families of ranks/model/family.h read it; generation_config.json;
 * tokenizer.json and tokenizer_config.json's eos_token; a DFlash drafter's folder. Values stay the source's own: a stored code or
 * scale is never rounded again. Only `--experts mxfp4` rounds, and only experts that are F32, BF16, F16 or F8_E4M3.
 *
 * Everything that headers and small files tell is checked before anything is written: names, shapes, types, what is left over, the
 * tokenizer, room on the disk. Values are checked as they are copied: none may be NaN or infinite.
 */
#ifndef SLIP_JOBS_CONVERT_CONVERT_H
#define SLIP_JOBS_CONVERT_CONVERT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "comm/comm.h"

typedef enum { SLIP_CONVERT_KEEP, SLIP_CONVERT_MXFP4 } slip_convert_experts;
typedef enum { SLIP_CONVERT_BY_SIZE, SLIP_CONVERT_ONE_FILE, SLIP_CONVERT_LAYER_FILES } slip_convert_files;

typedef struct {
    const char *source_folder; /* or a checkpoint of this program, to be written again (jobs/convert/rewrap.h) */
    const char *out_path;      /* refused when it exists; what an interrupted run left is overwritten */
    const char *draft_folder;  /* NULL: SOURCE/dflash where that exists */
    slip_convert_experts experts;
    slip_convert_files files;
    int32_t for_gpus;      /* also pack the model for so many GPUs (jobs/convert/for_gpus.h); 0: do not. Needs a comm */
    int32_t expert_slices; /* for_gpus: ranks that share an expert; 0: what slip_plan_slices() finds */
    int32_t window;        /* keys that a query of a sliding layer sees, itself included; 0: as the config says */
    bool dry_run;          /* check, and write nothing */
    bool quiet;            /* warnings alone */
    json_t *json;          /* rank 0: an object to add figures to; NULL: none wanted */
    slip_comm *comm;       /* NULL: this process is alone */
} slip_convert_options;

/* Is this the rank that tells the user? */
static inline bool slip_convert_speaks(const slip_convert_options *options)
{
    return options->comm == NULL || slip_comm_rank(options->comm) == 0;
}

/* Lockstep on all ranks. Where for_gpus is asked for and source_folder is the model at out_path itself, it is only packed. Progress, warnings and a summary go to standard error, from rank 0. On failure nothing is left at out_path, but
 * finished layers stay beside it (jobs/convert/write/output.h); who else is converting to it is refused by a lock. */
slip_status slip_convert_run(const slip_convert_options *options);

#endif
