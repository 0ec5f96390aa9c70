/* What ranks say to each other, on CPUs: MPI point-to-point messages under a deadline.
 *
 * Blocking MPI calls cannot time out and collectives cannot say who is missing, so everything here posts nonblocking
 * messages and polls them; when the deadline passes, the error names the ranks that were waited for. Rank 0 is also
 * the coordinator.
 *
 * A failure on one rank must end the job: slip_comm_agree() for faults found in lockstep (bad input), slip_comm_abort()
 * for all others.
 */
#ifndef SLIP_COMM_COMM_H
#define SLIP_COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "io/base/status.h"

enum { SLIP_HOST_NAME = 64, SLIP_GPU_NAME = 40 };

typedef struct slip_comm slip_comm;

/* Start MPI. Every rank calls it once. The deadline bounds each wait among ranks at work: 120 s unless set.
 * slip_comm_finish() ends MPI in good order. */
slip_status slip_comm_start(int *argc, char ***argv, slip_comm **comm);
void slip_comm_finish(slip_comm *comm);
void slip_comm_set_deadline(slip_comm *comm, double seconds);

/* How long the others wait for rank 0 to speak: it may read requests, tokenise, draft or write results. An hour unless set. A rank 0 that has
 * nothing to do for longer says so now and then (ranks/rank.h). */
void slip_comm_set_idle_deadline(slip_comm *comm, double seconds);
double slip_comm_idle_deadline(const slip_comm *comm);

/* How long a wait polls without a nap: 0.3 ms unless set. More is for ranks that leave the computing to a GPU: a nap costs 0.1 ms. */
void slip_comm_set_polling(slip_comm *comm, double seconds);

int slip_comm_rank(const slip_comm *comm);
int slip_comm_ranks(const slip_comm *comm);
const char *slip_comm_host(const slip_comm *comm, int rank);

/* The first GPU that this rank sees, by a name that no other has ("": none, as before the call). Lockstep. */
slip_status slip_comm_set_gpu(slip_comm *comm, const char first[SLIP_GPU_NAME]);

/* Ranks on this rank's host that see the same GPUs (a launcher may show each its own): how many, and how many come before it. */
int slip_comm_ranks_here(const slip_comm *comm);
int slip_comm_rank_here(const slip_comm *comm);

/* Has a wait of ours passed its deadline? Then MPI cannot end in good order (it would wait for the silent rank): abort. */
bool slip_comm_lost(const slip_comm *comm);

/* Make room for the largest slip_comm_sum(), in doubles. Allocates for good. */
slip_status slip_comm_set_sum_room(slip_comm *comm, size_t count);

/* Lockstep: all ranks call it with their own status and get the worst; the cause of the lowest rank that has it becomes
 * everybody's cause, led by that rank's number if only some ranks failed. A rank that has lost MPI gets its own at once, and must abort. */
slip_status slip_comm_agree(slip_comm *comm, slip_status mine);

/* Copy `size` bytes of rank 0 to all. */
slip_status slip_comm_broadcast(slip_comm *comm, void *data, size_t size);

/* Rank 0 copies `size` bytes to every other rank; those receive at most `room` bytes, *size of them, and wait for them until the idle
 * deadline. `what` names the message in errors ("step 17"). */
slip_status slip_comm_post(slip_comm *comm, const void *data, size_t size, const char *what);
slip_status slip_comm_receive_posted(slip_comm *comm, void *data, size_t room, size_t *size, const char *what);

/* Rank `from` sends `size` bytes to rank 0. */
slip_status slip_comm_send(slip_comm *comm, const void *data, size_t size, const char *what);
slip_status slip_comm_receive(slip_comm *comm, int from, void *data, size_t size, const char *what);

/* Sum over ranks, in rank order, of each rank's `partial` [count]; every rank gets the same bits, rounded once to f32 and (add) added to
 * out [count] or (not add) stored there. All ranks call it; `what` is for errors. */
slip_status slip_comm_sum(slip_comm *comm, const double *partial, size_t count, bool add, float *out, const char *what);

/* Print "slipstream: rank R on HOST: cause" and take the whole job down with this exit status. Does not return. */
__attribute__((noreturn)) void slip_comm_abort(slip_comm *comm, slip_status status);

#ifdef __cplusplus
}
#endif

#endif
