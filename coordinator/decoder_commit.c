#include <math.h>
#include <string.h>

#include "coordinator/decoder_state.h"
#include "ranks/model/sampling/sample.h"

/* ---- filters of rows that a device samples: top_k, top_p and min_p without a row's logits on the host ----
 *
 * The device draws the best of all tokens and makes a histogram of the row. From that the host knows bins that are kept, bins that are left
 * out, and those in between that are open (ranks/model/sampling/histogram.h); a draw's score, less its noise, says in which bin it lies.
 *
 *   1. The draw lies in a kept bin: it is the best of all tokens, and kept, so it is the best of those that are kept. Done.
 *   2. Else the step is sampled again, from the logits that it left on the device, with the row's bins that are kept or open. What comes out
 *      is the best of a set that holds all tokens that are kept. If it lies in a kept bin, it is the best of those. Done.
 *   3. Else the row's logits come to the host, which looks into the bin of the draw, and finds the sample by the rule itself where that does
 *      not tell (slip_sample_drawn).
 *
 * Scores are the same bits wherever they are computed, and 1 and 2 end only with a proof; so a row has one sample, by whichever of the
 * three it was found, and text depends neither on the batch nor on the draft.
 *
 * Rows whose request has penalties, a bias or wants logprobs take the third way at once. Rows behind one whose sample is not the draft
 * behind it are left alone.
 */

bool slip_decoder_device_filters(const slip_decoder *decoder)
{
    return slip_runner_kind(slip_rank_target(decoder->rank))->histogram != NULL;
}

/* What is still to be done for a row: steps 2 and 3 above. */
typedef enum { DONE, DRAW_AGAIN, FETCH } work;

/* A logit row of the step. */
typedef struct {
    const slip_query *query;
    int64_t position; /* of the token that is sampled */
    slip_edge edge;
    bool binned; /* there is such an edge */
    work left;
} logit_row;

/* The lowest bin in which its draw may lie. */
static int32_t bin_of(const slip_decoder *decoder, const logit_row *row, int32_t at)
{
    return slip_candidate_bin(decoder->candidates[at], &row->query->sampling, row->position);
}

static work look(const slip_decoder *decoder, const slip_outcome *outcome, logit_row *row, int32_t at)
{
    const slip_sampling *sampling = &row->query->sampling;
    if (slip_logits_wanted(&row->query->wishes, sampling))
        return FETCH;
    if (!slip_sampling_filters(sampling) || !isfinite(decoder->candidates[at].score))
        return DONE;
    row->binned = slip_is_binned(sampling->temperature) && slip_histogram_edge(&outcome->histograms[at], sampling, &row->edge);
    if (!row->binned)
        return FETCH;
    const int32_t bin = bin_of(decoder, row, at);
    return bin >= row->edge.kept ? DONE : bin >= row->edge.open ? FETCH : DRAW_AGAIN;
}

/* The span's rows, until one is surely not the draft behind it. `at`: its first logit row. */
static void look_at_span(const slip_decoder *decoder, const slip_outcome *outcome, int32_t s, logit_row *rows, int32_t at)
{
    const slip_span *span = &decoder->step.span[s];
    for (int32_t i = span->count - span->logit_rows; i < span->count; i++, at++) {
        rows[at] = (logit_row){.query = &decoder->sequences[decoder->owner[s]].query, .position = span->position + i + 1};
        rows[at].left = look(decoder, outcome, &rows[at], at);
        const bool agrees = i + 1 < span->count && decoder->step.token[span->row + i + 1] == decoder->candidates[at].token;
        if (rows[at].left == DONE && !agrees && decoder->options.forced_acceptance == 0)
            return;
    }
}

/* Sample the step again, those rows of which `mine` is left, and add to its outcome. None: nothing happens. */
static slip_status sample_again(slip_decoder *decoder, slip_want want, const logit_row *rows, work mine, slip_outcome *outcome)
{
    slip_runner *target = slip_rank_target(decoder->rank);
    slip_step *again = &decoder->again;
    slip_outcome sampled;
    int32_t wanted = 0;
    for (int32_t at = 0; at < decoder->step.logit_rows; at++)
        wanted += rows[at].left == mine;
    if (wanted == 0)
        return SLIP_OK;
    *again = decoder->step;
    again->again = 1;
    again->want = want;
    for (int32_t at = 0; at < again->logit_rows; at++)
        again->open[at] = rows[at].left != mine ? SLIP_NO_BINS : mine == DRAW_AGAIN ? rows[at].edge.open : SLIP_ALL_BINS;
    slip_status status = slip_runner_begin(target, SLIP_PHASE_RUN, again);
    if (status == SLIP_OK)
        status = slip_runner_wait(target, again, &sampled);
    if (status != SLIP_OK)
        return status;
    outcome->candidates = sampled.candidates;
    outcome->logits = sampled.logits;
    outcome->device_ms += sampled.device_ms;
    return SLIP_OK;
}

static slip_status filter(slip_decoder *decoder, slip_outcome *outcome)
{
    logit_row rows[SLIP_MAX_ROWS] = {0};
    for (int32_t s = 0, at = 0; s < decoder->step.span_count; at += decoder->step.span[s++].logit_rows)
        look_at_span(decoder, outcome, s, rows, at);
    slip_status status = sample_again(decoder, SLIP_WANT_TOKENS, rows, DRAW_AGAIN, outcome);
    if (status != SLIP_OK)
        return status;
    for (int32_t at = 0; at < decoder->step.logit_rows; at++)
        if (rows[at].left == DRAW_AGAIN) {
            decoder->candidates[at] = outcome->candidates[at];
            rows[at].left = bin_of(decoder, &rows[at], at) >= rows[at].edge.kept ? DONE : FETCH;
        }
    for (int32_t at = 0; at < decoder->step.logit_rows; at++) {
        decoder->whole[at] = rows[at].left == FETCH;
        decoder->drawn[at] = rows[at].binned;
    }
    return sample_again(decoder, SLIP_WANT_LOGITS, rows, FETCH, outcome);
}

slip_status slip_decoder_filter(slip_decoder *decoder, slip_outcome *outcome)
{
    for (int32_t at = 0; at < decoder->step.logit_rows; at++) {
        decoder->whole[at] = decoder->step.want == SLIP_WANT_LOGITS;
        decoder->drawn[at] = false;
    }
    if (decoder->step.want == SLIP_WANT_LOGITS)
        return SLIP_OK;
    memcpy(decoder->candidates, outcome->candidates, (size_t)decoder->step.logit_rows * sizeof *decoder->candidates);
    return slip_decoder_device_filters(decoder) ? filter(decoder, outcome) : SLIP_OK;
}

/* ---- commit ---- */

void slip_sequence_finish(slip_sequence *sequence, const char *reason)
{
    sequence->phase = SLIP_FINISHED;
    sequence->finish_reason = reason;
    sequence->finished_ms = slip_now_ms();
}

/* The sample of a row that was not looked at, or has a logit that is not finite. No draft equals it. */
enum { SLIP_NO_SAMPLE = -1 };

/* The pick from a whole row, and what the sequence keeps of it. `place`: of the token in the answer. */
static slip_candidate sample_logits(slip_decoder *decoder, slip_sequence *sequence, const slip_outcome *outcome, int32_t row,
                                    int64_t position, int32_t place)
{
    const slip_query *query = &sequence->query;
    const int32_t vocabulary = decoder->model->vocabulary, top = query->wishes.top_logprobs;
    const float *logits = outcome->logits + (int64_t)row * vocabulary, *adjusted = logits;
    if (decoder->drawn[row])
        return slip_sample_drawn(logits, vocabulary, &outcome->histograms[row], decoder->candidates[row], &query->sampling, position,
                                 decoder->order);
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
        slip_candidate best = decoder->candidates[row];
        if (decoder->whole[row])
            best = sample_logits(decoder, sequence, outcome, row, span->position + i + 1, place);
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

/* Tokens of a step arrive together. A benchmark that reads all prompts first lets those wait that have theirs: that is no time between tokens. */
static void time_tokens(slip_decoder *decoder, slip_sequence *sequence, double now)
{
    if (sequence->fresh == 0)
        return;
    if (sequence->latest_ms > 0)
        slip_times_add(&decoder->metrics.between, now - sequence->latest_ms);
    sequence->latest_ms = decoder->options.prompts_first && sequence->first_token_ms == now ? 0 : now;
}

void slip_decoder_commit(slip_decoder *decoder, const slip_outcome *outcome)
{
    const double now = slip_now_ms();
    int32_t row = 0;
    for (int32_t s = 0; s < decoder->step.span_count; s++) {
        const slip_span *span = &decoder->step.span[s];
        slip_sequence *sequence = &decoder->sequences[decoder->owner[s]];
        sample_span(decoder, sequence, outcome, span, row);
        if (sequence->phase == SLIP_PREFILL)
            commit_chunk(decoder, sequence, span, decoder->samples + row, now);
        else
            commit_block(decoder, sequence, span, decoder->samples + row);
        time_tokens(decoder, sequence, now);
        row += span->logit_rows;
    }
}
