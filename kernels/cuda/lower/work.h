/* What a program will take of a GPU's memory beside weights and caches, from shapes alone: it is lowered without a GPU, and counted. */
#ifndef SLIP_KERNELS_CUDA_LOWER_WORK_H
#define SLIP_KERNELS_CUDA_LOWER_WORK_H

#include "ranks/model/program.h"

/* See slip_executor_kind. */
uint64_t slip_cuda_work_bytes(const slip_program *program, const slip_limits *limits, const slip_weight *forms, int32_t ranks);

#endif
