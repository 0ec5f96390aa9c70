#include "jobs/device.h"

#include <stdio.h>

static slip_status check_cuda(const slip_options *options, bool present, const char *why_not)
{
    if (!present)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: %s", why_not);
    if (options->round_activations)
        return slip_fail(SLIP_ERR_INPUT, "--round-activations requires --device cpu");
    return SLIP_OK;
}

static slip_status check_cpu(const slip_options *options, const char *why_not)
{
    if (options->engine == SLIP_ENGINE_LAUNCH || slip_options_given(options, "engine"))
        return slip_fail(SLIP_ERR_INPUT, "--engine %s requires a GPU: %s", options->engine == SLIP_ENGINE_LAUNCH ? "launch" : "persistent",
                         why_not);
    if (options->profile)
        return slip_fail(SLIP_ERR_INPUT, "--profile requires a GPU: %s", why_not);
    if (options->shape && !slip_executor_cpu.fill)
        return slip_fail(SLIP_ERR_INPUT, "--shape makes random weights on a GPU: %s", why_not);
    return SLIP_OK;
}

/* `why_not`: why it is no GPU, where it is none. */
static slip_status choose(const slip_options *options, int ranks, int here, const slip_executor_kind **kind, const char **why_not)
{
    *why_not = "--device cpu was asked for";
    bool present = options->device != SLIP_DEVICE_CPU && slip_cuda_present(ranks, here, why_not);
    bool cuda = options->device == SLIP_DEVICE_CUDA || present;
    slip_status status = cuda ? check_cuda(options, present, *why_not) : check_cpu(options, *why_not);
    if (status == SLIP_OK)
        *kind = cuda ? &slip_executor_cuda : &slip_executor_cpu;
    return status;
}

slip_status slip_device_choose(const slip_options *options, int ranks, int here, const slip_executor_kind **kind)
{
    const char *why_not;
    return choose(options, ranks, here, kind, &why_not);
}

/* Who has GPUs waits for days otherwise, and learns from the figures. */
static void warn_of_cpu(const slip_options *options, const char *why_not)
{
    if (options->device != SLIP_DEVICE_CPU && slip_cuda_expected())
        fprintf(stderr, "warning: computing on the CPU: %s; --device cpu says that this is meant\n", why_not);
}

/* The longest that ranks on GPUs wait for a draft. */
static const double DRAFT_S = 0.02;

slip_status slip_device_agree(const slip_options *options, slip_comm *comm, const slip_executor_kind **kind)
{
    char first[SLIP_GPU_NAME] = "";
    const char *why_not = "";
    bool cuda = false;
    if (options->device != SLIP_DEVICE_CPU)
        slip_cuda_first(first);
    slip_status status = slip_comm_set_gpu(comm, first);
    if (status == SLIP_OK)
        status = choose(options, slip_comm_ranks(comm), slip_comm_ranks_here(comm), kind, &why_not);
    status = slip_comm_agree(comm, status);
    if (status != SLIP_OK)
        return status;
    cuda = *kind == &slip_executor_cuda;
    status = slip_comm_broadcast(comm, &cuda, sizeof cuda);
    if (status == SLIP_OK && cuda && *kind != &slip_executor_cuda)
        status = slip_fail(SLIP_ERR_INPUT, "rank 0 computes on a GPU, and this rank has none for itself: say --device cpu");
    if (!cuda && slip_comm_rank(comm) == 0)
        warn_of_cpu(options, why_not);
    if (!cuda)
        *kind = &slip_executor_cpu;
    else
        slip_comm_set_polling(comm, DRAFT_S);
    return slip_comm_agree(comm, status);
}
