#include "comm/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "comm/mpi_state.h"
#include "io/base/clock.h"

/* A launcher's signal reaches the ranks of a host within this; how often a slow system call is looked for; from when on it is told. */
static const double SAME_S = 1, SLOW_S = 10;
static const struct timespec LOOK = {.tv_nsec = 200000000};

static pthread_t thread;
static bool begun;         /* the main thread's */
static atomic_bool ending; /* both threads' */

/* One write a line: those of other ranks do not come in between. */
static void say(const char *text, int length)
{
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
        return;
}

static double resident_mb(int64_t pid)
{
    char path[64];
    long long pages = 0;
    snprintf(path, sizeof path, "/proc/%lld/statm", (long long)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    int read = fscanf(file, "%*s %lld", &pages);
    fclose(file);
    return read == 1 ? 1e-6 * (double)pages * (double)sysconf(_SC_PAGESIZE) : 0;
}

static void show_rank(const slip_comm *comm, int rank, const slip_activity *activity)
{
    char what[SLIP_ACTIVITY_TEXT], line[SLIP_ACTIVITY_TEXT + SLIP_HOST_NAME + 128];
    const slip_process *process = &comm->processes[rank];
    slip_activity_describe(activity, what);
    int length = snprintf(line, sizeof line, "# state            rank %d on %s: %s for %.1f s; %d sequences; %.0f MB%s\n", rank,
                          comm->hosts[rank], what, slip_now_s() - activity->since_s, activity->sequences, resident_mb(process->pid),
                          slip_process_stopped(process) ? "; its process is stopped" : "");
    say(line, length);
}

void slip_watch_show(const slip_comm *comm)
{
    const slip_board *board = &comm->board;
    for (int i = 0; i < board->count; i++) {
        slip_activity activity = slip_activity_read(board->slots[i]);
        show_rank(comm, board->ranks[i], &activity);
    }
    if (board->count > 0)
        return;
    slip_activity own = slip_activity_now();
    show_rank(comm, comm->rank, &own);
}

/* Is it something that a rank must not be at for long? An op of the only rank may take what it takes. */
static bool is_bounded(const slip_comm *comm, const slip_activity *activity)
{
    return !activity->idle &&
           (activity->wait == SLIP_WAIT_CALL || (activity->wait == SLIP_WAIT_NONE && activity->op[0] && comm->ranks > 1));
}

/* What the main thread does, as far as this one has looked. */
typedef struct {
    double since_s, told; /* when it began; when that began which was last told to be slow */
    slip_timer timer;
} observation;

static void look(slip_comm *comm, observation *seen)
{
    slip_activity own = slip_activity_now();
    if (own.since_s != seen->since_s) {
        seen->since_s = own.since_s;
        seen->timer = slip_timer_start(own.since_s);
    }
    double lasts = slip_timer_read(&seen->timer, slip_now_s());
    char what[SLIP_ACTIVITY_TEXT], line[SLIP_ACTIVITY_TEXT + SLIP_HOST_NAME + 128];
    if (!comm->watched || !is_bounded(comm, &own) || (lasts < SLOW_S && lasts < comm->deadline_s))
        return;
    slip_activity_describe(&own, what);
    bool late = lasts >= comm->deadline_s;
    if (!late && own.since_s == seen->told)
        return;
    seen->told = own.since_s;
    const char *form = late ? "slipstream: rank %d on %s: %s: not done within %.0f s (--deadline)\n"
                            : "# slow             rank %d on %s: %s for %.0f s\n";
    say(line, snprintf(line, sizeof line, form, comm->rank, comm->hosts[comm->rank], what, late ? comm->deadline_s : lasts));
    if (late) {
        slip_watch_show(comm);
        slip_comm_end_job(SLIP_ERR_FAILED);
    }
}

static void *watch(void *context)
{
    slip_comm *comm = context;
    sigset_t wanted;
    observation seen = {0};
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR2);
    while (!ending) {
        if (sigtimedwait(&wanted, NULL, &LOOK) == SIGUSR2 && !ending && slip_board_claim(&comm->board, SAME_S))
            slip_watch_show(comm);
        look(comm, &seen);
    }
    return NULL;
}

void slip_watch_hold_signal(void)
{
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &held, NULL);
}

/* Other signals are for the main thread: they are to interrupt what it does. */
void slip_watch_begin(slip_comm *comm)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    begun = pthread_create(&thread, NULL, watch, comm) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void slip_watch_end(void)
{
    if (!begun)
        return;
    ending = true;
    pthread_kill(thread, SIGUSR2);
    pthread_join(thread, NULL);
    begun = false;
    ending = false;
}
