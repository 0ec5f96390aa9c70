/* What launchers (mpirun, srun) tell a process in its environment. */
#ifndef SLIP_COMM_LAUNCHER_H
#define SLIP_COMM_LAUNCHER_H

#include <stdbool.h>

#include "io/base/status.h"

/* Was this process started by a launcher, which then stands between it and where standard output goes? Not asked by PMIX_RANK: Open MPI
 * sets it in processes that nobody launched. */
bool slip_launcher_is_there(void);

/* Was this process started as one of several by a launcher that our MPI does not know? Then each of them believes to be rank 0 of one, does
 * all the work and writes the same output. `ranks` is what MPI says. SLIP_ERR_INPUT: a launcher says more; the message
 * names the variable and the remedy. */
slip_status slip_launcher_check(int ranks);

#endif
