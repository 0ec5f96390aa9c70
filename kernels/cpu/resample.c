/* Steps that are sampled, once more or for the first time: candidates, drafts that depend on each other, what logprobs need, and adjustments of
 * the logits that a step left. */
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

/* ---- candidates ---- */

int32_t slip_cpu_row_candidates(const slip_executor *executor, const slip_step *step)
{
    (void)step;
    return executor->program->walk.slots > 0 ? SLIP_SLICES : 1;
}

/* The best of each slice's of our tokens. */
static void find_by_slice(const float *logits, slip_range vocabulary, const slip_sampling *sampling, int64_t position, slip_candidate *out)
{
    const int64_t last = vocabulary.first + vocabulary.count;
    for (int32_t s = 0; s < SLIP_SLICES; s++)
        out[s] = (slip_candidate){0, -1};
    for (int64_t token = vocabulary.first, end; token < last; token = end) {
        end = (token / SLIP_SLICE_RUN + 1) * SLIP_SLICE_RUN;
        end = end < last ? end : last;
        slip_candidate *best = &out[slip_slice_of(token)];
        *best = slip_candidate_better(*best, slip_sample_best(logits + (token - vocabulary.first), token, end - token, sampling, position));
    }
}

void slip_cpu_candidates(slip_executor *executor, const slip_step *step, slip_candidate *out)
{
    const slip_program *program = executor->program;
    const slip_range vocabulary = program->vocabulary;
    int32_t row = 0;
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_span *span = &step->span[s];
        for (int32_t i = span->count - span->logit_rows; i < span->count; i++, row++) {
            const float *logits = slip_cpu_row(executor, SLIP_BUFFER_LOGITS, row);
            const int64_t position = span->position + i + program->logits_ahead;
            if (program->walk.slots > 0)
                find_by_slice(logits, vocabulary, &span->sampling, position, out + (size_t)row * SLIP_SLICES);
            else if (span->adjustments == SLIP_ADJUSTED_LATER || (step->again && step->open[row] == SLIP_NO_BINS))
                out[row] = (slip_candidate){0, -1};
            else
                out[row] = slip_sample_best(logits, vocabulary.first, vocabulary.count, &span->sampling, position);
        }
    }
}

/* ---- the walk through a block ---- */

/* What the head adds to a token's logit behind the one whose row is in executor->previous. */
static float head_adds(slip_executor *executor, int32_t token)
{
    const slip_walk *walk = &executor->program->walk;
    double sum = 0;
    slip_matrix_row(&executor->weights[walk->following], token, executor->following);
    for (int32_t i = 0; i < walk->rank; i++)
        sum += (double)executor->following[i] * executor->previous[i];
    return (float)sum;
}

/* One logit row, behind token `before`. `candidates` [SLIP_SLICES]. */
static slip_candidate best_behind(slip_executor *executor, int32_t before, const slip_candidate *candidates)
{
    slip_candidate best = {0, -1};
    slip_matrix_row(&executor->weights[executor->program->walk.previous], before, executor->previous);
    for (int32_t s = 0; s < SLIP_SLICES; s++) {
        slip_candidate mine = candidates[s];
        if (mine.token >= 0)
            mine.score += head_adds(executor, mine.token);
        best = slip_candidate_better(best, mine);
    }
    return best;
}

slip_status slip_cpu_walk(slip_executor *executor, const slip_step *step, const slip_candidate *candidates, slip_candidate *drafts)
{
    int32_t row = 0;
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_span *span = &step->span[s];
        int32_t before = step->token[span->row + span->count - span->logit_rows - 1];
        for (int32_t i = 0; i < span->logit_rows; i++, row++) {
            drafts[row] = best_behind(executor, before, candidates + (size_t)row * SLIP_SLICES);
            before = drafts[row].token;
        }
    }
    return SLIP_OK;
}
