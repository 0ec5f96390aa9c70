#include <math.h>

#include "coordinator/decoder_state.h"
#include "ranks/model/sample.h"

void slip_sequence_finish(slip_sequence *sequence, const char *reason)
{
    sequence->phase = SLIP_FINISHED;
    sequence->finish_reason = reason;
    sequence->finished_ms = slip_now_ms();
}

/* The sample of a row with a logit that is not finite. No draft equals it. */
enum { SLIP_NO_SAMPLE = -1 };

/* The sampled token of every logit row. */
static void sample_rows(slip_decoder *decoder, const slip_outcome *outcome)
{
    const slip_step *step = &decoder->step;
    int32_t row = 0;
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_span *span = &step->span[s];
        for (int32_t i = span->count - span->logit_rows; i < span->count; i++, row++) {
            slip_candidate best = outcome->candidates[row];
            if (step->want == SLIP_WANT_LOGITS)
                best = slip_sample_filtered(outcome->logits + (int64_t)row * decoder->model->vocabulary, decoder->model->vocabulary,
                                            &span->sampling, span->position + i + 1, decoder->order);
            decoder->samples[row] = isfinite(best.score) ? best.token : SLIP_NO_SAMPLE;
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

/* Append until the end of text, the limit or a row without a sample; returns how many of `count` tokens counted. */
static int32_t append(slip_decoder *decoder, slip_sequence *sequence, const int32_t *tokens, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (tokens[i] == SLIP_NO_SAMPLE) {
            sequence->broken_step = decoder->step.number;
            slip_sequence_finish(sequence, "error");
            return i;
        }
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

/* Context for the draft: rows that stay. */
static void keep_taps(slip_decoder *decoder, const slip_span *span, int32_t rows)
{
    for (int32_t i = 0; decoder->draft && i < rows; i++)
        slip_tap_store_keep(decoder->taps, span->sequence, span->position + i);
}

static void commit_chunk(slip_decoder *decoder, slip_sequence *sequence, const slip_span *span, const int32_t *samples)
{
    sequence->prefilled += span->count;
    keep_taps(decoder, span, span->count);
    if (sequence->prefilled < slip_sequence_read_count(sequence))
        return;
    sequence->phase = SLIP_DECODE;
    sequence->first_token_ms = slip_now_ms();
    append(decoder, sequence, samples, 1);
}

/* Commit a fixed average, whatever the target says: whole steps that add up to the wanted mean. */
static int32_t force_acceptance(const slip_decoder *decoder, const slip_sequence *sequence, int32_t drafts)
{
    double wanted = decoder->options.forced_acceptance - 1;
    int64_t steps = sequence->acceptance.steps;
    int32_t accepted = (int32_t)((int64_t)((double)(steps + 1) * wanted) - (int64_t)((double)steps * wanted));
    return accepted < drafts ? accepted : drafts;
}

static void commit_block(slip_decoder *decoder, slip_sequence *sequence, const slip_span *span, const int32_t *samples)
{
    const int32_t *drafts = decoder->step.token + span->row + 1;
    int32_t drafted = span->count - 1, accepted = slip_accept_prefix(drafts, samples, drafted);
    if (decoder->options.forced_acceptance > 0)
        accepted = force_acceptance(decoder, sequence, drafted);
    int32_t kept = append(decoder, sequence, samples, accepted + 1);
    if (kept == 0)
        return; /* not one row had a sample */
    if (decoder->drafting) {
        slip_acceptance_count(&sequence->acceptance, drafted, kept - 1);
        sequence->expected = slip_pace_expect(sequence->expected, accepted + 1);
    }
    if (decoder->trace)
        slip_trace_add_block(decoder->trace, (slip_trace_block){.step = (int64_t)decoder->step.number,
                                                                .admission = (int64_t)sequence->turn,
                                                                .slot = span->sequence,
                                                                .position = span->position,
                                                                .drafts = drafted,
                                                                .accepted = kept - 1});
    if (sequence->phase == SLIP_DECODE)
        keep_taps(decoder, span, accepted + 1);
}

void slip_decoder_commit(slip_decoder *decoder, const slip_outcome *outcome)
{
    sample_rows(decoder, outcome);
    int32_t row = 0;
    for (int32_t s = 0; s < decoder->step.span_count; s++) {
        const slip_span *span = &decoder->step.span[s];
        slip_sequence *sequence = &decoder->sequences[decoder->owner[s]];
        if (sequence->phase == SLIP_PREFILL)
            commit_chunk(decoder, sequence, span, decoder->samples + row);
        else
            commit_block(decoder, sequence, span, decoder->samples + row);
        row += span->logit_rows;
    }
}
