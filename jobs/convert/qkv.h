/* How the rows of q, k and v lie in a folder, which its config does not say.
 *
 * A fused qkv comes in chunks [Q | K | V], as many as the ranks that its model was saved on: metadata.tp_size of the index, or what the
 * grid of FP8 scales leaves open. FP8 scales cover 128 rows of a chunk, whatever those belong to. A checkpoint of split q, k and v in
 * which k's scales do not restart where k does (MiMo-V2-Flash: heads of 192 rows with two scale rows each, the second of which v's
 * first 64 rows share) was cut from such chunks, so convert joins them again: scales stay the source's own.
 */
#ifndef SLIP_JOBS_CONVERT_QKV_H
#define SLIP_JOBS_CONVERT_QKV_H

#include "jobs/convert/weight.h"

/* Set model->qkv_chunks by the folder. SLIP_ERR_INPUT where it does not fit the heads, or cannot be told. */
slip_status slip_convert_qkv_settle(const slip_convert_source *source, slip_model *model);

/* A fused weight whose folder has q, k and v apart. */
bool slip_convert_qkv_is_apart(const slip_convert_source *source, const slip_weight_spec *weight);

/* As slip_conversion_plan(), for such a weight. */
slip_status slip_convert_qkv_plan(slip_convert_source *source, const slip_weight_spec *weight, slip_conversion *conversion);

/* Read q, k and v, chunk by chunk: codes [rows, columns], scales f32 [chunks * rows of scales, columns / 128]. */
slip_status slip_convert_qkv_join(const slip_conversion *conversion, char *codes, char *scales);

#endif
