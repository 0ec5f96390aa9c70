/* The target's taps, kept where they are made: a ring of rows by position for each sequence, from which the draft reads its columns. It is
 * there once a draft reads it; until then taps lie in a buffer like any other.
 */
#include <string.h>

#include "kernels/cpu/state.h"

slip_status slip_cpu_taps_open(slip_executor *target)
{
    if (target->taps)
        return SLIP_OK;
    int64_t slots = slip_cache_slots(target->program->tap_window, &target->limits);
    target->tap_slots = slip_ring_slots(target->program->tap_window, &target->limits);
    target->taps = slip_cpu_zeros((size_t)slots, (size_t)target->program->width[SLIP_BUFFER_TAPS] * sizeof(float));
    if (!target->taps)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for the taps of %d sequences, %lld positions together", target->limits.sequences,
                         (long long)slots);
    return SLIP_OK;
}

float *slip_cpu_tap_at(const slip_executor *target, const slip_span *span, int64_t position)
{
    int64_t first = slip_cache_first(target->program->tap_window, target->tap_slots, span->sequence, span->base);
    return target->taps + (first + position % target->tap_slots) * target->program->width[SLIP_BUFFER_TAPS];
}

/* Where each row of the step has its taps. */
static void place_rows(slip_executor *executor)
{
    const slip_step *step = executor->step;
    for (int32_t s = 0; s < step->span_count; s++)
        for (int32_t i = 0; i < step->span[s].count; i++)
            executor->tap_row[step->span[s].row + i] = slip_cpu_tap_at(executor, &step->span[s], step->span[s].position + i);
}

/* The rows that an inject reads: this rank's columns of the target's. */
static void fetch_rows(slip_executor *executor)
{
    const slip_step *step = executor->step;
    const slip_program *program = executor->program;
    size_t bytes = (size_t)program->width[SLIP_BUFFER_TAPS] * sizeof(float);
    for (int32_t s = 0; s < step->span_count; s++)
        for (int32_t i = 0; i < step->span[s].count; i++) {
            const float *taps = slip_cpu_tap_at(executor->options.target, &step->span[s], step->span[s].position + i);
            memcpy(slip_cpu_row(executor, SLIP_BUFFER_TAPS, step->span[s].row + i), taps + program->tap_first, bytes);
        }
}

void slip_cpu_taps_begin(slip_executor *executor, slip_phase phase)
{
    if (executor->taps)
        place_rows(executor);
    if (phase == SLIP_PHASE_INJECT && executor->options.target)
        fetch_rows(executor);
}
