/* How a call of MPI ends: waiting with a deadline, noticing ranks that are gone or stopped, and naming them. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "comm/mpi_state.h"
#include "comm/watch.h"
#include "io/base/clock.h"

enum { SPINS_BEFORE_YIELD = 64, MISSING = 512, AT = SLIP_ACTIVITY_TEXT + 64 };

/* A rank is given up when its process has been stopped for STOPPED_S; how often we look. Where ranks of a host give up within
 * SHOWN_S of one another, one shows what all of them do. */
static const double STOPPED_S = 3, LOOK_S = 0.1, SHOWN_S = 3;

/* Is a request before requests[i] open to the same peer? */
static bool named_before(const slip_comm *comm, int i)
{
    for (int j = 0; j < i; j++)
        if (comm->requests[j] != MPI_REQUEST_NULL && comm->peers[j] == comm->peers[i])
            return true;
    return false;
}

bool slip_comm_called(slip_comm *comm, int error, const char *call, const char *what)
{
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length;
    if (error == MPI_SUCCESS)
        return true;
    comm->lost = true;
    MPI_Error_string(error, reason, &length);
    slip_fail(SLIP_ERR_FAILED, "%s: %s failed: %s", what, call, reason);
    return false;
}

/* Testall leaves finished requests open while others are not done. */
static void close_finished(slip_comm *comm, int count)
{
    for (int i = 0; i < count; i++) {
        int done;
        MPI_Test(&comm->requests[i], &done, MPI_STATUS_IGNORE);
    }
}

/* "rank 1 (node7), rank 3 (node9)": the peers whose requests are still open. */
static void name_missing(const slip_comm *comm, int count, char text[static MISSING])
{
    size_t used = 0, size = MISSING;
    text[0] = '\0';
    for (int i = 0; i < count && used < size; i++) {
        if (comm->requests[i] == MPI_REQUEST_NULL || named_before(comm, i))
            continue;
        int n = snprintf(text + used, size - used, "%srank %d (%s)", used ? ", " : "", comm->peers[i], comm->hosts[comm->peers[i]]);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* What a rank on our host is at. */
static void describe_late(const slip_comm *comm, int rank, char at[static AT])
{
    slip_activity activity;
    char what[SLIP_ACTIVITY_TEXT];
    at[0] = '\0';
    if (!slip_board_find(&comm->board, rank, &activity))
        return;
    slip_activity_describe(&activity, what);
    snprintf(at, AT, "; its state: %s, for %.1f s", what, slip_now_s() - activity.since_s);
}

/* Are the requests done, or can that not be told any more? */
typedef enum { OPEN, DONE, BROKEN } progress;

static progress poll(slip_comm *comm, int count, const char *what, MPI_Status *status)
{
    int done = 0;
    bool ok = status ? slip_comm_called(comm, MPI_Test(&comm->requests[0], &done, status), "MPI_Test", what)
                     : slip_comm_called(comm, MPI_Testall(count, comm->requests, &done, MPI_STATUSES_IGNORE), "MPI_Testall", what);
    return !ok ? BROKEN : done ? DONE : OPEN;
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

/* Tell whom we wait for (comm/watch.h). A request with a status is left alone: whoever finishes it gets the status. */
static void tell(slip_comm *comm, int count, const MPI_Status *status)
{
    char missing[MISSING];
    if (!status)
        close_finished(comm, count);
    name_missing(comm, count, missing);
    if (missing[0])
        slip_activity_wait(SLIP_WAIT_RANK, "waiting for", missing);
}

/* True when a rank has been stopped for too long: the cause is set. */
static bool gave_up(slip_comm *comm, int count, const char *what, double waited, const MPI_Status *status, stop_watch *watch)
{
    if (waited - watch->looked < LOOK_S)
        return false;
    watch->looked = waited;
    tell(comm, count, status);
    int rank = stopped_peer(comm, count);
    if (rank != watch->rank) {
        watch->rank = rank;
        watch->stopped = waited;
    }
    if (rank < 0 || waited - watch->stopped < STOPPED_S)
        return false;
    char at[AT];
    describe_late(comm, rank, at);
    slip_fail(SLIP_ERR_FAILED, "%s: no answer from rank %d (%s): its process %lld has been stopped for %.0f s%s", what, rank,
              comm->hosts[rank], (long long)comm->processes[rank].pid, STOPPED_S, at);
    return true;
}

/* The deadline has passed: name who is missing, and what the first of them does. */
static void blame_missing(slip_comm *comm, int count, double timeout_s, const char *what)
{
    char missing[MISSING], at[AT] = "";
    close_finished(comm, count);
    name_missing(comm, count, missing);
    for (int i = count - 1; i >= 0; i--)
        if (comm->requests[i] != MPI_REQUEST_NULL)
            describe_late(comm, comm->peers[i], at);
    slip_fail(SLIP_ERR_FAILED, "%s: no answer from %s within %.0f s%s", what, missing, timeout_s, at);
}

static slip_status lost(slip_comm *comm)
{
    comm->lost = true;
    if (slip_board_claim(&comm->board, SHOWN_S))
        slip_watch_show(comm);
    return SLIP_ERR_FAILED;
}

static slip_status wait_long(slip_comm *comm, int count, double timeout_s, const char *what, MPI_Status *status)
{
    slip_timer timer = slip_timer_start(slip_now_s());
    stop_watch watch = {.rank = -1};
    progress made;
    while ((made = poll(comm, count, what, status)) == OPEN) {
        double waited = slip_timer_read(&timer, slip_now_s());
        pause_between_polls(comm, waited);
        if (gave_up(comm, count, what, waited, status, &watch))
            return lost(comm);
        if (waited < timeout_s)
            continue;
        blame_missing(comm, count, timeout_s, what);
        return lost(comm);
    }
    if (watch.looked > 0)
        slip_activity_go_on();
    return made == DONE ? SLIP_OK : SLIP_ERR_FAILED;
}

slip_status slip_comm_wait(slip_comm *comm, int count, double timeout_s, const char *what, MPI_Status *status)
{
    progress made;
    for (int spin = 0; spin < SPINS_BEFORE_YIELD; spin++)
        if ((made = poll(comm, count, what, status)) != OPEN)
            return made == DONE ? SLIP_OK : SLIP_ERR_FAILED;
    return wait_long(comm, count, timeout_s, what, status);
}

slip_status slip_comm_wait_collective(slip_comm *comm, const char *what)
{
    bool told = false;
    progress made;
    for (slip_timer timer = slip_timer_start(slip_now_s()); (made = poll(comm, 1, what, NULL)) == OPEN; sched_yield()) {
        double waited = slip_timer_read(&timer, slip_now_s());
        if (waited > LOOK_S && !told) {
            told = true;
            slip_activity_wait(SLIP_WAIT_RANK, "waiting for all ranks:", what);
        }
        if (waited < comm->deadline_s)
            continue;
        slip_fail(SLIP_ERR_FAILED, "%s: some rank did not answer within %.0f s", what, comm->deadline_s);
        return lost(comm);
    }
    if (told)
        slip_activity_go_on();
    return made == DONE ? SLIP_OK : SLIP_ERR_FAILED;
}
