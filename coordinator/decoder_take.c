#include "coordinator/decoder_state.h"
#include "kernels/sample.h"

/* The sampled token of every head row. */
static void take_samples(slip_decoder *decoder, const slip_outcome *outcome)
{
    const slip_step *step = &decoder->step;
    int32_t row = 0;
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_span *span = &step->span[s];
        for (int32_t i = span->count - span->heads; i < span->count; i++, row++) {
            slip_candidate best = outcome->candidates[row];
            if (step->want == SLIP_WANT_LOGITS)
                best = slip_sample_nucleus(outcome->logits + (int64_t)row * decoder->model->vocabulary,
                                           decoder->model->vocabulary, span->temperature, span->top_p, span->seed,
                                           span->position + i + 1, decoder->order);
            decoder->samples[row] = best.token;
        }
    }
}

static bool is_eos(const slip_decoder *decoder, int32_t token)
{
    for (int32_t i = 0; i < decoder->model->eos_count; i++)
        if (decoder->model->eos[i] == token)
            return true;
    return false;
}

/* Append until the end of text or the limit; returns how many of `count` tokens counted. */
static int32_t commit(slip_decoder *decoder, slip_sequence *sequence, const int32_t *tokens, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (!sequence->query.ignore_eos && is_eos(decoder, tokens[i])) {
            slip_sequence_finish(sequence, "stop");
            return i + 1;
        }
        sequence->tokens[sequence->count++] = tokens[i];
        sequence->fresh++;
        if (sequence->count == sequence->query.max_tokens) {
            slip_sequence_finish(sequence, "length");
            return i + 1;
        }
    }
    return count;
}

/* Taps of rows that stay, for as far back as the draft can look from the end of the prompt. */
static slip_status inject(slip_decoder *decoder, const slip_span *span, int32_t rows, int64_t horizon)
{
    slip_status status = SLIP_OK;
    int64_t window = decoder->draft ? decoder->model->draft.attention.window : 0;
    for (int32_t i = 0; decoder->draft && i < rows && status == SLIP_OK; i++)
        if (window == 0 || span->position + i + window >= horizon)
            status = slip_draft_inject(decoder->draft, span->sequence, span->position + i,
                                       slip_rank_taps(decoder->rank, span->row + i));
    return status;
}

static slip_status take_chunk(slip_decoder *decoder, slip_sequence *sequence, const slip_span *span, const int32_t *samples)
{
    sequence->prefilled += span->count;
    slip_status status = inject(decoder, span, span->count, sequence->query.prompt_count);
    if (sequence->prefilled < sequence->query.prompt_count)
        return status;
    sequence->phase = SLIP_DECODE;
    sequence->first_token_ms = slip_now_ms();
    commit(decoder, sequence, samples, 1);
    return status;
}

/* Commit a fixed average, whatever the target says: whole steps that add up to the wanted mean. */
static int32_t force_acceptance(const slip_decoder *decoder, const slip_sequence *sequence, int32_t drafts)
{
    double wanted = decoder->options.forced_acceptance - 1;
    int64_t steps = sequence->acceptance.steps;
    int32_t accepted = (int32_t)((int64_t)((double)(steps + 1) * wanted) - (int64_t)((double)steps * wanted));
    return accepted < drafts ? accepted : drafts;
}

static slip_status take_block(slip_decoder *decoder, slip_sequence *sequence, const slip_span *span, const int32_t *samples)
{
    const int32_t *drafts = decoder->step.token + span->row + 1;
    int32_t drafted = span->count - 1, accepted = slip_accept_prefix(drafts, samples, drafted);
    if (decoder->options.forced_acceptance > 0)
        accepted = force_acceptance(decoder, sequence, drafted);
    int32_t kept = commit(decoder, sequence, samples, accepted + 1);
    if (decoder->drafting) {
        slip_acceptance_count(&sequence->acceptance, drafted, kept - 1);
        sequence->expected = slip_pace_expect(sequence->expected, accepted + 1);
    }
    if (decoder->trace)
        slip_trace_block(decoder->trace, decoder->step.number, span->sequence, span->position, drafted, kept - 1);
    return sequence->phase == SLIP_DECODE ? inject(decoder, span, accepted + 1, 0) : SLIP_OK;
}

slip_status slip_decoder_take(slip_decoder *decoder, const slip_outcome *outcome)
{
    take_samples(decoder, outcome);
    slip_status status = SLIP_OK;
    int32_t row = 0;
    for (int32_t s = 0; s < decoder->step.span_count && status == SLIP_OK; s++) {
        const slip_span *span = &decoder->step.span[s];
        slip_sequence *sequence = &decoder->sequences[decoder->owner[s]];
        if (sequence->phase == SLIP_PREFILL)
            status = take_chunk(decoder, sequence, span, decoder->samples + row);
        else
            status = take_block(decoder, sequence, span, decoder->samples + row);
        row += span->heads;
    }
    return status;
}
