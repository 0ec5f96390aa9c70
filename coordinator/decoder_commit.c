#include <math.h>
#include <string.h>

#include "coordinator/decoder_state.h"
#include "ranks/model/sample.h"

void slip_sequence_finish(slip_sequence *sequence, const char *reason)
{
    sequence->phase = SLIP_FINISHED;
    sequence->finish_reason = reason;
    sequence->finished_ms = slip_now_ms();
}

/* The sample of a row that was not looked at, or has a logit that is not finite. No draft equals it. */
enum { SLIP_NO_SAMPLE = -1 };

/* The pick from a whole row, and what the sequence keeps of it. `place`: of the token in the answer. */
static slip_candidate sample_logits(slip_decoder *decoder, slip_sequence *sequence, const float *logits, int64_t position, int32_t place)
{
    const slip_query *query = &sequence->query;
    const int32_t vocabulary = decoder->model->vocabulary, top = query->wishes.top_logprobs;
    const float *adjusted = logits;
    if (query->wishes.bias_count > 0 || sequence->past.counts) {
        adjusted = memcpy(decoder->adjusted, logits, (size_t)vocabulary * sizeof *logits);
        slip_logits_adjust(decoder->adjusted, &query->wishes, &query->sampling, &sequence->past);
    }
    slip_candidate best = slip_sample_filtered(adjusted, vocabulary, &query->sampling, position, decoder->order);
    if (!isfinite(best.score))
        return best;
    slip_past_add(&sequence->past, best.token);
    if (sequence->logprobs && place < query->max_tokens) {
        slip_logprob *out = sequence->logprobs + (size_t)place * (1 + (size_t)top);
        out->token = best.token;
        slip_logprobs(logits, vocabulary, top, out);
    }
    return best;
}

/* Rows of a span are sampled until one is not the draft behind it: what follows is not looked at. A forced acceptance looks at all. */
static void sample_span(slip_decoder *decoder, slip_sequence *sequence, const slip_outcome *outcome, const slip_span *span, int32_t row)
{
    const int32_t *tokens = decoder->step.token + span->row;
    bool agree = true;
    for (int32_t i = span->count - span->logit_rows, place = sequence->count; i < span->count; i++, row++, place++) {
        decoder->samples[row] = SLIP_NO_SAMPLE;
        if (!agree)
            continue;
        slip_candidate best = outcome->candidates[row];
        if (decoder->step.want == SLIP_WANT_LOGITS)
            best = sample_logits(decoder, sequence, outcome->logits + (int64_t)row * decoder->model->vocabulary, span->position + i + 1,
                                 place);
        if (isfinite(best.score))
            decoder->samples[row] = best.token;
        agree = decoder->options.forced_acceptance > 0 || (i + 1 < span->count && tokens[i + 1] == decoder->samples[row]);
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
    int32_t row = 0;
    for (int32_t s = 0; s < decoder->step.span_count; s++) {
        const slip_span *span = &decoder->step.span[s];
        slip_sequence *sequence = &decoder->sequences[decoder->owner[s]];
        sample_span(decoder, sequence, outcome, span, row);
        if (sequence->phase == SLIP_PREFILL)
            commit_chunk(decoder, sequence, span, decoder->samples + row);
        else
            commit_block(decoder, sequence, span, decoder->samples + row);
        row += span->logit_rows;
    }
}
