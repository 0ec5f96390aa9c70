/* Signals that ask a run to end early: SIGUSR1, SIGTERM, SIGINT.
 *
 * Until slip_signals_defer() the first one ends the process with exit status 75: nothing has been begun. From then on it is noted, and
 * whoever drives the run finishes what is in flight; a second one ends the process at once, also with 75. A launcher may deliver one
 * signal twice (from Slurm and from mpirun): what comes within a second of the first is the same.
 */
#ifndef SLIP_COMM_SIGNALS_H
#define SLIP_COMM_SIGNALS_H

#include <stdbool.h>

/* Begin to catch them. `speaks`: this rank says why the process ends. */
void slip_signals_catch(bool speaks);

/* Note the first from now on. Without slip_signals_catch() nothing changes. */
void slip_signals_defer(void);

/* The one that was noted, 0: none. */
int slip_signals_noted(void);

/* "SIGUSR1" */
const char *slip_signal_name(int number);

#endif
