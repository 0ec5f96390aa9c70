/* A step as the device reads it: lists of rows, of rows that want logits, and of runs of rows. */
#include <assert.h>
#include <string.h>

#include "kernels/cuda/lower/lower.h"
#include "ranks/model/sampling/histogram.h"

static void fill_run(const slip_span *span, int32_t first, int32_t last, slip_cuda_step *out)
{
    assert(out->runs < SLIP_MAX_RUNS);
    out->run[out->runs++] = (slip_cuda_run){.row = span->row + first,
                                            .count = last - first,
                                            .sequence = span->sequence,
                                            .base = (int32_t)span->base,
                                            .position = span->position + first};
}

static void fill_logit_row(const slip_program *program, const slip_step *step, const slip_span *span, int32_t i, slip_cuda_step *out)
{
    const slip_sampling *sampling = &span->sampling;
    const int32_t at = out->logit_rows++;
    const bool left_out = step->again ? step->open[at] == SLIP_NO_BINS : span->adjustments == SLIP_ADJUSTED_LATER;
    out->logit_row[at] =
        (slip_cuda_logit_row){.row = (int16_t)(span->row + i),
                              .histogram = !left_out && slip_sampling_filters(sampling) && slip_is_binned(sampling->temperature),
                              .open = step->again ? step->open[at] : SLIP_ALL_BINS,
                              .position = span->position + i + program->logits_ahead,
                              .seed = sampling->seed,
                              .temperature = sampling->temperature};
}

static void fill_span(const slip_program *program, const slip_step *step, const slip_span *span, slip_cuda_step *out)
{
    bool whole = program->cache_count > 0 && program->cache[0].whole_block;
    int32_t run = 0; /* row of the span where the current run began */
    out->split_runs |= span->count > 1 && span->row / SLIP_TOKENS != (span->row + span->count - 1) / SLIP_TOKENS;
    for (int32_t i = 0; i < span->count; i++) {
        int64_t position = span->position + i;
        out->row[span->row + i] = (slip_cuda_row){.token = step->token[span->row + i],
                                                  .sequence = span->sequence,
                                                  .position = position,
                                                  .last = (int32_t)(whole ? span->position + span->count - 1 : position),
                                                  .base = (int32_t)span->base};
        if (i > run && slip_token_of(span->row + i) == 0) {
            fill_run(span, run, i, out);
            run = i;
        }
        if (i >= span->count - span->logit_rows)
            fill_logit_row(program, step, span, i, out);
    }
    if (span->count > run)
        fill_run(span, run, span->count, out);
}

void slip_cuda_step_fill(const slip_program *program, const slip_step *step, slip_cuda_step *out)
{
    out->number = step->number;
    out->rows = step->row_count;
    out->logit_rows = out->runs = 0;
    out->want = (int32_t)step->want;
    out->stop = 0;
    out->split_runs = 0;
    out->adjust = step->adjust;
    for (int32_t s = 0; s < step->span_count; s++)
        fill_span(program, step, &step->span[s], out);
}

void slip_cuda_step_list(const slip_step *step, slip_cuda_adjusting *out)
{
    int32_t first = 0, logit_row = 0, saved = 0;
    out->spans = 0;
    for (int32_t s = 0; s < step->span_count; logit_row += step->span[s++].logit_rows) {
        const slip_span *span = &step->span[s];
        if (span->adjustments == 0)
            continue;
        out->span[out->spans++] = (slip_cuda_adjusted_span){.sampling = span->sampling,
                                                            .first = first,
                                                            .count = span->adjustments,
                                                            .logit_row = logit_row,
                                                            .logit_rows = span->logit_rows,
                                                            .row = span->row + span->count - span->logit_rows,
                                                            .saved = saved};
        first += span->adjustments;
        saved += span->adjustments * span->logit_rows;
    }
    memcpy(out->adjustment, step->adjustments, (size_t)step->adjustment_count * sizeof *out->adjustment);
}
