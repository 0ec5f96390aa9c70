/* The rate at which this GPU streams weights: the ceiling that metrics are compared with. */
#pragma once

#include <cuda_runtime.h>

namespace slip {

// GB/s, the best of a few passes; 0 when it cannot be measured: there is no memory for a buffer beyond the caches, or a call fails.
double stream_ceiling(int sms, cudaStream_t stream);

} // namespace slip
