/* The functions of the commands, from the table in jobs/options/options.h. Each is in a file or folder of its name. */
#ifndef SLIP_JOBS_OPTIONS_COMMANDS_H
#define SLIP_JOBS_OPTIONS_COMMANDS_H

#include "jobs/options/options.h"

struct slip_job;

/* `job` has its communicator, options and words; all ranks call them. */
#define SLIP_TOGETHER(NAME, function) slip_status function(struct slip_job *job);
/* On rank 0. */
#define SLIP_ALONE(NAME, function) slip_status function(const slip_options *options, int argc, char **argv);
#define SLIP_SPREAD(NAME)
SLIP_COMMAND_TABLE(SLIP_TOGETHER, SLIP_ALONE, SLIP_SPREAD)
#undef SLIP_SPREAD
#undef SLIP_ALONE
#undef SLIP_TOGETHER

#endif
