/* Beginning and ending MPI, and what ranks send each other: comm.h by MPI calls, each of which ends in mpi_wait.c. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/mpi_state.h"
#include "comm/watch.h"

enum { SECONDS_TO_ABORT = 5 };
enum { TAG_POST = 1, TAG_SEND, TAG_SUM, TAG_AGREE };

static const double SECOND_TO_SPEAK_S = 2;

/* Debian's Open MPI warns on stderr where the kernel forbids one process to read another's memory (containers). Copying
 * twice through shared memory is fast enough for our messages. One process without a launcher starts a daemon of its own, for
 * 0.35 s, which only serves to spawn more. Without the daemon all such processes of a user share one folder of temporary files, which each
 * makes and removes: MPI_Init then fails in some of those that start and end side by side. A rank alone keeps nothing there. A user's own
 * setting wins. */
static void prepare_environment(void)
{
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    if (!getenv("PMIX_RANK") && !getenv("PMI_RANK"))
        setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
}

static void free_comm(slip_comm *comm)
{
    free(comm->parts);
    free(comm->verdicts);
    free(comm->sums);
    free(comm->peers);
    free(comm->requests);
    free(comm->processes);
    free(comm->cpus);
    free(comm->hosts);
    free(comm->gpus);
    free(comm);
}

static bool allocate(slip_comm *c)
{
    size_t ranks = (size_t)c->ranks;
    c->hosts = calloc(ranks, sizeof *c->hosts);
    c->gpus = calloc(ranks, sizeof *c->gpus);
    c->processes = calloc(ranks, sizeof *c->processes);
    c->cpus = calloc(ranks, sizeof *c->cpus);
    c->requests = calloc(2 * ranks, sizeof(MPI_Request));
    c->peers = calloc(2 * ranks, sizeof *c->peers);
    c->parts = calloc(ranks, sizeof *c->parts);
    c->verdicts = calloc(ranks, sizeof *c->verdicts);
    return c->hosts && c->gpus && c->processes && c->cpus && c->requests && c->peers && c->parts && c->verdicts;
}

/* Who is there. */
static slip_status meet(slip_comm *c)
{
    static const char what[] = "starting MPI";
    char host[SLIP_HOST_NAME] = "";
    gethostname(host, sizeof host - 1);
    const slip_process self = slip_process_self();
    const slip_cpus cpus = slip_cpus_self();
    bool ok = slip_comm_called(c, MPI_Allgather(host, SLIP_HOST_NAME, MPI_CHAR, c->hosts, SLIP_HOST_NAME, MPI_CHAR, MPI_COMM_WORLD),
                               "MPI_Allgather", what);
    ok = ok && slip_comm_called(c, MPI_Allgather(&self, sizeof self, MPI_BYTE, c->processes, sizeof self, MPI_BYTE, MPI_COMM_WORLD),
                                "MPI_Allgather", what);
    ok = ok && slip_comm_called(c, MPI_Allgather(&cpus, sizeof cpus, MPI_BYTE, c->cpus, sizeof cpus, MPI_BYTE, MPI_COMM_WORLD),
                                "MPI_Allgather", what);
    for (int rank = 0; rank < c->ranks && ok; rank++)
        if (strcmp(c->hosts[rank], c->hosts[c->rank]) != 0)
            c->cpus[rank] = (slip_cpus){0};
    return ok ? SLIP_OK : SLIP_ERR_FAILED;
}

/* Errors come back to us instead of ending the job: we know what for the call was. */
static slip_status begin(slip_comm *c)
{
    static const char what[] = "starting MPI";
    c->deadline_s = 120.0;
    c->idle_deadline_s = 3600.0;
    c->polling_s = 300e-6;
    if (!slip_comm_called(c, MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler", what) ||
        !slip_comm_called(c, MPI_Comm_rank(MPI_COMM_WORLD, &c->rank), "MPI_Comm_rank", what) ||
        !slip_comm_called(c, MPI_Comm_size(MPI_COMM_WORLD, &c->ranks), "MPI_Comm_size", what))
        return SLIP_ERR_FAILED;
    if (!allocate(c))
        return slip_fail(SLIP_ERR_FAILED, "out of memory for the table of ranks");
    slip_status status = meet(c);
    return status == SLIP_OK ? slip_board_open(&c->board, c->rank) : status;
}

slip_status slip_comm_start(int *argc, char ***argv, slip_comm **comm)
{
    prepare_environment();
    slip_watch_hold_signal();
    int level; /* the watch ends a job whose main thread is stuck: no two threads call MPI at a time */
    if (MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS)
        return slip_fail(SLIP_ERR_FAILED, "MPI could not be initialised");
    slip_comm *c = calloc(1, sizeof *c);
    if (!c)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_status status = begin(c);
    if (status != SLIP_OK) {
        free_comm(c);
        return status;
    }
    slip_watch_begin(c);
    *comm = c;
    return SLIP_OK;
}

void slip_comm_finish(slip_comm *comm)
{
    slip_watch_end();
    slip_board_close(&comm->board);
    MPI_Finalize();
    free_comm(comm);
}

void slip_comm_set_deadline(slip_comm *comm, double seconds)
{
    comm->deadline_s = seconds;
    comm->watched = true;
}
void slip_comm_set_idle_deadline(slip_comm *comm, double seconds)
{
    comm->idle_deadline_s = seconds;
}
double slip_comm_idle_deadline(const slip_comm *comm)
{
    return comm->idle_deadline_s;
}
void slip_comm_set_polling(slip_comm *comm, double seconds)
{
    comm->polling_s = seconds;
}
int slip_comm_rank(const slip_comm *comm)
{
    return comm->rank;
}
int slip_comm_ranks(const slip_comm *comm)
{
    return comm->ranks;
}
bool slip_comm_lost(const slip_comm *comm)
{
    return comm->lost;
}
int slip_comm_cpus(const slip_comm *comm)
{
    return slip_cpus_share(comm->cpus, comm->ranks, comm->rank);
}
const char *slip_comm_host(const slip_comm *comm, int rank)
{
    return comm->hosts[rank];
}

slip_status slip_comm_set_gpu(slip_comm *comm, const char first[SLIP_GPU_NAME])
{
    static const char what[] = "telling the GPUs that ranks see";
    int error = MPI_Iallgather(first, SLIP_GPU_NAME, MPI_CHAR, comm->gpus, SLIP_GPU_NAME, MPI_CHAR, MPI_COMM_WORLD, &comm->requests[0]);
    return slip_comm_called(comm, error, "MPI_Iallgather", what) ? slip_comm_wait_collective(comm, what) : SLIP_ERR_FAILED;
}

/* The number of ranks below `end` on our host that see our GPUs. */
static int count_here(const slip_comm *comm, int end)
{
    int count = 0;
    for (int rank = 0; rank < end; rank++)
        count += strcmp(comm->hosts[rank], comm->hosts[comm->rank]) == 0 && strcmp(comm->gpus[rank], comm->gpus[comm->rank]) == 0;
    return count;
}

int slip_comm_ranks_here(const slip_comm *comm)
{
    return count_here(comm, comm->ranks);
}
int slip_comm_rank_here(const slip_comm *comm)
{
    return count_here(comm, comm->rank);
}

slip_status slip_comm_set_sum_room(slip_comm *comm, size_t count)
{
    free(comm->sums);
    comm->sums = malloc((size_t)comm->ranks * count * sizeof(double));
    if (!comm->sums)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for sums over %d ranks", comm->ranks);
    return SLIP_OK;
}

/* Begin a message as request number `slot`; slip_comm_wait() ends it. */
static slip_status begin_send(slip_comm *comm, int slot, const void *data, size_t size, int to, int tag, const char *what)
{
    comm->peers[slot] = to;
    int error = MPI_Isend(data, (int)size, MPI_BYTE, to, tag, MPI_COMM_WORLD, &comm->requests[slot]);
    return slip_comm_called(comm, error, "MPI_Isend", what) ? SLIP_OK : SLIP_ERR_FAILED;
}

static slip_status begin_receive(slip_comm *comm, int slot, void *data, size_t room, int from, int tag, const char *what)
{
    comm->peers[slot] = from;
    int error = MPI_Irecv(data, (int)room, MPI_BYTE, from, tag, MPI_COMM_WORLD, &comm->requests[slot]);
    return slip_comm_called(comm, error, "MPI_Irecv", what) ? SLIP_OK : SLIP_ERR_FAILED;
}

/* Rank 0: everybody's status; the worst, of the lowest rank that has it, becomes *worst. */
static slip_status hear_all(slip_comm *comm, slip_verdict *worst)
{
    static const char what[] = "agreeing on a status";
    slip_status status = SLIP_OK;
    for (int rank = 1; rank < comm->ranks && status == SLIP_OK; rank++)
        status = begin_receive(comm, rank - 1, &comm->verdicts[rank], sizeof(slip_verdict), rank, TAG_AGREE, what);
    if (status == SLIP_OK)
        status = slip_comm_wait(comm, comm->ranks - 1, comm->deadline_s, what, NULL);
    for (int rank = 1; rank < comm->ranks && status == SLIP_OK; rank++)
        if (comm->verdicts[rank].status > worst->status)
            *worst = comm->verdicts[rank];
    return status;
}

slip_status slip_comm_agree(slip_comm *comm, slip_status mine)
{
    if (comm->lost) /* the others may wait for us elsewhere: only slip_comm_abort() reaches them */
        return mine != SLIP_OK ? mine : slip_fail(SLIP_ERR_FAILED, "agreeing on a status: MPI has failed before");
    slip_verdict worst = {.status = (int)mine, .rank = comm->rank};
    size_t size;
    snprintf(worst.cause, sizeof worst.cause, "%s", slip_cause());
    slip_status status;
    if (comm->rank == 0) {
        status = hear_all(comm, &worst);
        if (status == SLIP_OK)
            status = slip_comm_post(comm, &worst, sizeof worst, "telling the agreed status");
    } else {
        static const char what[] = "telling rank 0 a status";
        status = begin_send(comm, 0, &worst, sizeof worst, 0, TAG_AGREE, what);
        if (status == SLIP_OK)
            status = slip_comm_wait(comm, 1, comm->idle_deadline_s, what, NULL);
        if (status == SLIP_OK)
            status = slip_comm_receive_posted(comm, &worst, sizeof worst, &size, "waiting for rank 0's verdict");
    }
    if (status != SLIP_OK || worst.status == SLIP_OK)
        return status;
    slip_clear();
    if (worst.rank == 0)
        return slip_fail((slip_status)worst.status, "%s", worst.cause);
    return slip_fail((slip_status)worst.status, "rank %d on %s: %s", worst.rank, comm->hosts[worst.rank], worst.cause);
}

slip_status slip_comm_broadcast(slip_comm *comm, void *data, size_t size)
{
    enum { PIECE = 1 << 30 }; /* MPI counts are ints */
    static const char what[] = "broadcast from rank 0";
    for (size_t done = 0; done < size; done += PIECE) {
        size_t piece = size - done < PIECE ? size - done : PIECE;
        int error = MPI_Ibcast((char *)data + done, (int)piece, MPI_BYTE, 0, MPI_COMM_WORLD, &comm->requests[0]);
        if (!slip_comm_called(comm, error, "MPI_Ibcast", what) || slip_comm_wait_collective(comm, what) != SLIP_OK)
            return SLIP_ERR_FAILED;
    }
    return SLIP_OK;
}

slip_status slip_comm_post(slip_comm *comm, const void *data, size_t size, const char *what)
{
    slip_status status = SLIP_OK;
    for (int rank = 1; rank < comm->ranks && status == SLIP_OK; rank++)
        status = begin_send(comm, rank - 1, data, size, rank, TAG_POST, what);
    return status == SLIP_OK ? slip_comm_wait(comm, comm->ranks - 1, comm->deadline_s, what, NULL) : status;
}

slip_status slip_comm_receive_posted(slip_comm *comm, void *data, size_t room, size_t *size, const char *what)
{
    int received;
    MPI_Status status;
    slip_status waited = begin_receive(comm, 0, data, room, 0, TAG_POST, what);
    if (waited == SLIP_OK)
        waited = slip_comm_wait(comm, 1, comm->idle_deadline_s, what, &status);
    if (waited != SLIP_OK)
        return waited;
    if (!slip_comm_called(comm, MPI_Get_count(&status, MPI_BYTE, &received), "MPI_Get_count", what))
        return SLIP_ERR_FAILED;
    *size = (size_t)received;
    return SLIP_OK;
}

slip_status slip_comm_send(slip_comm *comm, const void *data, size_t size, const char *what)
{
    slip_status status = begin_send(comm, 0, data, size, 0, TAG_SEND, what);
    return status == SLIP_OK ? slip_comm_wait(comm, 1, comm->deadline_s, what, NULL) : status;
}

slip_status slip_comm_receive(slip_comm *comm, int from, void *data, size_t size, const char *what)
{
    slip_status status = begin_receive(comm, 0, data, size, from, TAG_SEND, what);
    return status == SLIP_OK ? slip_comm_wait(comm, 1, comm->deadline_s, what, NULL) : status;
}

/* Everybody's partial to everybody. MPI_Allreduce would choose its order of summation by message size. */
static slip_status exchange_partials(slip_comm *comm, const double *partial, size_t count, const char *what)
{
    int requests = 0;
    size_t bytes = count * sizeof *partial;
    slip_status status = SLIP_OK;
    for (int send = 0; send < 2; send++)
        for (int peer = 0; peer < comm->ranks && status == SLIP_OK; peer++) {
            if (peer == comm->rank)
                continue;
            if (send)
                status = begin_send(comm, requests++, partial, bytes, peer, TAG_SUM, what);
            else
                status = begin_receive(comm, requests++, comm->sums + (size_t)peer * count, bytes, peer, TAG_SUM, what);
        }
    if (status != SLIP_OK)
        return status;
    /* All wait for the same silent rank: rank 0 is to name it before the others, still waiting, can name one another. */
    double timeout_s = comm->deadline_s + (comm->rank == 0 ? 0 : SECOND_TO_SPEAK_S);
    return slip_comm_wait(comm, requests, timeout_s, what, NULL);
}

slip_status slip_comm_sum(slip_comm *comm, const double *partial, size_t count, bool add, float *out, const char *what)
{
    slip_status status = exchange_partials(comm, partial, count, what);
    if (status != SLIP_OK)
        return status;
    const double **part = comm->parts;
    for (int rank = 0; rank < comm->ranks; rank++)
        part[rank] = rank == comm->rank ? partial : comm->sums + (size_t)rank * count;
    for (size_t i = 0; i < count; i++) {
        double sum = part[0][i];
        for (int rank = 1; rank < comm->ranks; rank++)
            sum += part[rank][i];
        out[i] = add ? out[i] + (float)sum : (float)sum;
    }
    return SLIP_OK;
}

static volatile sig_atomic_t job_exit_status;

/* MPI_Abort may itself wait for a launcher that does not answer, or does so late: the job's exit status is the same. */
static void end_process(int number)
{
    (void)number;
    _exit(job_exit_status);
}

_Noreturn void slip_comm_end_job(slip_status status)
{
    sigset_t alarms;
    job_exit_status = slip_exit_status(status);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    signal(SIGALRM, end_process);
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    alarm(SECONDS_TO_ABORT);
    MPI_Abort(MPI_COMM_WORLD, job_exit_status);
    _exit(job_exit_status);
}

_Noreturn void slip_comm_abort(slip_comm *comm, slip_status status)
{
    fprintf(stderr, "slipstream: rank %d on %s: %s\n", comm->rank, comm->hosts[comm->rank], slip_cause());
    fflush(NULL);
    slip_comm_end_job(status);
}
