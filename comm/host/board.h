/* What each rank of this host is doing (io/base/activity/activity.h), in memory that they share: also a rank that is stopped or stuck can be
 * asked. Without shared memory between them, a rank sees itself alone.
 */
#ifndef SLIP_COMM_HOST_BOARD_H
#define SLIP_COMM_HOST_BOARD_H

#include <mpi.h>
#include <stdbool.h>

#include "io/base/activity/activity.h"
#include "io/base/status.h"

typedef struct {
    MPI_Comm node;
    MPI_Win window;                   /* MPI_WIN_NULL: no shared memory */
    int count;                        /* ranks of this host that can be seen */
    int *ranks;                       /* [count]: their ranks in the job, ascending */
    const slip_activity_slot **slots; /* [count] */
    double *shown_s;                  /* slip_now_s() of the last report of this host's ranks, theirs together */
    double own_shown_s;
} slip_board;

/* Lockstep. From now on this rank publishes there. Where MPI cannot share memory the board is empty: that is no failure. */
slip_status slip_board_open(slip_board *board, int rank);
void slip_board_close(slip_board *board);

/* What `rank` is doing; false for one that can't be seen. */
bool slip_board_find(const slip_board *board, int rank, slip_activity *activity);

/* True for one caller of all ranks of this host within `seconds`. */
bool slip_board_claim(slip_board *board, double seconds);

#endif
