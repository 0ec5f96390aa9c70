/* Launches of wide products. */
#include <assert.h>

#include "kernels/cuda/wide/counted.cuh"
#include "kernels/cuda/wide/slots.cuh"
#include "kernels/cuda/wide/wide.h"

namespace slip {

template <int FORMAT>
static constexpr bool blocks_fit()
{
    return wide_format<FORMAT, true>::GROUPS >= SLIP_SLOT_BLOCK && wide_format<FORMAT, false>::GROUPS >= SLIP_SLOT_BLOCK_OF_FEW;
}
static_assert(blocks_fit<SLIP_WEIGHT_MXFP4>() && blocks_fit<SLIP_WEIGHT_F8>() && blocks_fit<SLIP_WEIGHT_BF16>(),
              "a block's operand fits a stage");

template <int FORMAT, bool WHOLE>
static cudaError_t prepare()
{
    return cudaFuncSetAttribute((const void *)wide_product<FORMAT, WHOLE>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                sizeof(wide_memory<FORMAT, WHOLE>));
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
                                                       sizeof(wide_memory<SLIP_WEIGHT_BF16, true>))};
    for (cudaError_t error : errors)
        if (error != cudaSuccess)
            return error;
    return cudaSuccess;
}

template <int FORMAT, bool WHOLE>
static cudaError_t launch(const wide_step &s, void **arguments)
{
    return launch_behind((const void *)wide_product<FORMAT, WHOLE>, s.sms, WIDE_THREADS, sizeof(wide_memory<FORMAT, WHOLE>), s.stream,
                         arguments);
}

template <bool WHOLE>
static cudaError_t launch_format(const wide_step &s, int format, void **arguments)
{
    switch (format) {
    case SLIP_WEIGHT_BF16: return launch<SLIP_WEIGHT_BF16, WHOLE>(s, arguments);
    case SLIP_WEIGHT_F8: return launch<SLIP_WEIGHT_F8, WHOLE>(s, arguments);
    default: return launch<SLIP_WEIGHT_MXFP4, WHOLE>(s, arguments);
    }
}

static cudaError_t launch_product(const wide_step &s, const slip_cuda_product &product, int op)
{
    void *arguments[] = {(void *)&s.ops, (void *)&s.step, &op};
    if (product.counted && s.whole) {
        assert(product.matrix.format == SLIP_WEIGHT_BF16); // SLIP_KIND_TABLE: f32 in two planes, or bf16
        return launch_behind((const void *)wide_counted, s.sms, WIDE_THREADS, sizeof(wide_memory<SLIP_WEIGHT_BF16, true>), s.stream,
                             arguments);
    }
    return s.whole ? launch_format<true>(s, product.matrix.format, arguments) : launch_format<false>(s, product.matrix.format, arguments);
}

cudaError_t wide_enqueue(const wide_step &s, const slip_cuda_op &host, int op)
{
    void *picks[] = {(void *)&s.ops, (void *)&s.step, (void *)&s.picked, &op}, *slots[] = {(void *)&s.ops, &op};
    const int ctas = s.whole ? SLOT_CTAS * s.sms : s.sms; // where there are many slots, more loads in flight
    cudaError_t error = cudaSuccess;
    if (host.kind == SLIP_CUDA_MOE_GATE_UP) {
        error = launch_behind((const void *)slots_make, 1, SLOT_THREADS, 0, s.stream, picks);
        if (error == cudaSuccess)
            error = launch_behind((const void *)slots_gather, ctas, WIDE_THREADS, 0, s.stream, slots);
    }
    if (host.kind == SLIP_CUDA_MOE_DOWN)
        error = launch_behind((const void *)slots_swiglu, ctas, WIDE_THREADS, 0, s.stream, slots);
    return error == cudaSuccess ? launch_product(s, host.product, op) : error;
}

} // namespace slip
