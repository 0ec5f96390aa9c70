/* Launches of wide products. */
#include "kernels/cuda/wide/product.cuh"
#include "kernels/cuda/wide/slots.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

template <int FORMAT>
static cudaError_t prepare()
{
    return cudaFuncSetAttribute((const void *)wide_product<FORMAT>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                sizeof(wide_memory<FORMAT>));
}

cudaError_t wide_prepare()
{
    cudaError_t error = prepare<SLIP_WEIGHT_BF16>();
    if (error == cudaSuccess)
        error = prepare<SLIP_WEIGHT_F8>();
    return error == cudaSuccess ? prepare<SLIP_WEIGHT_MXFP4>() : error;
}

template <int FORMAT>
static void launch(const kernel_parameters &p, int op, int sms, cudaStream_t stream)
{
    wide_product<FORMAT><<<(unsigned)sms, WIDE_THREADS, sizeof(wide_memory<FORMAT>), stream>>>(p.ops, p.step, op);
}

static_assert(SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_MXFP4>::GROUPS && SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_F8>::GROUPS &&
                  SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_BF16>::GROUPS,
              "a block's operand fits a stage");

cudaError_t wide_enqueue(const kernel_parameters &p, const slip_cuda_op &host, int op, int sms, cudaStream_t stream)
{
    const int format = host.product.matrix.format;
    if (host.kind == SLIP_CUDA_MOE_GATE_UP) {
        slots_make<<<1, SLOT_THREADS, 0, stream>>>(p.ops, p.step, p.words, op);
        slots_gather<<<(unsigned)sms, WIDE_THREADS, 0, stream>>>(p.ops, op);
    }
    if (host.kind == SLIP_CUDA_MOE_DOWN)
        slots_swiglu<<<(unsigned)sms, WIDE_THREADS, 0, stream>>>(p.ops, op);
    if (format == SLIP_WEIGHT_BF16)
        launch<SLIP_WEIGHT_BF16>(p, op, sms, stream);
    else if (format == SLIP_WEIGHT_F8)
        launch<SLIP_WEIGHT_F8>(p, op, sms, stream);
    else
        launch<SLIP_WEIGHT_MXFP4>(p, op, sms, stream);
    return cudaGetLastError();
}

} // namespace slip
