/* What ranks put into each other's arenas beside sums (comm/exchange.h leaves the room): rank 0 the step that all are to make, every
 * other rank its share of the results. As plain data, for host and device; the device's side is mail.cuh.
 *
 *     in every arena   step     [SLIP_MAIL_STEP lines]             the used words of a slip_cuda_step, 8 bytes a line
 *     in rank 0's      reports  [ranks][SLIP_MAIL_REPORT lines]    line 0: experts picked; line 1 + h: the candidate of logit row h, or of
 *                                                                  slice h % SLIP_SLICES of logit row h / SLIP_SLICES (ops/walk.cuh)
 *
 * A line is 16 bytes, 8 of data and the step's serial number, so that whoever sees the serial has the data, as in comm/exchange.cuh.
 * Serials count the steps that ranks make together, all alike, like epochs; 0 is none.
 *
 * One slot for a step is enough: rank 0 sends the next step when it has all reports of the last, and a rank reports when it has finished the
 * step. One slot for reports is enough, too: a rank next reports on a step that rank 0 sends after it has read them.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_MAIL_H
#define SLIP_KERNELS_CUDA_LAYOUT_MAIL_H

#include "comm/exchange.h"
#include "kernels/cuda/layout/step.h"
#include "ranks/model/sampling/walk.h"

enum {
    SLIP_MAIL_STEP = sizeof(slip_cuda_step) / 8,
    SLIP_MAIL_REPORT = 1 + SLIP_TOKENS * SLIP_SLICES, /* steps that ranks make together have one row group */
};

static inline size_t slip_mail_bytes(int ranks)
{
    return (size_t)SLIP_EXCHANGE_LINE * (SLIP_MAIL_STEP + (size_t)ranks * SLIP_MAIL_REPORT);
}

/* The arena of ranks that share sums of up to `rows` rows: those of wide steps whose sums are whole have owners. */
static inline slip_exchange_layout slip_cuda_exchange_plan(int ranks, int rows, int hidden)
{
    const bool whole = rows > SLIP_CUDA_WHOLE_ABOVE;
    return slip_exchange_plan(ranks, whole ? SLIP_CUDA_WHOLE_ABOVE : rows, hidden, slip_mail_bytes(ranks),
                              slip_exchange_one_shot_bytes(ranks), whole ? rows : 0);
}

#endif
