/* Was this process started as one of several by a launcher that our MPI does not know? Then each of them believes to be rank 0 of one, does
 * all the work and writes the same output.
 */
#ifndef SLIP_COMM_LAUNCHER_H
#define SLIP_COMM_LAUNCHER_H

#include "io/base/status.h"

/* `ranks` is what MPI says. SLIP_ERR_INPUT: a launcher says more; the message names the variable and the remedy. */
slip_status slip_launcher_check(int ranks);

#endif
