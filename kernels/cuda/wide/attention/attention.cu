/* Launches of attention in wide steps. */
#include "kernels/cuda/wide/attention/attend.cuh"
#include "kernels/cuda/wide/attention/rope.cuh"
#include "kernels/cuda/wide/wide.h"
#include "kernels/cuda/wide/attention/window.cuh"

namespace slip {

static cudaError_t shared_memory(const void *kernel, size_t bytes)
{
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

cudaError_t wide_attention_prepare()
{
    const cudaError_t errors[] = {shared_memory((const void *)wide_window, sizeof(wide_window_memory)),
                                  shared_memory((const void *)wide_attend, sizeof(wide_attend_memory)),
                                  shared_memory((const void *)wide_attend_merge, WIDE_MERGE_BYTES)};
    for (cudaError_t error : errors)
        if (error != cudaSuccess)
            return error;
    return cudaSuccess;
}

bool wide_attention_takes(const wide_step &s, const slip_cuda_op *host)
{
    switch (host->kind) {
    case SLIP_CUDA_ROPE: return wide_rope_takes(host->rope, s.whole);
    case SLIP_CUDA_ATTEND_WINDOW: return host[-1].kind == SLIP_CUDA_ROPE && wide_window_takes(host->attend_window);
    case SLIP_CUDA_ATTEND: return slip_attend_is_wide(&host->attend.cache);
    default: return false;
    }
}

cudaError_t wide_attention_enqueue(const wide_step &s, const slip_cuda_op &host, int op)
{
    constexpr int CTAS = 2048 / WIDE_ROPE_THREADS; // of an SM
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (host.kind == SLIP_CUDA_ROPE)
        return launch_behind(wide_rope_is_plain(host.rope, s.whole) ? (const void *)wide_rope_plain : (const void *)wide_rope, s.sms * CTAS,
                             WIDE_ROPE_THREADS, 0, s.stream, arguments);
    if (host.kind == SLIP_CUDA_ATTEND) {
        const cudaError_t error =
            launch_behind((const void *)wide_attend, s.sms, WIDE_ATTEND_THREADS, sizeof(wide_attend_memory), s.stream, arguments);
        return error != cudaSuccess
                   ? error
                   : launch_behind((const void *)wide_attend_merge, 2 * s.sms, CONSUMERS, WIDE_MERGE_BYTES, s.stream, arguments);
    }
    return launch_behind((const void *)wide_window, s.sms, WIDE_WINDOW_THREADS, sizeof(wide_window_memory), s.stream, arguments);
}

} // namespace slip
