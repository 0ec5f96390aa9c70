#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "comm/mpi_state.h"
#include "io/base/clock.h"

enum { SPINS_BEFORE_YIELD = 64 };

/* A rank is given up when its process has been stopped for STOPPED_S; how often we look. */
static const double STOPPED_S = 3, LOOK_S = 0.1;

/* Is a request before requests[i] open to the same peer? */
static bool named_before(const slip_comm *comm, int i)
{
    for (int j = 0; j < i; j++)
        if (comm->requests[j] != MPI_REQUEST_NULL && comm->peers[j] == comm->peers[i])
            return true;
    return false;
}

/* "rank 1 (node7), rank 3 (node9)": the peers whose requests are still open. */
static void name_missing(const slip_comm *comm, int count, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < count && used < size; i++) {
        if (comm->requests[i] == MPI_REQUEST_NULL || named_before(comm, i))
            continue;
        int n = snprintf(text + used, size - used, "%srank %d (%s)", used ? ", " : "", comm->peers[i], comm->hosts[comm->peers[i]]);
        used += n > 0 ? (size_t)n : 0;
    }
}

static bool all_done(slip_comm *comm, int count, MPI_Status *status)
{
    int done = 0;
    if (status)
        MPI_Test(&comm->requests[0], &done, status);
    else
        MPI_Testall(count, comm->requests, &done, MPI_STATUSES_IGNORE);
    return done;
}

/* Between two polls. Peers at work answer within microseconds. A peer that has not answered for a while is busy elsewhere (rank 0 drafts or
 * writes results) and may need our core. */
static void pause_between_polls(const slip_comm *comm, double waited_s)
{
    const struct timespec nap = {.tv_nsec = 50000};
    if (waited_s < comm->polling_s)
        sched_yield();
    else
        nanosleep(&nap, NULL);
}

/* The rank of an open request whose process on our host is stopped, or -1. */
static int stopped_peer(const slip_comm *comm, int count)
{
    for (int i = 0; i < count; i++) {
        int rank = comm->peers[i];
        if (comm->requests[i] != MPI_REQUEST_NULL && strcmp(comm->hosts[rank], comm->hosts[comm->rank]) == 0 &&
            slip_process_stopped(&comm->processes[rank]))
            return rank;
    }
    return -1;
}

/* A long wait's observations of the others' processes. */
typedef struct {
    double looked, stopped; /* seconds into the wait: last look; since when `rank` is stopped */
    int rank;               /* -1 none */
} stop_watch;

/* True when a rank has been stopped for too long: the cause is set. */
static bool gave_up(slip_comm *comm, int count, const char *what, double waited, stop_watch *watch)
{
    if (waited - watch->looked < LOOK_S)
        return false;
    watch->looked = waited;
    int rank = stopped_peer(comm, count);
    if (rank != watch->rank) {
        watch->rank = rank;
        watch->stopped = waited;
    }
    if (rank < 0 || waited - watch->stopped < STOPPED_S)
        return false;
    comm->lost = true;
    slip_fail(SLIP_ERR_FAILED, "%s: no answer from rank %d (%s): its process %lld has been stopped for %.0f s", what, rank,
              comm->hosts[rank], (long long)comm->processes[rank].pid, STOPPED_S);
    return true;
}

slip_status slip_comm_wait(slip_comm *comm, int count, double timeout_s, const char *what, MPI_Status *status)
{
    for (int spin = 0; spin < SPINS_BEFORE_YIELD; spin++)
        if (all_done(comm, count, status))
            return SLIP_OK;
    double start = slip_now_s();
    stop_watch watch = {.rank = -1};
    while (!all_done(comm, count, status)) {
        double waited = slip_now_s() - start;
        pause_between_polls(comm, waited);
        if (gave_up(comm, count, what, waited, &watch))
            return SLIP_ERR_FAILED;
        if (waited < timeout_s)
            continue;
        char missing[512];
        for (int i = 0; i < count; i++) { /* Testall leaves finished ones open while others are not done */
            int done;
            MPI_Test(&comm->requests[i], &done, MPI_STATUS_IGNORE);
        }
        name_missing(comm, count, missing, sizeof missing);
        comm->lost = true;
        return slip_fail(SLIP_ERR_FAILED, "%s: no answer from %s within %.0f s", what, missing, timeout_s);
    }
    return SLIP_OK;
}

slip_status slip_comm_wait_collective(slip_comm *comm, const char *what)
{
    for (double give_up = slip_now_s() + comm->deadline_s; !all_done(comm, 1, NULL); sched_yield()) {
        if (slip_now_s() < give_up)
            continue;
        comm->lost = true;
        return slip_fail(SLIP_ERR_FAILED, "%s: some rank did not answer within %.0f s", what, comm->deadline_s);
    }
    return SLIP_OK;
}
