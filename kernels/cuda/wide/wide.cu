/* Launches of wide products. */
#include <assert.h>

#include "kernels/cuda/wide/counted.cuh"
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
    const cudaError_t errors[] = {prepare<SLIP_WEIGHT_BF16, false>(),
                                  prepare<SLIP_WEIGHT_F8, false>(),
                                  prepare<SLIP_WEIGHT_MXFP4, false>(),
                                  prepare<SLIP_WEIGHT_BF16, true>(),
                                  prepare<SLIP_WEIGHT_F8, true>(),
                                  prepare<SLIP_WEIGHT_MXFP4, true>(),
                                  cudaFuncSetAttribute((const void *)wide_counted, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                       sizeof(wide_memory<SLIP_WEIGHT_BF16>))};
    for (cudaError_t error : errors)
        if (error != cudaSuccess)
            return error;
    return cudaSuccess;
}

template <int FORMAT>
static cudaError_t launch(const wide_step &s, bool whole, void **arguments)
{
    const void *kernel = whole ? (const void *)wide_product<FORMAT, true> : (const void *)wide_product<FORMAT, false>;
    return launch_behind(kernel, s.sms, WIDE_THREADS, sizeof(wide_memory<FORMAT>), s.stream, arguments);
}

static cudaError_t launch_product(const wide_step &s, const slip_cuda_product &product, int op)
{
    const bool whole = product.out.parts == 1;
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (product.counted) {
        assert(product.matrix.format == SLIP_WEIGHT_BF16); // SLIP_KIND_TABLE: f32 in two planes, or bf16
        return launch_behind((const void *)wide_counted, s.sms, WIDE_THREADS, sizeof(wide_memory<SLIP_WEIGHT_BF16>), s.stream, arguments);
    }
    switch (product.matrix.format) {
    case SLIP_WEIGHT_BF16: return launch<SLIP_WEIGHT_BF16>(s, whole, arguments);
    case SLIP_WEIGHT_F8: return launch<SLIP_WEIGHT_F8>(s, whole, arguments);
    default: return launch<SLIP_WEIGHT_MXFP4>(s, whole, arguments);
    }
}

cudaError_t wide_enqueue(const wide_step &s, const slip_cuda_op &host, int op)
{
    void *picks[] = {(void *)&s.ops, (void *)&s.step, (void *)&s.picked, &op}, *slots[] = {(void *)&s.ops, &op};
    cudaError_t error = cudaSuccess;
    if (host.kind == SLIP_CUDA_MOE_GATE_UP) {
        error = launch_behind((const void *)slots_make, 1, SLOT_THREADS, 0, s.stream, picks);
        if (error == cudaSuccess)
            error = launch_behind((const void *)slots_gather, s.sms, WIDE_THREADS, 0, s.stream, slots);
    }
    if (host.kind == SLIP_CUDA_MOE_DOWN)
        error = launch_behind((const void *)slots_swiglu, s.sms, WIDE_THREADS, 0, s.stream, slots);
    return error == cudaSuccess ? launch_product(s, host.product, op) : error;
}

} // namespace slip
