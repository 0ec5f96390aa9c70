/* A few threads beside the main one, for work that needs neither MPI nor a report: they neither say what they do (io/base/activity) nor
 * record a cause (io/base/status). Whoever waits helps: a pool without threads does everything in slip_pool_submit() and is as good.
 */
#ifndef SLIP_IO_BASE_POOL_POOL_H
#define SLIP_IO_BASE_POOL_POOL_H

#include "io/base/status.h"

typedef struct slip_pool slip_pool;

/* Jobs that are not done yet, and whatever else holds it open. Changed by the pool's functions alone. */
typedef struct {
    int count;
} slip_pool_open_jobs;

/* Lives, as what it works on, until it is done. */
typedef struct slip_pool_job {
    void (*run)(void *context);
    void *context;
    slip_pool_open_jobs *open; /* it counts there until it is done */
    struct slip_pool_job *next;
} slip_pool_job;

/* `threads` >= 0. Signals stay the main thread's. */
slip_status slip_pool_create(int threads, slip_pool **pool);

/* All jobs must be done. */
void slip_pool_free(slip_pool *pool);

int slip_pool_threads(const slip_pool *pool);

/* Jobs begin in the order in which they come. A job may submit others. */
void slip_pool_submit(slip_pool *pool, slip_pool_job *job);

/* Keep `open` open while its jobs are still being submitted. */
void slip_pool_hold(slip_pool *pool, slip_pool_open_jobs *open);
void slip_pool_release(slip_pool *pool, slip_pool_open_jobs *open);

/* Until `open` is at zero. All that its jobs wrote can be read then. The main thread alone waits, and says what for: `what` of `name`. */
void slip_pool_wait(slip_pool *pool, slip_pool_open_jobs *open, const char *what, const char *name);

#endif
