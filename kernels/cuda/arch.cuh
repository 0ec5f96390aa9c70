/* What the architecture of this build supplies to device code and launches (the head of sm90/arch.h lists it); arch.h is for plain C. */
#pragma once

#include "kernels/cuda/sm90/copy.cuh"
#include "kernels/cuda/sm90/launch.cuh"
#include "kernels/cuda/sm90/mma.cuh"
#include "kernels/cuda/sm90/stream.h"
#include "kernels/cuda/sm90/tile.cuh"
