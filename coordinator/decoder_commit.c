/* The end of a step: tokens are committed, stop rules are tested, sequences end. */
#include "coordinator/decoder_state.h"

void slip_sequence_finish(slip_sequence *sequence, const char *reason)
{
    sequence->phase = SLIP_FINISHED;
    sequence->finish_reason = reason;
    sequence->finished_ms = slip_now_ms();
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

static void commit_chunk(slip_decoder *decoder, slip_sequence *sequence, const slip_span *span, const int32_t *samples, double now)
{
    sequence->prefilled += span->count;
    keep_taps(decoder, span, span->count);
    if (sequence->prefilled < slip_sequence_read_count(sequence))
        return;
    sequence->phase = SLIP_DECODE;
    sequence->first_token_ms = now;
    append(decoder, sequence, samples, 1);
}

int32_t slip_decoder_forced(const slip_decoder *decoder, const slip_sequence *sequence, int32_t drafts)
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
        accepted = slip_decoder_forced(decoder, sequence, drafted);
    int32_t kept = append(decoder, sequence, samples, accepted + 1);
    if (kept == 0)
        return; /* not one row had a sample */
    if (drafted > 0)
        slip_acceptance_count(&sequence->acceptance, drafted, kept - 1);
    slip_pace_count(&decoder->pace, &sequence->chances, drafted, accepted);
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

/* Tokens of a step arrive together. A benchmark that reads all prompts first lets those wait that have theirs: that is no time between tokens. */
static void time_tokens(slip_decoder *decoder, slip_sequence *sequence, double now)
{
    if (sequence->fresh == 0)
        return;
    if (sequence->latest_ms > 0)
        slip_times_add(&decoder->metrics.between, now - sequence->latest_ms);
    sequence->latest_ms = decoder->options.prompts_first && sequence->first_token_ms == now ? 0 : now;
}

void slip_decoder_commit(slip_decoder *decoder)
{
    const double now = slip_now_ms();
    int32_t row = 0;
    for (int32_t s = 0; s < decoder->step.span_count; s++) {
        const slip_span *span = &decoder->step.span[s];
        slip_sequence *sequence = &decoder->sequences[decoder->owner[s]];
        if (sequence->phase == SLIP_PREFILL)
            commit_chunk(decoder, sequence, span, decoder->samples + row, now);
        else
            commit_block(decoder, sequence, span, decoder->samples + row);
        time_tokens(decoder, sequence, now);
        row += span->logit_rows;
    }
}
