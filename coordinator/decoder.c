#include "coordinator/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/pace.h"
#include "kernels/sample.h"

struct slip_decoder {
    slip_rank *rank;
    slip_draft *draft;
    const slip_model *model;
    slip_limits limits;
    slip_decoder_options options;
    slip_trace *trace;
    slip_sequence *sequences;
    slip_proposal *proposals;          /* [sequences] */
    int32_t owner[SLIP_MAX_SPANS];     /* slot of each span of the step */
    slip_step step;
    int32_t samples[SLIP_MAX_ROWS];    /* the target's token after each head row */
    int32_t *order;                    /* [vocabulary] scratch of the nucleus */
    slip_pace pace;
    int32_t decoding;                  /* sequences past their prompt in this step */
    bool drafting;                     /* this step verifies drafts */
    slip_figures figures;
    double first_step_ms;
};

slip_limits slip_decoder_limits(const slip_model *model, const slip_decoder_options *options, int64_t context)
{
    int32_t block = model->has_draft ? model->draft.block : 1;
    int32_t widest = options->chunk > block ? options->chunk : block;
    int32_t rows = options->sequences * block > widest ? options->sequences * block : widest;
    return (slip_limits){
        .rows = rows,
        .head_rows = rows,
        .sequences = options->sequences,
        .span_rows = widest,
        .context = context + block, /* a block may look past the last position */
    };
}

slip_status slip_decoder_create(slip_rank *rank, slip_draft *draft, const slip_model *model, const slip_limits *limits,
                                const slip_decoder_options *options, slip_trace *trace, slip_decoder **out)
{
    slip_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    decoder->rank = rank;
    decoder->draft = draft;
    decoder->model = model;
    decoder->limits = *limits;
    decoder->options = *options;
    decoder->trace = trace;
    decoder->sequences = calloc((size_t)options->sequences, sizeof *decoder->sequences);
    decoder->proposals = calloc((size_t)options->sequences, sizeof *decoder->proposals);
    decoder->order = calloc((size_t)model->vocabulary, sizeof *decoder->order);
    if (!decoder->sequences || !decoder->proposals || !decoder->order) {
        slip_decoder_free(decoder);
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d sequences", options->sequences);
    }
    *out = decoder;
    return SLIP_OK;
}

void slip_decoder_free(slip_decoder *decoder)
{
    for (int32_t i = 0; decoder->sequences && i < decoder->options.sequences; i++)
        free(decoder->sequences[i].tokens);
    free(decoder->sequences);
    free(decoder->proposals);
    free(decoder->order);
    free(decoder);
}

int32_t slip_decoder_vacancy(const slip_decoder *decoder)
{
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        if (decoder->sequences[i].phase == SLIP_FREE)
            return i;
    return -1;
}

slip_status slip_decoder_admit(slip_decoder *decoder, int32_t slot, const slip_query *query)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    int32_t *tokens = realloc(sequence->tokens, (size_t)query->max_tokens * sizeof *tokens);
    if (!tokens)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d tokens", query->max_tokens);
    *sequence = (slip_sequence){.phase = SLIP_PREFILL, .query = *query, .tokens = tokens, .admitted_ms = slip_now_ms()};
    decoder->figures.prompt_tokens += query->prompt_count;
    return SLIP_OK;
}

static void finish(slip_sequence *sequence, const char *reason)
{
    sequence->phase = SLIP_FINISHED;
    sequence->finish_reason = reason;
    sequence->finished_ms = slip_now_ms();
}

void slip_decoder_stop(slip_decoder *decoder, int32_t slot, int32_t keep)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    sequence->count = keep < sequence->count ? keep : sequence->count;
    finish(sequence, "stop");
}

void slip_decoder_release(slip_decoder *decoder, int32_t slot)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    slip_figures *figures = &decoder->figures;
    figures->tokens += sequence->count;
    slip_acceptance_add(&figures->acceptance, &sequence->acceptance);
    slip_times_add(&figures->first_token, sequence->first_token_ms - sequence->admitted_ms);
    sequence->phase = SLIP_FREE;
}

const slip_sequence *slip_decoder_sequence(const slip_decoder *decoder, int32_t slot)
{
    return &decoder->sequences[slot];
}

bool slip_decoder_busy(const slip_decoder *decoder)
{
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        if (decoder->sequences[i].phase == SLIP_PREFILL || decoder->sequences[i].phase == SLIP_DECODE)
            return true;
    return false;
}

slip_figures *slip_decoder_figures(slip_decoder *decoder)
{
    return &decoder->figures;
}

/* ---- a step ---- */

/* Position of the newest token: committed, in no cache yet. */
static int64_t anchor_position(const slip_sequence *sequence)
{
    return (int64_t)sequence->query.prompt_count + sequence->count - 1;
}

/* Collects who is to be drafted for, and decides whether to. A sequence without a block yet is expected to do as the others. */
static void choose(slip_decoder *decoder)
{
    double expected = 0;
    int32_t known = 0;
    decoder->decoding = 0;
    for (int32_t i = 0; i < decoder->options.sequences; i++) {
        slip_sequence *sequence = &decoder->sequences[i];
        if (sequence->phase != SLIP_DECODE)
            continue;
        expected += sequence->expected;
        known += sequence->expected > 0;
        decoder->proposals[decoder->decoding++] =
            (slip_proposal){i, sequence->tokens[sequence->count - 1], anchor_position(sequence), sequence->drafts};
    }
    decoder->drafting = decoder->draft && decoder->decoding > 0 &&
                        (decoder->options.always_draft ||
                         slip_pace_drafts(&decoder->pace, known ? expected / known : slip_acceptance_mean(&decoder->figures.acceptance)));
}

static slip_status propose(slip_decoder *decoder)
{
    if (!decoder->drafting)
        return SLIP_OK;
    double start = slip_now_ms();
    slip_status status = slip_draft_flush(decoder->draft);
    if (status == SLIP_OK)
        status = slip_draft_propose(decoder->draft, decoder->proposals, decoder->decoding);
    slip_times_add(&decoder->figures.draft, slip_now_ms() - start);
    return status;
}

/* A draft token outside of the vocabulary (a drafter may know ids that the target does not) is proposed as token 0. */
static int32_t known_token(const slip_decoder *decoder, int32_t token)
{
    return token >= 0 && token < decoder->model->vocabulary ? token : 0;
}

static slip_span *add_span(slip_decoder *decoder, int32_t slot, int64_t position, int32_t count, int32_t heads)
{
    slip_step *step = &decoder->step;
    const slip_query *query = &decoder->sequences[slot].query;
    decoder->owner[step->span_count] = slot;
    slip_span *span = &step->span[step->span_count++];
    *span = (slip_span){.sequence = slot, .row = step->row_count, .count = count, .heads = heads, .position = position,
                        .seed = query->seed, .temperature = query->temperature, .top_p = query->top_p};
    step->row_count += count;
    step->head_count += heads;
    if (heads > 0 && query->top_p < 1 && query->temperature > 0)
        step->want = SLIP_WANT_LOGITS;
    return span;
}

static void add_block(slip_decoder *decoder, int32_t slot)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    int32_t rows = decoder->drafting ? decoder->model->draft.block : 1;
    const slip_span *span = add_span(decoder, slot, anchor_position(sequence), rows, rows);
    int32_t *tokens = decoder->step.token + span->row;
    tokens[0] = sequence->tokens[sequence->count - 1];
    for (int32_t j = 1; j < rows; j++)
        tokens[j] = known_token(decoder, sequence->drafts[j - 1]);
}

static void add_chunk(slip_decoder *decoder, int32_t slot)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    int32_t left = sequence->query.prompt_count - sequence->prefilled;
    int32_t room = decoder->limits.rows - decoder->step.row_count;
    int32_t count = left < decoder->options.chunk ? left : decoder->options.chunk;
    count = count < room ? count : room;
    if (count == 0)
        return;
    const slip_span *span = add_span(decoder, slot, sequence->prefilled, count, count == left);
    memcpy(decoder->step.token + span->row, sequence->query.prompt + sequence->prefilled, (size_t)count * sizeof(int32_t));
}

/* Blocks first: a long prompt must not hold up the others. Returns whether the step only verifies. */
static bool build_step(slip_decoder *decoder)
{
    slip_step *step = &decoder->step;
    step->number++;
    step->want = SLIP_WANT_TOKENS;
    step->span_count = step->row_count = step->head_count = 0;
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        if (decoder->sequences[i].phase == SLIP_DECODE)
            add_block(decoder, i);
    int32_t blocks = step->span_count;
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        if (decoder->sequences[i].phase == SLIP_PREFILL)
            add_chunk(decoder, i);
    return step->span_count == blocks;
}

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
            finish(sequence, "stop");
            return i + 1;
        }
        sequence->tokens[sequence->count++] = tokens[i];
        sequence->fresh++;
        if (sequence->count == sequence->query.max_tokens) {
            finish(sequence, "length");
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

static slip_status digest_chunk(slip_decoder *decoder, slip_sequence *sequence, const slip_span *span, const int32_t *samples)
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

static slip_status digest_block(slip_decoder *decoder, slip_sequence *sequence, const slip_span *span, const int32_t *samples)
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

static slip_status digest(slip_decoder *decoder)
{
    slip_status status = SLIP_OK;
    int32_t row = 0;
    for (int32_t s = 0; s < decoder->step.span_count && status == SLIP_OK; s++) {
        const slip_span *span = &decoder->step.span[s];
        slip_sequence *sequence = &decoder->sequences[decoder->owner[s]];
        if (sequence->phase == SLIP_PREFILL)
            status = digest_chunk(decoder, sequence, span, decoder->samples + row);
        else
            status = digest_block(decoder, sequence, span, decoder->samples + row);
        row += span->heads;
    }
    return status;
}

slip_status slip_decoder_step(slip_decoder *decoder)
{
    slip_figures *figures = &decoder->figures;
    double start = slip_now_ms();
    slip_outcome outcome;
    if (decoder->first_step_ms == 0)
        decoder->first_step_ms = start;
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        decoder->sequences[i].fresh = 0;
    choose(decoder);
    slip_status status = propose(decoder);
    if (status != SLIP_OK)
        return status;
    bool verify_only = build_step(decoder);
    double verify_start = slip_now_ms();
    status = slip_rank_step(decoder->rank, &decoder->step, &outcome);
    if (status != SLIP_OK)
        return status;
    double verify_end = slip_now_ms();
    take_samples(decoder, &outcome);
    status = digest(decoder);
    double end = slip_now_ms();
    if (verify_only) {
        slip_times_add(&figures->verify, verify_end - verify_start);
        slip_times_add(&figures->step, end - start);
        figures->verify_seconds += (verify_end - verify_start) * 1e-3;
        figures->verify_bytes += outcome.weight_bytes;
        figures->plain_steps += !decoder->drafting;
        slip_pace_record(&decoder->pace, decoder->decoding, decoder->drafting, end - start);
    }
    figures->seconds = (end - decoder->first_step_ms) * 1e-3;
    return status;
}
