/* The tensors of a Hugging Face folder under Slipstream's names. */
#ifndef SLIP_JOBS_CONVERT_SOURCE_H
#define SLIP_JOBS_CONVERT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "io/base/status.h"
#include "io/checkpoint/safetensors/safetensors.h"
#include "ranks/model/weights.h"

enum { SLIP_SOURCE_NAME = 192 };

typedef struct {
    const char *path;               /* of the folder; the caller's */
    const slip_weight_table *table; /* of the weights that are looked for in it */
    slip_safetensors *folder;
    bool *used; /* a flag a tensor, in the folder's order */
} slip_convert_source;

/* Open a folder. slip_convert_source_close also takes a zeroed source. */
slip_status slip_convert_source_open(const char *path, const slip_weight_table *table, slip_convert_source *source);
void slip_convert_source_close(slip_convert_source *source);

/* The `which`-th of the names that a weight may have in a folder (expert 7 of target/layers/3/experts/up:
 * "model.layers.3.mlp.experts.7.up_proj.weight"), followed by `suffix`. False where it has fewer names. */
bool slip_convert_source_name(const slip_weight_spec *weight, int which, int64_t expert, const char *suffix, char name[SLIP_SOURCE_NAME]);

/* Whether a weight's tensor is there. */
bool slip_convert_source_has(const slip_convert_source *source, const slip_weight_spec *weight);

/* Find a weight's tensor (of one of its experts) and mark it used; NULL when there is none. */
const slip_st_tensor *slip_convert_source_take(slip_convert_source *source, const slip_weight_spec *weight, int64_t expert,
                                               const char *suffix);

/* After the last take: tensors that belong to the model but were not asked for are an error, since leaving
 * out a bias or a shared expert would change what the model says. Others (MTP, vision, audio) are counted in
 * *skipped; *strange is the first of them that is not known to be one of these, or NULL. */
slip_status slip_convert_source_check(const slip_convert_source *source, size_t *skipped, const slip_st_tensor **strange);

/* Continue *hash over the folder's files: names, sizes, times, and what their headers say of the tensors. */
slip_status slip_convert_source_hash(const slip_convert_source *source, uint64_t *hash);

#endif
