#include "jobs/device.h"

static slip_status check_cuda(const slip_options *options, bool present, const char *why_not)
{
    if (!present)
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: %s", why_not);
    if (options->coordinator == SLIP_COORDINATOR_DEDICATED)
        return slip_fail(SLIP_ERR_INPUT, "--coordinator dedicated is the CPUs': on GPUs rank 0 has a shard, too");
    if (options->round_activations)
        return slip_fail(SLIP_ERR_INPUT, "--round-activations is the CPU's: --device cpu is missing");
    return SLIP_OK;
}

static slip_status check_cpu(const slip_options *options, const char *why_not)
{
    if (options->engine == SLIP_ENGINE_LAUNCH)
        return slip_fail(SLIP_ERR_INPUT, "--engine launch is the GPU's: %s", why_not);
    if (options->profile)
        return slip_fail(SLIP_ERR_INPUT, "--profile is the GPU's: %s", why_not);
    if (options->shape && !slip_executor_cpu.fill)
        return slip_fail(SLIP_ERR_INPUT, "--shape makes random weights on a GPU: %s", why_not);
    return SLIP_OK;
}

/* Without --device a dedicated coordinator means CPUs. */
static bool prefers_cuda(const slip_options *options, bool present)
{
    return present && options->coordinator != SLIP_COORDINATOR_DEDICATED;
}

slip_status slip_device_choose(const slip_options *options, int ranks, int here, const slip_executor_kind **kind)
{
    const char *why_not = "--device cpu was asked for";
    bool present = options->device != SLIP_DEVICE_CPU && slip_cuda_present(ranks, here, &why_not);
    bool cuda = options->device == SLIP_DEVICE_CUDA || prefers_cuda(options, present);
    slip_status status = cuda ? check_cuda(options, present, why_not) : check_cpu(options, why_not);
    if (status == SLIP_OK)
        *kind = cuda ? &slip_executor_cuda : &slip_executor_cpu;
    return status;
}
