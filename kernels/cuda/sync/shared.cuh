/* The shared memory of a CTA: rings of weights, the arena that ops use in turn, and the state that lives across ops. */
#pragma once

#include "kernels/cuda/sync/cursor.cuh"
#include "kernels/cuda/sync/record.cuh"
#include "kernels/cuda/sync/sync.cuh"

namespace slip {

struct ring {
    uint64_t full[WARPGROUPS][SLIP_RING_DEPTH];  // one arrival (the producer's) and a stage's bytes
    uint64_t empty[WARPGROUPS][SLIP_RING_DEPTH]; // one arrival a consumer warp
};

// This rank's experts that a row group picked, ascending. Consumers make the list; consumers and producers read it.
struct expert_list {
    int32_t count;
    int32_t expert[SLIP_LIST_MAX];            // local ids
    uint32_t tokens[SLIP_LIST_MAX];           // bit t: token t of the group picked it
    uint8_t pick[SLIP_LIST_MAX][SLIP_TOKENS]; // its index in the token's top-k
};

// State of an SM's consumers that lives across ops. Thread 0 writes it; the others read it behind a barrier.
struct consumer_state {
    slip_exchange exchange; // a copy: a grid barrier's acquire empties L1, from which kernel parameters are read by address
    waiter wait;
    recorder times;
    unsigned lists;           // of experts, made so far
    unsigned barriers, steps; // passed so far
    uint64_t begun;           // when the current step was seen
};

// The stages come first, for their alignment.
struct shared_memory {
    unsigned char stage[WARPGROUPS][SLIP_RING_DEPTH][SLIP_STAGE_BYTES];
    unsigned char arena[SLIP_CUDA_ARENA];
    slip_cuda_op op[2]; // the current one and the next
    expert_list list;
    uint32_t bitmap[SLIP_MAX_EXPERTS / 32]; // of picked experts, while the list is being made
    ring weights;
    uint64_t list_ready;     // one arrival a consumer: the current op's list is there
    uint64_t list_free;      // one arrival a producer warp: it has read the list for the last time
    uint64_t product_passed; // one arrival a product: this SM's consumers have arrived at the barrier behind it
    uint64_t step_issued;    // one arrival a producer warp: all weights of the step have been requested
    uint64_t step_delivered; // SM 0, one arrival: the step's results are delivered, and its memory may be overwritten
    consumer_state consumers;
    context here;
    waiter producer_waits[PRODUCER_WARPS]; // in shared memory: only slow waits read them
    float factor[SLIP_TOKENS];
    product_job job;
    product_deal deal;                    // of the current op
    int32_t drafted[SLIP_MAX_LOGIT_ROWS]; // SM 0: the best tokens of the last step's logit rows
    int stop;
};
static_assert(sizeof(shared_memory) <= 227 * 1024, "shared memory of an SM");
static_assert(SLIP_STAGE_BYTES % 128 == 0 && SLIP_CUDA_ARENA % 128 == 0, "operands want their alignment");

} // namespace slip
