/* A model of a few thousand weights without files: odd sizes everywhere, both layer kinds, dense and sparse layers, a drafter. */
#ifndef TESTS_UNIT_TINY_MODEL_H
#define TESTS_UNIT_TINY_MODEL_H

#include "kernels/executor.h"

enum { TINY_VOCABULARY = 53, TINY_WINDOW = 6, TINY_EXTENT = 256 /* positions of a sequence in a step of tiny_step_add() */ };

/* hidden 64: rows of whole blocks, fused qkv, MXFP4 experts. hidden 80: padded rows, split q, k, v, FP8 experts, and heads
 * that a cut between ranks leaves inside a block of 32 columns. */
void tiny_model_shape(int32_t hidden, slip_model *model);

/* A CPU executor with every tensor of the program loaded. A weight depends on its dataset's name and its place in the whole
 * matrix alone, so the executors of several ranks hold shares of one model. `comm` and `options` as for create(). The caller
 * destroys it. */
slip_executor *tiny_model_executor(const slip_program *program, const slip_limits *limits, slip_comm *comm,
                                   const slip_executor_options *options);

/* Steps: empty, then span by span. The last `heads` rows of the span want logits. */
void tiny_step_start(slip_step *step);
slip_span *tiny_step_add(slip_step *step, int32_t sequence, int64_t position, const int32_t *tokens, int32_t count, int32_t logit_rows);

#endif
