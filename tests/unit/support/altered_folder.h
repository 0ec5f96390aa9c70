/* A fixture of tests/golden/forward copied into a temporary folder, altered in one place at a time, and converted. */
#ifndef TESTS_UNIT_ALTERED_FOLDER_H
#define TESTS_UNIT_ALTERED_FOLDER_H

#include <stddef.h>

#include "io/checkpoint/safetensors/safetensors.h"
#include "jobs/convert/convert.h"

typedef struct {
    char at[64];                /* the temporary folder */
    char source[80], model[80]; /* the copy in it, and what is converted from it */
} altered_folder;

altered_folder altered_copy(const char *fixture);
void altered_drop(altered_folder *f);

/* Valid until the next call. */
const char *altered_path(const altered_folder *f, const char *name);

void altered_write(const altered_folder *f, const char *name, const void *bytes, size_t size);

/* Convert it, or only look whether that could be done. Nothing else may be left of a conversion that fails. */
slip_status altered_convert(const altered_folder *f, slip_convert_experts experts, bool dry_run);

/* Convert, and fail the test unless it is refused as bad input with both words in the message and leaves nothing. */
void altered_refuse(const altered_folder *f, slip_convert_experts experts, bool dry_run, const char *defect, const char *first,
                    const char *second);

/* Replace the first `from` behind `after` in the header of a safetensors file; false: it has none. */
bool altered_header(const char *path, const char *after, const char *from, const char *to);

#endif
