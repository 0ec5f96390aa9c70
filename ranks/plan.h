/* What a run will take, from shapes alone: memory of a rank, bytes and time of a step, and the best number of expert slices.
 *
 * Times are predictions from figures measured on a device (ranks/plan_device.h), each marked as measured or derived where it is printed.
 */
#ifndef SLIP_RANKS_PLAN_H
#define SLIP_RANKS_PLAN_H

#include "ranks/model/placement.h"
#include "ranks/plan_device.h"
#include "ranks/load/shard.h"

/* The s with the least time for the experts' weights when 8 tokens are verified: the worst rank's bytes (more slices balance
 * better) over the rate at which slices of that width stream (narrow ones are slower). */
int32_t slip_plan_slices(const slip_model *model, int32_t ranks);

/* Mean over draws of (experts picked in the worst group) / (picked experts a group), for `tokens` tokens that pick at random. */
double slip_plan_imbalance(const slip_model *model, int32_t groups, int32_t tokens);

/* Mean number of distinct experts that `tokens` tokens pick: E (1 - (1 - k/E)^tokens). */
double slip_plan_distinct(const slip_model *model, int32_t tokens);

typedef struct {
    uint64_t weights, caches, work; /* bytes on the fullest worker rank, the draft not counted; work: all but the first two */
} slip_memory;

static inline double slip_memory_bytes(const slip_memory *memory)
{
    return (double)memory->weights + (double)memory->caches + (double)memory->work;
}

/* What one rank owns and holds; the draft is cut as the target is. */
typedef struct {
    slip_placement placement;
    slip_memory target, draft; /* of this rank alone */
} slip_rank_plan;

/* SLIP_ERR_INPUT when the model does not divide so. */
slip_status slip_plan_rank(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, int32_t slices, int32_t rank,
                           const slip_limits *limits, slip_rank_plan *plan);

void slip_plan_memory(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, int32_t slices, const slip_limits *limits,
                      slip_memory *memory);

/* The same for the draft alone, on `ranks` ranks. */
void slip_plan_draft_memory(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, const slip_limits *limits,
                            slip_memory *memory);

/* Bytes of weights one rank reads in a step that verifies `tokens` tokens, worst rank, and the step's time. */
typedef struct {
    const slip_plan_device *device;
    int32_t ranks, slices, tokens;
    double attention, dense, experts, router, head; /* bytes */
    double bytes;                                   /* their sum */
    double imbalance;
    double draft_bytes; /* cut over the ranks, its head included */
    double stream_us, exchange_us, handover_us, draft_us, step_us;
} slip_step_plan;

/* In the published types: those of the family's table of weights. */
void slip_plan_step(const slip_model *model, int32_t ranks, int32_t slices, int32_t tokens, slip_step_plan *plan);

#endif
