#ifndef SLIP_KERNELS_VERSION_H
#define SLIP_KERNELS_VERSION_H

#include "io/base/version.h"

/* The CUDA that this build was made with, the GPUs it is for and the machine's driver; or that this build has none. */
void slip_cuda_version(char text[SLIP_VERSION_TEXT]);

#endif
