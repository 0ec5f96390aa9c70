/* A thread that takes the steps that the host posts, and leaves when the resident kernel would. */
#include "tests/gpu/tools/fake_kernel.h"

#include <pthread.h>
#include <sched.h>

#include "kernels/cuda/engine/kernel.h"

static pthread_t kernel;
static bool is_there, has_left;
static slip::kernel_parameters parameters;

// Other ranks than rank 0 get their steps from its GPU: here they find all of them made.
static void *run_kernel(void *)
{
    const slip::kernel_parameters &p = parameters;
    const bool listens = p.exchange.at.ranks && p.exchange.rank != 0;
    unsigned made = p.made;
    if (listens)
        __atomic_store_n(&p.host->done, made + (1u << 30), __ATOMIC_RELEASE);
    for (;;) {
        while (__atomic_load_n(&p.host->post, __ATOMIC_ACQUIRE) == made && !__atomic_load_n(&p.host->abort, __ATOMIC_ACQUIRE))
            sched_yield();
        const unsigned posted = __atomic_load_n(&p.host->post, __ATOMIC_ACQUIRE);
        made = listens ? posted : made + 1;
        if (p.posted[made % SLIP_CUDA_STEPS].stop || __atomic_load_n(&p.host->abort, __ATOMIC_ACQUIRE))
            break;
        if (!listens)
            __atomic_store_n(&p.host->done, made, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&has_left, true, __ATOMIC_RELEASE);
    return NULL;
}

extern "C" bool fake_kernel_start(void **arguments)
{
    parameters = *(slip::kernel_parameters *)arguments[0];
    has_left = false;
    is_there = pthread_create(&kernel, NULL, run_kernel, NULL) == 0;
    return is_there;
}

extern "C" bool fake_kernel_has_left(void)
{
    if (is_there && __atomic_load_n(&has_left, __ATOMIC_ACQUIRE)) {
        pthread_join(kernel, NULL);
        is_there = false;
    }
    return !is_there;
}
