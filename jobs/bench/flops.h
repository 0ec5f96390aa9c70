/* The arithmetic of a prompt, for figures. */
#ifndef SLIP_JOBS_BENCH_FLOPS_H
#define SLIP_JOBS_BENCH_FLOPS_H

#include "ranks/model/program.h"

/* Floating-point operations, two a multiply-add, that a rank's program takes to read a prompt of so many tokens: its matrices (of the experts
 * as many as an average rank computes, of the head the last token's) and attention. */
double slip_bench_flops(const slip_program *program, int64_t tokens);

#endif
