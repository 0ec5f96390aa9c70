/* A step as the device reads it: lists of rows, of rows that want logits, and of runs of rows. */
#include "kernels/cuda/lower/lower.h"

static void fill_run(const slip_span *span, int32_t first, int32_t last, slip_cuda_step *out)
{
    out->run[out->runs++] = (slip_cuda_run){.row = span->row + first,
                                            .count = last - first,
                                            .sequence = span->sequence,
                                            .base = (int32_t)span->base,
                                            .position = span->position + first};
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
            out->logit_row[out->logit_rows++] = (slip_cuda_logit_row){
                .row = span->row + i, .position = position + 1, .seed = span->sampling.seed, .temperature = span->sampling.temperature};
    }
    if (span->count > run)
        fill_run(span, run, span->count, out);
}

void slip_cuda_step_fill(const slip_program *program, const slip_step *step, int32_t first_op, int32_t op_count, slip_cuda_step *out)
{
    out->number = step->number;
    out->first_op = first_op;
    out->op_count = op_count;
    out->rows = step->row_count;
    out->logit_rows = out->runs = 0;
    out->want_logits = step->want == SLIP_WANT_LOGITS;
    out->stop = 0;
    out->split_runs = 0;
    for (int32_t s = 0; s < step->span_count; s++)
        fill_span(program, step, &step->span[s], out);
}
