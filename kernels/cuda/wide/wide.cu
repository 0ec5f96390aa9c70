/* Launches of wide products. */
#include "kernels/cuda/wide/product.cuh"
#include "kernels/cuda/wide/slots.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

static_assert(SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_MXFP4>::GROUPS && SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_F8>::GROUPS &&
                  SLIP_SLOT_BLOCK <= wide_format<SLIP_WEIGHT_BF16>::GROUPS,
              "a block's operand fits a stage");

template <int FORMAT, bool WHOLE>
static cudaError_t prepare()
{
    return cudaFuncSetAttribute((const void *)wide_product<FORMAT, WHOLE>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                sizeof(wide_memory<FORMAT>));
}

cudaError_t wide_prepare()
{
    const cudaError_t errors[] = {prepare<SLIP_WEIGHT_BF16, false>(), prepare<SLIP_WEIGHT_F8, false>(), prepare<SLIP_WEIGHT_MXFP4, false>(),
                                  prepare<SLIP_WEIGHT_BF16, true>(),  prepare<SLIP_WEIGHT_F8, true>(),  prepare<SLIP_WEIGHT_MXFP4, true>()};
    for (cudaError_t error : errors)
        if (error != cudaSuccess)
            return error;
    return cudaSuccess;
}

template <int FORMAT>
static void launch(const kernel_parameters &p, int op, bool whole, int sms, cudaStream_t stream)
{
    auto kernel = whole ? wide_product<FORMAT, true> : wide_product<FORMAT, false>;
    kernel<<<(unsigned)sms, WIDE_THREADS, sizeof(wide_memory<FORMAT>), stream>>>(p.ops, p.step, op);
}

cudaError_t wide_enqueue(const kernel_parameters &p, const slip_cuda_op &host, int op, int sms, cudaStream_t stream)
{
    const slip_cuda_product &product = host.product;
    const bool whole = product.out.parts == 1 && !product.counted;
    if (host.kind == SLIP_CUDA_MOE_GATE_UP) {
        slots_make<<<1, SLOT_THREADS, 0, stream>>>(p.ops, p.step, p.words, op);
        slots_gather<<<(unsigned)sms, WIDE_THREADS, 0, stream>>>(p.ops, op);
    }
    if (host.kind == SLIP_CUDA_MOE_DOWN)
        slots_swiglu<<<(unsigned)sms, WIDE_THREADS, 0, stream>>>(p.ops, op);
    if (product.matrix.format == SLIP_WEIGHT_BF16)
        launch<SLIP_WEIGHT_BF16>(p, op, whole, sms, stream);
    else if (product.matrix.format == SLIP_WEIGHT_F8)
        launch<SLIP_WEIGHT_F8>(p, op, whole, sms, stream);
    else
        launch<SLIP_WEIGHT_MXFP4>(p, op, whole, sms, stream);
    return cudaGetLastError();
}

} // namespace slip
