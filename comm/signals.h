/* Signals that ask a run to end early: SIGUSR1, SIGTERM, SIGINT.
 *
 * Until slip_signals_defer() the first one ends the process with exit status 75: nothing is there yet that is worth keeping. From then on it
 * is noted, and whoever drives the run ends it between two steps; a second one ends the process at once, also with 75. Either way half-written
 * files go (io/base/file/leftover.h). A launcher may deliver one signal twice (from Slurm and from mpirun): what comes within a second of
 * the first is the same.
 */
#ifndef SLIP_COMM_SIGNALS_H
#define SLIP_COMM_SIGNALS_H

/* What a process says behind the signal's name when it ends at once. */
typedef struct {
    const char *early;  /* before slip_signals_defer() */
    const char *second; /* on the second signal */
} slip_signal_words;

/* Begin to catch them. `words` is borrowed; NULL: another rank speaks. */
void slip_signals_catch(const slip_signal_words *words);

/* Note the first from now on. Without slip_signals_catch() nothing changes. */
void slip_signals_defer(void);

/* The run has come to its end, well or not: what it says of itself and its exit status are settled. The first signal changes neither; a
 * launcher sends one to the ranks that are left when a rank has ended before them. A second one ends the process without a word. */
void slip_signals_settle(void);

/* The one that was noted, 0: none. */
int slip_signals_noted(void);

/* "SIGUSR1" */
const char *slip_signal_name(int number);

#endif
