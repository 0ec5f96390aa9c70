/* A file that a run writes beside its answers: a trace, logits, a profile.
 *
 * It is claimed before work begins: the name is free, the folder takes files, nobody else writes there (io/base/file/lock.h). Nothing is made
 * yet, so a run that fails leaves no empty file.
 */
#ifndef SLIP_IO_REPORT_OUTPUT_H
#define SLIP_IO_REPORT_OUTPUT_H

#include <stdbool.h>

#include "io/base/status.h"

typedef struct slip_output slip_output;

/* What slip_output_claim() would say, but for who else writes there: nothing is taken. */
slip_status slip_output_check(const char *path, bool replace);

/* `path` is borrowed. SLIP_ERR_INPUT: what cannot be written there, or what is there already and not empty; with `replace` that is no
 * fault. `whole`: half of it is worth nothing, so a signal that ends the process removes it. */
slip_status slip_output_claim(const char *path, bool replace, bool whole, slip_output **output);

/* Give it back. Not `whole`: what there is of it is removed. NULL is fine. */
void slip_output_close(slip_output *output, bool whole);

/* After a call of HDF5 that failed, before the next one: the fault with the system's own reason ("No space left on device"). */
slip_status slip_output_failed(const char *path);

#endif
