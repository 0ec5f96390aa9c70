/* Steps that are sampled, once more or for the first time: candidates, what logprobs need, and adjustments of the logits that a step left. */
#include "kernels/cpu/state.h"
#include "ranks/model/sampling/sample.h"

/* Apply or undo one token's in all logit rows of a span, the first of them `row`; `saved` [logit rows]: what was there before. */
static void adjust_token(slip_executor *executor, const slip_span *span, int32_t row, const slip_adjustment *adjustment, float *saved)
{
    const slip_step *step = executor->step;
    const int32_t *tokens = step->token + span->row + span->count - span->logit_rows;
    const int64_t column = adjustment->token - executor->program->vocabulary.first;
    if (column < 0 || column >= executor->program->vocabulary.count)
        return;
    for (int32_t i = 0; i < span->logit_rows; i++) {
        float *logit = slip_cpu_row(executor, SLIP_BUFFER_LOGITS, row + i) + column;
        if (step->adjust == SLIP_ADJUST_UNDO) {
            *logit = saved[i];
            continue;
        }
        saved[i] = *logit;
        *logit = slip_adjusted(*logit, &span->sampling, adjustment->bias,
                               slip_adjustment_counts(adjustment->counts, adjustment->token, tokens, i));
    }
}

static void adjust(slip_executor *executor)
{
    const slip_step *step = executor->step;
    const slip_adjustment *next = step->adjustments;
    float *saved = executor->unadjusted;
    for (int32_t s = 0, row = 0; s < step->span_count; row += step->span[s++].logit_rows)
        for (int32_t i = 0; i < step->span[s].adjustments; i++, next++, saved += step->span[s].logit_rows)
            adjust_token(executor, &step->span[s], row, next, saved);
}

static void find_likeliest(slip_executor *executor)
{
    const slip_step *step = executor->step;
    const slip_range vocabulary = executor->program->vocabulary;
    for (int32_t row = 0; row < step->logit_rows; row++)
        if (step->open[row] != SLIP_NO_BINS)
            slip_likeliest_find(slip_cpu_row(executor, SLIP_BUFFER_LOGITS, row), vocabulary.first, vocabulary.count, step->open[row],
                                &executor->likeliest[row]);
}

void slip_cpu_resample(slip_executor *executor)
{
    if (executor->step->adjust != SLIP_ADJUST_NOTHING)
        adjust(executor);
    if (executor->step->want == SLIP_WANT_LIKELIEST)
        find_likeliest(executor);
}

const slip_likeliest *slip_cpu_likeliest(const slip_executor *executor, int32_t row)
{
    return &executor->likeliest[row];
}

void slip_cpu_candidates(slip_executor *executor, const slip_step *step, slip_candidate *out)
{
    const slip_range vocabulary = executor->program->vocabulary;
    int32_t row = 0;
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_span *span = &step->span[s];
        for (int32_t i = span->count - span->logit_rows; i < span->count; i++, row++) {
            const float *logits = slip_cpu_row(executor, SLIP_BUFFER_LOGITS, row);
            if (span->adjustments == SLIP_ADJUSTED_LATER || (step->again && step->open[row] == SLIP_NO_BINS))
                out[row] = (slip_candidate){0, -1};
            else
                out[row] = slip_sample_best(logits, vocabulary.first, vocabulary.count, &span->sampling, span->position + i + 1);
        }
    }
}
