/* Products, attention and sums of wide steps: steps of more than one row group, whose weights are read once for many rows, and whose
 * neighbours share keys and values. Launched one after the other while the resident kernel is away. They read and write what ops/ reads and
 * writes, and a row gets the same bits from both:
 *
 *   LINEAR        one launch
 *   MOE_GATE_UP   picks sorted by expert into slots (layout/slots.h), operands gathered there, product
 *   MOE_DOWN      swiglu of each slot, product; where experts have few rows, both products and swiglu are one launch (experts.cuh), which fetches
 *                 operands of 8 bits from where they lie
 *   ROPE          one launch; heads with norms in steps of more than SLIP_CUDA_WHOLE_ABOVE rows alone
 *   ATTEND_WINDOW one launch, behind a ROPE, which all steps of more than SLIP_CUDA_WHOLE_ABOVE rows have
 *   ATTEND        splits of all tiles, and a launch that merges them where CTAs have not (attention/attend.cuh)
 *
 * and in steps of more than SLIP_CUDA_WHOLE_ABOVE rows, whose products write the sum of a matrix's chunks, one part (slip_cuda_whole()):
 *
 *   REDUCE_NORM   one launch; over ranks sums have owners (shares.cuh). GATHER is one, too
 *   QUANTISE      one launch; SWIGLU, too
 *   TOPK          one launch, a warp a row
 *   LINEAR        a kernel for 128 tokens at a time (dense.cuh), but where an operand is two bf16
 *   the router    one launch of its own kernel (counted.cuh)
 *   experts       kernels for few rows an expert or for many
 *
 * C++, for the engine's .cu files. */
#pragma once

#include "comm/exchange.h"
#include "kernels/cuda/layout/op.h"
#include "kernels/cuda/layout/step.h"

namespace slip {

struct sync_words;
struct host_words;

// How a launched op reaches other ranks, and says that it could not. exchange.at.ranks 0: there are none.
struct wide_ranks {
    slip_exchange exchange;
    sync_words *words;
    host_words *host;
    int64_t timeout_cycles; // of a wait
};

// Once a process, before the first launch.
cudaError_t wide_prepare();

// Where wide products find their step; device addresses.
struct wide_step {
    const slip_cuda_op *ops;
    const slip_cuda_step *step;
    unsigned *picked; // counts experts, for the metrics
    int rows;
    bool whole;    // of more than SLIP_CUDA_WHOLE_ABOVE rows
    bool together; // all ops of the step are enqueued, and nobody looks at what one leaves to the next
    int sms;
    cudaStream_t stream;
    const wide_ranks *ranks;
};

// The ranks there are, or rank 0 among `peers` absent ones, whose arenas are one of this GPU, `stand_in`.
wide_ranks wide_ranks_of(const wide_step &s, int peers, int hidden, unsigned char *stand_in);

// Does a product send its sums to their rows' owners itself, in steps of so many rows (slip_cuda_sends())? Then the REDUCE_NORM behind it finds them
// there.
bool wide_may_send(const wide_step &s, const slip_cuda_op *host);

// Op number `op` of the list, a product. `host`: the same op in the host's list.
cudaError_t wide_enqueue(const wide_step &s, const slip_cuda_op *host, int op);

// ---- attention of many rows, with the bits of the ops that serve all steps ----

cudaError_t wide_attention_prepare();

// Is this op of the host's list, which is not its first, made by wide_attention_enqueue()? Else by the engine's own kernel.
bool wide_attention_takes(const wide_step &s, const slip_cuda_op *host);
cudaError_t wide_attention_enqueue(const wide_step &s, const slip_cuda_op &host, int op);

// ---- ops that have no weights but vectors, with the bits of the ops that serve all steps ----

// Is this op of the host's list, of a step whose sums are whole, made by wide_rows_enqueue()? Else by the engine's own kernel.
bool wide_rows_takes(const slip_cuda_op &host);
// `kernel_before`: as launch_behind() has it.
cudaError_t wide_rows_enqueue(const wide_step &s, const slip_cuda_op &host, int op, bool kernel_before);

} // namespace slip
