/* What this process is doing now, for whoever asks while it is stuck: SIGUSR2 and deadlines (comm/watch.h).
 *
 * One thread, the main one, says what it does; any thread, and by shared memory any process on the host, reads it, at any time and without a
 * lock: a writer that was stopped in mid-write leaves what it said before. Saying costs some 100 ns, so ops and system calls are said, and
 * nothing finer.
 *
 * There are three levels: the phase ("step 17"), the op in it, and what it waits for. A new one of a level ends those below it.
 */
#ifndef SLIP_IO_BASE_ACTIVITY_ACTIVITY_H
#define SLIP_IO_BASE_ACTIVITY_ACTIVITY_H

#include <stdint.h>

/* Who ends it if it lasts too long. */
typedef enum {
    SLIP_WAIT_NONE,
    SLIP_WAIT_CALL, /* a call that has no deadline of its own, on a file mostly: comm/watch.c */
    SLIP_WAIT_RANK, /* a message: the wait itself, see comm/mpi_wait.c */
} slip_wait;

typedef struct {
    double since_s; /* slip_now_s() of the last change: the same clock for all processes of a host */
    int32_t layer;  /* of the op; -1: outside of layers */
    int32_t sequences;
    int32_t wait; /* slip_wait */
    int32_t idle; /* nothing to do: that is no hang */
    char phase[48];
    char op[16];        /* "": none */
    char wait_for[120]; /* "reading model.h5", "waiting for rank 1 (node7)" */
} slip_activity;

/* Where it is published: zeros to begin with. */
enum { SLIP_ACTIVITY_WORDS = sizeof(slip_activity) / sizeof(uint64_t) };
typedef struct {
    uint64_t version;
    uint64_t words[2][SLIP_ACTIVITY_WORDS]; /* [version % 2] stands, the other is being written */
} slip_activity_slot;

/* Publish there from now on, NULL: in memory of our own. */
void slip_activity_publish_in(slip_activity_slot *slot);

/* "step %llu"; there is no op in it yet. */
void slip_activity_phase(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As above, with nothing to do until somebody else speaks. */
void slip_activity_idle(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Sequences in the steps that follow. */
void slip_activity_sequences(int32_t sequences);

void slip_activity_op(int32_t layer, const char *op);

/* "waiting for", "rank 1": until slip_activity_go_on(). Said again before that, it lasts since the first time. */
void slip_activity_wait(slip_wait wait, const char *verb, const char *name);
void slip_activity_go_on(void);

/* Ours, or what another process has published. */
slip_activity slip_activity_now(void);
slip_activity slip_activity_read(const slip_activity_slot *slot);

/* "step 17, layer 2 EXPERTS, waiting for rank 1 (node7)" */
enum { SLIP_ACTIVITY_TEXT = 256 };
void slip_activity_describe(const slip_activity *activity, char text[SLIP_ACTIVITY_TEXT]);

#endif
