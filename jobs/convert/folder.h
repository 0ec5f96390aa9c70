/* What a conversion reads before it writes: configs, tokenizer, and the headers of the tensors.
 */
#ifndef SLIP_JOBS_CONVERT_FOLDER_H
#define SLIP_JOBS_CONVERT_FOLDER_H

#include "jobs/convert/convert.h"
#include "jobs/convert/weight.h"

enum { SLIP_CONVERT_PATH = 4096 };

typedef struct {
    char draft_path[SLIP_CONVERT_PATH];                 /* "" without a drafter */
    char *config, *draft_config, *settings, *tokenizer; /* owned */
    size_t config_size, draft_config_size, tokenizer_size;
    char *mask; /* mask_embedding.pt, owned; NULL: no such file */
    size_t mask_size;
    slip_model model; /* as it will be read again */
    slip_convert_source target, draft;
    slip_weight_spec *weights; /* owned */
    size_t weight_count;
} slip_convert_folder;

/* Read and check all of it; warnings go to standard error. The caller closes it, also after a failure. */
slip_status slip_convert_folder_open(const slip_convert_options *options, slip_convert_folder *folder);
void slip_convert_folder_close(slip_convert_folder *folder);

#endif
