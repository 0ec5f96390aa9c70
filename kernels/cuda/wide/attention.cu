/* Launches of attention in wide steps. */
#include "kernels/cuda/wide/rope.cuh"
#include "kernels/cuda/wide/wide.h"
#include "kernels/cuda/wide/window.cuh"

namespace slip {

cudaError_t wide_attention_prepare()
{
    return cudaFuncSetAttribute((const void *)wide_window, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(wide_window_memory));
}

bool wide_attention_takes(const slip_cuda_op *host)
{
    switch (host->kind) {
    case SLIP_CUDA_ROPE: return wide_rope_takes(host->rope);
    case SLIP_CUDA_ATTEND_WINDOW: return host[-1].kind == SLIP_CUDA_ROPE && wide_window_takes(host->attend_window);
    default: return false;
    }
}

cudaError_t wide_attention_enqueue(const wide_step &s, const slip_cuda_op &host, int op)
{
    constexpr int CTAS = 2048 / WIDE_ROPE_THREADS; // of an SM
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (host.kind == SLIP_CUDA_ROPE)
        return launch_behind((const void *)wide_rope, s.sms * CTAS, WIDE_ROPE_THREADS, 0, s.stream, arguments);
    return launch_behind((const void *)wide_window, s.sms, WIDE_WINDOW_THREADS, sizeof(wide_window_memory), s.stream, arguments);
}

} // namespace slip
