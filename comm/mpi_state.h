/* What mpi.c (messages) and mpi_wait.c (how they are waited for) share. */
#ifndef SLIP_COMM_MPI_STATE_H
#define SLIP_COMM_MPI_STATE_H

#include <mpi.h>

#include "comm/comm.h"
#include "comm/host/process.h"
#include "comm/host/board.h"

enum { SLIP_CAUSE_SIZE = 1024 };

/* What a rank says, and what rank 0 then says to all. */
typedef struct {
    int status, rank;
    char cause[SLIP_CAUSE_SIZE];
} slip_verdict;

struct slip_comm {
    int rank, ranks;
    double deadline_s, idle_deadline_s, polling_s;
    bool lost;    /* a wait has passed its deadline, or a call of MPI's has failed */
    bool watched; /* the deadline was set: it is a run */
    slip_board board;
    char (*hosts)[SLIP_HOST_NAME];
    char (*gpus)[SLIP_GPU_NAME]; /* [ranks]: the first that each sees */
    slip_process *processes;     /* [ranks] */
    MPI_Request *requests;       /* 2 * ranks: messages in flight, receives first */
    int *peers;                  /* 2 * ranks: peers[i] is who requests[i] waits for */
    slip_verdict *verdicts;      /* [ranks]: what each rank said, on rank 0 */
    double *sums;                /* [ranks, room for a sum]: what each rank sent */
    const double **parts;        /* [ranks]: its row of sums, or our own partial */
};

/* Did a call of MPI's succeed? Otherwise the cause is set, and MPI is not to be used any more. */
bool slip_comm_called(slip_comm *comm, int error, const char *call, const char *what);

/* Take the job down, from whichever thread. */
_Noreturn void slip_comm_end_job(slip_status status);

/* Poll requests[0 .. count) until all are done. SLIP_ERR_FAILED names the ranks that were waited for, after `timeout_s` seconds or
 * when the process of one of them has been stopped for a while. `status` (NULL: not wanted) is of requests[0], the only one then. */
slip_status slip_comm_wait(slip_comm *comm, int count, double timeout_s, const char *what, MPI_Status *status);

/* As above, for one nonblocking collective in requests[0]. Its error can't name the missing rank. */
slip_status slip_comm_wait_collective(slip_comm *comm, const char *what);

#endif
