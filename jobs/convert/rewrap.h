/* A checkpoint of this program written again: what an earlier version wrote gains what it lacked, checksums and settings.
 */
#ifndef SLIP_JOBS_CONVERT_REWRAP_H
#define SLIP_JOBS_CONVERT_REWRAP_H

#include "jobs/convert/convert.h"

/* options->source_folder is a checkpoint. Every byte of its weights stays; values that are not finite are refused. */
slip_status slip_convert_rewrap(const slip_convert_options *options);

#endif
