/* A thread beside the main one that can speak while that is stuck. It makes no call to MPI but the one that ends the job.
 *
 * SIGUSR2 prints what every rank of this host is doing, a line a rank on standard error, and the run goes on. A launcher passes the signal on
 * to all ranks: the first one on each host to get it speaks for that host, the others within a second stay silent.
 *
 * A system call on a file that lasts longer than the deadline ends the job with exit status 1, and so does an op that other ranks wait for. A
 * wait for another rank has a deadline of its own (comm/mpi_wait.c); a rank that has nothing to do may have that for ever.
 */
#ifndef SLIP_COMM_WATCH_H
#define SLIP_COMM_WATCH_H

#include "comm/comm.h"

/* Keep SIGUSR2 pending until the watch begins: before MPI starts threads of its own, which inherit that. */
void slip_watch_hold_signal(void);

/* Begin. Where no thread can be had, nobody watches and SIGUSR2 stays pending. */
void slip_watch_begin(slip_comm *comm);
void slip_watch_end(void);

/* Print the lines now. */
void slip_watch_show(const slip_comm *comm);

#endif
