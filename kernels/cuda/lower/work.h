/* What a program will take of a GPU's memory beside weights and caches, from shapes alone: it is lowered without a GPU, and counted. */
#ifndef SLIP_KERNELS_CUDA_LOWER_WORK_H
#define SLIP_KERNELS_CUDA_LOWER_WORK_H

#include "kernels/cuda/layout/pack.h"
#include "ranks/model/program.h"

/* What each tensor is for, by the ops that read it; arrays [tensor_count] of zeros. `is_table`: EMBED reads its rows. */
void slip_cuda_note_uses(const slip_program *program, bool *is_table, slip_cuda_use *use);

/* See slip_executor_kind. */
uint64_t slip_cuda_work_bytes(const slip_program *program, const slip_limits *limits, const slip_weight *forms, int32_t ranks);

#endif
