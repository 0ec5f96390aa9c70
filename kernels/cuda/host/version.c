/* What --version says of CUDA: the toolkit, the driver and the architectures that this build has code for. */
#include "kernels/version.h"

#include <cuda_runtime_api.h>
#include <stdio.h>

void slip_cuda_version(char text[SLIP_VERSION_TEXT])
{
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        driver = 0;
    int size = snprintf(text, SLIP_VERSION_TEXT, "%d.%d for sm_%s; driver: ", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10,
                        SLIP_CUDA_ARCHITECTURES);
    if (driver > 0)
        snprintf(text + size, (size_t)(SLIP_VERSION_TEXT - size), "for CUDA %d.%d", driver / 1000, driver % 1000 / 10);
    else
        snprintf(text + size, (size_t)(SLIP_VERSION_TEXT - size), "none");
}
