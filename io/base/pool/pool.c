#include "io/base/pool/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "io/base/activity/activity.h"

struct slip_pool {
    pthread_mutex_t lock;     /* of all below, and of every slip_pool_open_jobs */
    pthread_cond_t work, all; /* there is a job, or it ends; one of the counts is at zero, or there is a job */
    slip_pool_job *first, *last;
    bool ending;
    int threads;
    pthread_t thread[];
};

static slip_pool_job *take(slip_pool *pool)
{
    slip_pool_job *job = pool->first;
    if (job != NULL)
        pool->first = job->next;
    return job;
}

/* With the lock. */
static void close_one(slip_pool *pool, slip_pool_open_jobs *open)
{
    if (--open->count == 0)
        pthread_cond_broadcast(&pool->all);
}

/* With the lock, which it gives back for the time of the job. A job may be gone as soon as it counts as done. */
static void run(slip_pool *pool, slip_pool_job *job)
{
    slip_pool_open_jobs *open = job->open;
    pthread_mutex_unlock(&pool->lock);
    job->run(job->context);
    pthread_mutex_lock(&pool->lock);
    close_one(pool, open);
}

static void *work(void *context)
{
    slip_pool *pool = context;
    slip_pool_job *job;
    pthread_mutex_lock(&pool->lock);
    while (!pool->ending)
        if ((job = take(pool)) != NULL)
            run(pool, job);
        else
            pthread_cond_wait(&pool->work, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* As many as the system gives: fewer are slower, not wrong. */
static void start_threads(slip_pool *pool, int threads)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->threads < threads && pthread_create(&pool->thread[pool->threads], NULL, work, pool) == 0)
        pool->threads++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

slip_status slip_pool_create(int threads, slip_pool **out)
{
    slip_pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof *pool->thread);
    if (pool == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d threads", threads);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->all, NULL);
    start_threads(pool, threads);
    *out = pool;
    return SLIP_OK;
}

void slip_pool_free(slip_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->all);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

int slip_pool_threads(const slip_pool *pool)
{
    return pool->threads;
}

void slip_pool_submit(slip_pool *pool, slip_pool_job *job)
{
    pthread_mutex_lock(&pool->lock);
    job->open->count++;
    job->next = NULL;
    if (pool->threads == 0) {
        run(pool, job);
    } else {
        if (pool->first != NULL)
            pool->last->next = job;
        else
            pool->first = job;
        pool->last = job;
        pthread_cond_signal(&pool->work);
        pthread_cond_signal(&pool->all);
    }
    pthread_mutex_unlock(&pool->lock);
}

void slip_pool_hold(slip_pool *pool, slip_pool_open_jobs *open)
{
    pthread_mutex_lock(&pool->lock);
    open->count++;
    pthread_mutex_unlock(&pool->lock);
}

void slip_pool_release(slip_pool *pool, slip_pool_open_jobs *open)
{
    pthread_mutex_lock(&pool->lock);
    close_one(pool, open);
    pthread_mutex_unlock(&pool->lock);
}

/* With the lock. What the main thread says stands for as long as it has nothing to help with. */
static void wait_for_news(slip_pool *pool, const char *what, const char *name)
{
    slip_activity_wait(SLIP_WAIT_CALL, what, name);
    pthread_cond_wait(&pool->all, &pool->lock);
    slip_activity_go_on();
}

void slip_pool_wait(slip_pool *pool, slip_pool_open_jobs *open, const char *what, const char *name)
{
    slip_pool_job *job;
    pthread_mutex_lock(&pool->lock);
    while (open->count > 0)
        if ((job = take(pool)) != NULL)
            run(pool, job);
        else
            wait_for_news(pool, what, name);
    pthread_mutex_unlock(&pool->lock);
}
