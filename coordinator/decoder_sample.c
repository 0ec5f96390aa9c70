/* The middle of a step: a token for each logit row, with filters, penalties and logprobs where a request wants them. */
#include <math.h>
#include <string.h>

#include "coordinator/decoder_state.h"
#include "ranks/model/sampling/sample.h"

/* ---- rows that a device samples: filters, bias, penalties and logprobs without a row's logits on the host ----
 *
 * The device draws the best of all tokens and makes a histogram of the row. From that the host knows bins that are kept, bins that are left
 * out, and those in between that are open (ranks/model/sampling/histogram.h); a draw's score, less its noise, says in which bin it lies.
 *
 *   1. The draw lies in a kept bin: it is the best of all tokens, and kept, so it is the best of those that are kept. Done.
 *   2. Else the step is sampled again, from the logits that it left on the device, with the row's bins that are kept or open. What comes out
 *      is the best of a set that holds all tokens that are kept. If it lies in a kept bin, it is the best of those. Done.
 *   3. Else the row's logits come to the host, which looks into the bin of the draw, and finds the sample by the rule itself where that does
 *      not tell (slip_sample_drawn). A draw that is left out has the best token of the bins that are kept as a rival of those ahead of it in
 *      the open ones. So a row whose first draw is open is drawn again, too, from the bins that are kept: else the host would have to draw
 *      noise for all of their tokens, which takes it 1 to 2 ms a row.
 *
 * Scores are the same bits wherever they are computed, and 1 and 2 end only with a proof; so a row has one sample, by whichever of the
 * three it was found, and text depends neither on the batch nor on the draft.
 *
 * Rows whose request has penalties or a bias are not sampled by the step: what they change depends on the drafts, which the host may not
 * know before. They are sampled again at once, with a list of what changes, and from there on like the others. When all samples are there,
 * what logprobs need of their rows is asked of the logits as they were (ranks/model/sampling/likeliest.h).
 *
 * What a device's executor does not offer (kernels/executor.h) is done here, from whole rows. Rows behind one whose sample is not the draft
 * behind it are left alone.
 */

/* ---- sampling again ---- */

/* The step as it is sampled again, those rows of which `mine` is left. False: there are none. */
static bool make_again(slip_decoder *decoder, slip_want want, const slip_logit_row *rows, slip_row_work mine)
{
    slip_step *again = &decoder->again;
    int32_t wanted = 0;
    for (int32_t at = 0; at < decoder->step.logit_rows; at++)
        wanted += rows[at].left == mine;
    if (wanted == 0)
        return false;
    *again = decoder->step;
    again->again = 1;
    again->want = want;
    for (int32_t s = 0; s < again->span_count; s++)
        again->span[s].adjustments = 0;
    for (int32_t at = 0; at < again->logit_rows; at++)
        again->open[at] = rows[at].left != mine         ? SLIP_NO_BINS
                          : mine == SLIP_ROW_DRAW_AGAIN ? rows[at].from
                          : mine == SLIP_ROW_TELL       ? decoder->samples[at]
                                                        : SLIP_ALL_BINS;
    return true;
}

static slip_status sample_again(slip_decoder *decoder, slip_outcome *outcome)
{
    slip_runner *target = slip_rank_target(decoder->rank);
    slip_outcome sampled;
    slip_status status = slip_runner_begin(target, SLIP_PHASE_RUN, &decoder->again);
    if (status == SLIP_OK)
        status = slip_runner_wait(target, &decoder->again, &sampled);
    if (status != SLIP_OK)
        return status;
    sampled.weight_bytes = outcome->weight_bytes;
    sampled.device_ms += outcome->device_ms;
    *outcome = sampled;
    return SLIP_OK;
}

/* Candidates of rows of which `mine` is left. */
static void take_candidates(slip_decoder *decoder, const slip_outcome *outcome, const slip_logit_row *rows, slip_row_work mine)
{
    for (int32_t at = 0; at < decoder->step.logit_rows; at++)
        if (rows[at].left == mine)
            decoder->candidates[at] = outcome->candidates[at];
}

/* ---- bias and penalties ---- */

/* What changes in the rows of the spans that were left for later, into decoder->again. */
static void list_adjustments(slip_decoder *decoder, slip_adjust adjust)
{
    slip_step *again = &decoder->again;
    again->adjust = adjust;
    again->adjustments = decoder->adjustments;
    for (int32_t s = 0; s < again->span_count; s++)
        again->span[s].adjustments = decoder->adjusted[s];
    again->adjustment_count = decoder->adjustment_count;
}

/* Once a step: undoing wants the same list. */
static void find_adjustments(slip_decoder *decoder)
{
    decoder->adjustment_count = 0;
    for (int32_t s = 0; s < decoder->step.span_count; s++) {
        const slip_span *span = &decoder->step.span[s];
        const slip_sequence *sequence = slip_decoder_owner(decoder, s);
        const int32_t drafts = slip_decoder_drafts(span);
        decoder->adjusted[s] = 0;
        if (span->adjustments != SLIP_ADJUSTED_LATER)
            continue;
        decoder->adjusted[s] = slip_logits_adjustments(&sequence->query.wishes, &sequence->query.sampling, &sequence->past,
                                                       decoder->step.token + span->row + span->count - drafts, drafts, decoder->order,
                                                       decoder->adjustments + decoder->adjustment_count);
        decoder->adjustment_count += decoder->adjusted[s];
    }
}

/* A device samples all rows at once: a step takes it longer than rows do. Others sample the rows that are looked at, one after the other. */
static bool samples_at_once(const slip_decoder *decoder)
{
    return slip_decoder_kind(decoder)->histogram || decoder->options.forced_acceptance > 0;
}

/* SLIP_ROW_ADJUST is left of the rows that are sampled first. Do filters apply to any? */
static bool find_first_rows(const slip_decoder *decoder, slip_logit_row *rows)
{
    bool filters = false;
    for (int32_t s = 0, at = 0; s < decoder->step.span_count; at += decoder->step.span[s++].logit_rows)
        for (int32_t i = 0; i < decoder->step.span[s].logit_rows && slip_decoder_adjusted(rows[at].query); i++) {
            rows[at + i].left = i == 0 || samples_at_once(decoder) ? SLIP_ROW_ADJUST : SLIP_ROW_DONE;
            filters |= slip_sampling_filters(&rows[at].query->sampling);
        }
    return filters;
}

/* From rows that have their candidates now to those behind them, where these are the drafts. */
static void find_next_rows(const slip_decoder *decoder, slip_logit_row *rows)
{
    for (int32_t s = 0, at = 0; s < decoder->step.span_count; at += decoder->step.span[s++].logit_rows) {
        const slip_span *span = &decoder->step.span[s];
        const int32_t *tokens = decoder->step.token + span->row + span->count - span->logit_rows;
        for (int32_t i = span->logit_rows - 1; i >= 0; i--) {
            if (rows[at + i].left != SLIP_ROW_ADJUST)
                continue;
            rows[at + i].left = SLIP_ROW_DONE;
            if (i + 1 < span->logit_rows && tokens[i + 1] == decoder->candidates[at + i].token)
                rows[at + i + 1].left = SLIP_ROW_ADJUST;
        }
    }
}

static slip_status adjust(slip_decoder *decoder, slip_logit_row *rows, slip_outcome *outcome)
{
    if (!decoder->adjusts)
        return SLIP_OK;
    const slip_want want = find_first_rows(decoder, rows) ? SLIP_WANT_HISTOGRAMS : SLIP_WANT_TOKENS;
    if (!(decoder->adjusts = make_again(decoder, want, rows, SLIP_ROW_ADJUST)))
        return SLIP_OK;
    find_adjustments(decoder);
    list_adjustments(decoder, SLIP_ADJUST_APPLY);
    do {
        slip_status status = sample_again(decoder, outcome);
        if (status != SLIP_OK)
            return status;
        take_candidates(decoder, outcome, rows, SLIP_ROW_ADJUST);
        if (samples_at_once(decoder))
            return SLIP_OK;
        find_next_rows(decoder, rows);
    } while (make_again(decoder, want, rows, SLIP_ROW_ADJUST));
    return SLIP_OK;
}

/* ---- filters ---- */

/* The lowest bin in which its draw may lie. */
static int32_t bin_of(const slip_decoder *decoder, const slip_logit_row *row, int32_t at)
{
    return slip_candidate_bin(decoder->candidates[at], &row->query->sampling, row->position);
}

enum { ROWS_AHEAD = 2 }; /* memory takes as long as they do */

static slip_row_work look(const slip_decoder *decoder, const slip_outcome *outcome, slip_logit_row *row, int32_t at)
{
    const slip_sampling *sampling = &row->query->sampling;
    if ((slip_decoder_adjusted(row->query) && !decoder->adjusts) || (row->query->wishes.logprobs && !slip_decoder_tells(decoder)))
        return SLIP_ROW_FETCH;
    if (!slip_sampling_filters(sampling) || !isfinite(decoder->candidates[at].score))
        return SLIP_ROW_DONE;
    if (!slip_is_binned(sampling->temperature))
        return SLIP_ROW_FETCH;
    if (at + ROWS_AHEAD < decoder->step.logit_rows)
        slip_histogram_prefetch(&outcome->histograms[at + ROWS_AHEAD]);
    const int32_t bin = bin_of(decoder, row, at);
    if (slip_histogram_keeps(&outcome->histograms[at], sampling, bin))
        return SLIP_ROW_DONE;
    if (!(row->binned = slip_histogram_edge(&outcome->histograms[at], sampling, &row->edge)))
        return SLIP_ROW_FETCH;
    row->from = bin >= row->edge.open ? row->edge.kept : row->edge.open;
    return bin >= row->edge.kept ? SLIP_ROW_DONE : SLIP_ROW_DRAW_AGAIN;
}

/* Drafts of a span that are accepted in any case; -1: their samples say which. */
static int32_t forced_drafts(const slip_decoder *decoder, const slip_sequence *sequence, const slip_span *span)
{
    return decoder->options.forced_acceptance > 0 ? slip_decoder_forced(decoder, sequence, slip_decoder_drafts(span)) : -1;
}

/* The span's rows, until one is surely not the draft behind it. `at`: its first logit row. */
static void look_at_span(const slip_decoder *decoder, const slip_outcome *outcome, int32_t s, slip_logit_row *rows, int32_t at)
{
    const slip_span *span = &decoder->step.span[s];
    const int32_t first = span->count - span->logit_rows, forced = forced_drafts(decoder, slip_decoder_owner(decoder, s), span);
    for (int32_t i = first; i < span->count; i++, at++) {
        rows[at].left = look(decoder, outcome, &rows[at], at);
        const bool agrees = i + 1 < span->count && decoder->step.token[span->row + i + 1] == decoder->candidates[at].token;
        if (forced >= 0 ? i - first >= forced : rows[at].left == SLIP_ROW_DONE && !agrees)
            return;
    }
}

/* What was drawn again: from the open bins on it is the row's draw; from those that are kept it is what the row's draw is up against. */
static void take_drawn_again(slip_decoder *decoder, const slip_outcome *outcome, slip_logit_row *row, int32_t at)
{
    decoder->rivalled[at] = row->from == row->edge.kept && bin_of(decoder, row, at) >= row->edge.open;
    if (decoder->rivalled[at]) {
        decoder->rivals[at] = outcome->candidates[at];
        row->left = SLIP_ROW_FETCH;
        return;
    }
    decoder->candidates[at] = outcome->candidates[at];
    row->left = bin_of(decoder, row, at) >= row->edge.kept ? SLIP_ROW_DONE : SLIP_ROW_FETCH;
}

static slip_status filter(slip_decoder *decoder, slip_logit_row *rows, slip_outcome *outcome)
{
    slip_status status = SLIP_OK;
    for (int32_t s = 0, at = 0; s < decoder->step.span_count; at += decoder->step.span[s++].logit_rows)
        look_at_span(decoder, outcome, s, rows, at);
    if (make_again(decoder, SLIP_WANT_TOKENS, rows, SLIP_ROW_DRAW_AGAIN))
        status = sample_again(decoder, outcome);
    if (status != SLIP_OK)
        return status;
    for (int32_t at = 0; at < decoder->step.logit_rows; at++) {
        decoder->rivalled[at] = false;
        if (rows[at].left == SLIP_ROW_DRAW_AGAIN)
            take_drawn_again(decoder, outcome, &rows[at], at);
        decoder->whole[at] = rows[at].left == SLIP_ROW_FETCH;
        decoder->drawn[at] = rows[at].binned;
    }
    return make_again(decoder, SLIP_WANT_LOGITS, rows, SLIP_ROW_FETCH) ? sample_again(decoder, outcome) : SLIP_OK;
}

static void begin_rows(const slip_decoder *decoder, slip_logit_row *rows)
{
    for (int32_t s = 0, at = 0; s < decoder->step.span_count; s++) {
        const slip_span *span = &decoder->step.span[s];
        for (int32_t i = span->count - span->logit_rows; i < span->count; i++, at++)
            rows[at] = (slip_logit_row){.query = &slip_decoder_owner(decoder, s)->query, .position = span->position + i + 1};
    }
}

slip_status slip_decoder_filter(slip_decoder *decoder, slip_outcome *outcome)
{
    slip_logit_row *const rows = decoder->rows;
    for (int32_t at = 0; at < decoder->step.logit_rows; at++) {
        decoder->whole[at] = decoder->step.want == SLIP_WANT_LOGITS;
        decoder->drawn[at] = false;
    }
    if (decoder->step.want == SLIP_WANT_LOGITS)
        return SLIP_OK;
    memcpy(decoder->candidates, outcome->candidates, (size_t)decoder->step.logit_rows * sizeof *decoder->candidates);
    begin_rows(decoder, rows);
    slip_status status = adjust(decoder, rows, outcome);
    return status == SLIP_OK && slip_decoder_kind(decoder)->histogram ? filter(decoder, rows, outcome) : status;
}

/* ---- samples ---- */

/* The pick from a whole row. */
static slip_candidate sample_whole(slip_decoder *decoder, slip_sequence *sequence, const slip_outcome *outcome, int32_t row,
                                   int64_t position)
{
    const slip_query *query = &sequence->query;
    const int32_t vocabulary = decoder->model->vocabulary;
    const float *logits = outcome->logits + (int64_t)row * vocabulary;
    if (decoder->drawn[row])
        return slip_sample_drawn(logits, vocabulary, &outcome->histograms[row], decoder->candidates[row],
                                 decoder->rivalled[row] ? &decoder->rivals[row] : NULL, &query->sampling, position, decoder->order);
    if (slip_decoder_adjusted(query) && !decoder->adjusts) {
        logits = memcpy(decoder->changed, logits, (size_t)vocabulary * sizeof *logits);
        slip_logits_adjust(decoder->changed, &query->wishes, &query->sampling, &sequence->past);
    }
    return slip_sample_filtered(logits, vocabulary, &query->sampling, position, decoder->order);
}

/* Where the logprobs of a token go that is the answer's number `place`; NULL: nowhere. */
static slip_logprob *logprobs_of(const slip_sequence *sequence, int32_t place)
{
    const slip_query *query = &sequence->query;
    return sequence->logprobs && place < query->max_tokens ? sequence->logprobs + (size_t)place * (1 + (size_t)query->wishes.top_logprobs)
                                                           : NULL;
}

/* Rows of a span are sampled until one is not the draft behind it, or, with a forced acceptance, is not to be: what follows is not looked at. */
static void sample_span(slip_decoder *decoder, slip_sequence *sequence, const slip_outcome *outcome, const slip_span *span, int32_t row)
{
    const int32_t *tokens = decoder->step.token + span->row;
    const int32_t first = span->count - span->logit_rows, forced = forced_drafts(decoder, sequence, span);
    bool agree = true;
    for (int32_t i = first, place = sequence->count; i < span->count; i++, row++, place++) {
        decoder->samples[row] = SLIP_NO_SAMPLE;
        if (!agree)
            continue;
        slip_candidate best = decoder->candidates[row];
        if (decoder->whole[row])
            best = sample_whole(decoder, sequence, outcome, row, span->position + i + 1);
        if (isfinite(best.score)) {
            decoder->samples[row] = best.token;
            slip_past_add(&sequence->past, best.token);
        }
        agree = forced >= 0 ? i - first < forced : i + 1 < span->count && tokens[i + 1] == decoder->samples[row];
    }
}

/* ---- logprobs ---- */

/* SLIP_ROW_TELL is left of rows whose sample's logprobs are wanted. */
static void find_rows_to_tell(const slip_decoder *decoder, slip_logit_row *rows)
{
    for (int32_t s = 0, at = 0; s < decoder->step.span_count; s++)
        for (int32_t i = 0; i < decoder->step.span[s].logit_rows; i++, at++) {
            const slip_sequence *sequence = slip_decoder_owner(decoder, s);
            const bool wanted = decoder->samples[at] != SLIP_NO_SAMPLE && logprobs_of(sequence, sequence->count + i) != NULL;
            rows[at] = (slip_logit_row){.query = &sequence->query, .left = wanted ? SLIP_ROW_TELL : SLIP_ROW_DONE};
        }
}

/* `here`: from the row's logits. */
static void tell(slip_decoder *decoder, const slip_outcome *outcome, const slip_logit_row *rows, bool here)
{
    const int32_t vocabulary = decoder->model->vocabulary;
    for (int32_t s = 0, at = 0; s < decoder->step.span_count; s++)
        for (int32_t i = 0; i < decoder->step.span[s].logit_rows; i++, at++) {
            const slip_sequence *sequence = slip_decoder_owner(decoder, s);
            if (rows[at].left != SLIP_ROW_TELL)
                continue;
            slip_logprob *out = logprobs_of(sequence, sequence->count + i);
            out->token = decoder->samples[at];
            if (here)
                slip_logprobs(outcome->logits + (int64_t)at * vocabulary, vocabulary, sequence->query.wishes.top_logprobs, out);
            else
                slip_logprobs_of(&outcome->likeliest[at], out->token, sequence->query.wishes.top_logprobs, out);
        }
}

static slip_status find_logprobs(slip_decoder *decoder, slip_outcome *outcome)
{
    slip_logit_row *const rows = decoder->rows;
    const bool here = decoder->step.want == SLIP_WANT_LOGITS || !slip_decoder_tells(decoder);
    find_rows_to_tell(decoder, rows);
    if (!here) {
        if (!make_again(decoder, SLIP_WANT_LIKELIEST, rows, SLIP_ROW_TELL))
            return SLIP_OK;
        if (decoder->adjusts)
            list_adjustments(decoder, SLIP_ADJUST_UNDO);
        slip_status status = sample_again(decoder, outcome);
        if (status != SLIP_OK)
            return status;
    }
    tell(decoder, outcome, rows, here);
    return SLIP_OK;
}

slip_status slip_decoder_sample(slip_decoder *decoder, slip_outcome *outcome)
{
    for (int32_t s = 0, row = 0; s < decoder->step.span_count; row += decoder->step.span[s++].logit_rows)
        sample_span(decoder, slip_decoder_owner(decoder, s), outcome, &decoder->step.span[s], row);
    return find_logprobs(decoder, outcome);
}
