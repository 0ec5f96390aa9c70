/* The beginning of a step: drafts are asked for, and rows are chosen and written into the step. */
#include "coordinator/decoder_state.h"

/* Position of the newest token: committed, in no cache yet. */
static int64_t anchor_position(const slip_sequence *sequence)
{
    return (int64_t)sequence->query.prompt_count + sequence->count - 1;
}

static bool reads_prompt(const slip_decoder *decoder)
{
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        if (decoder->sequences[i].phase == SLIP_PREFILL)
            return true;
    return false;
}

/* A length of a block, of which any is as good. */
static int32_t random_length(const slip_decoder *decoder, int32_t slot)
{
    uint64_t bits = (decoder->options.random_lengths * 64 + (uint64_t)slot + 1) * 0x9E3779B97F4A7C15u + decoder->step.number;
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u;
    return 1 + (int32_t)((bits >> 32) % (uint64_t)decoder->model->draft.block);
}

/* How many rows of each block are verified. */
static void choose_rows(const slip_decoder *decoder, slip_pace *pace, int32_t *rows)
{
    const slip_chances *chances[SLIP_MAX_SPANS];
    const int32_t block = decoder->model->draft.block;
    for (int32_t i = 0; i < decoder->decoding; i++) {
        int32_t slot = decoder->decodes[i];
        chances[i] = &decoder->sequences[slot].chances;
        rows[i] = !decoder->draft ? 1 : decoder->options.random_lengths ? random_length(decoder, slot) : block;
    }
    if (decoder->draft && decoder->decoding > 0 && !decoder->options.always_draft && !decoder->options.random_lengths)
        slip_pace_choose(pace, block, decoder->limits.rows, decoder->decoding, chances, rows);
}

/* Collects who decodes in this step, and how much of whose block is verified. */
static void choose(slip_decoder *decoder)
{
    int32_t rows[SLIP_MAX_SPANS];
    decoder->decoding = decoder->block_rows = decoder->drafting = 0;
    decoder->prompts_only = decoder->options.prompts_first && reads_prompt(decoder);
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        if (decoder->sequences[i].phase == SLIP_DECODE && !decoder->prompts_only)
            decoder->decodes[decoder->decoding++] = i;
    choose_rows(decoder, &decoder->pace, rows);
    for (int32_t i = 0; i < decoder->decoding; i++) {
        decoder->sequences[decoder->decodes[i]].rows = rows[i];
        decoder->block_rows += rows[i];
        decoder->drafting += rows[i] > 1;
    }
}

slip_status slip_decoder_propose(slip_decoder *decoder)
{
    slip_status status = SLIP_OK;
    choose(decoder);
    decoder->catch_up_ms = decoder->draft_ms = decoder->device_ms = 0;
    if (decoder->drafting == 0)
        return SLIP_OK;
    for (int32_t i = 0; i < decoder->decoding && status == SLIP_OK; i++) {
        int32_t slot = decoder->decodes[i];
        const slip_sequence *sequence = &decoder->sequences[slot];
        if (sequence->rows == 1)
            continue;
        status = slip_tap_store_inject(decoder->taps, slot, sequence->base, decoder->draft);
        slip_draft_add(decoder->draft, slot, sequence->base, sequence->tokens[sequence->count - 1], anchor_position(sequence),
                       &sequence->query.sampling);
    }
    if (status == SLIP_OK)
        status = slip_draft_flush(decoder->draft);
    return status == SLIP_OK ? slip_draft_begin(decoder->draft) : status;
}

/* With random weights the draft repeats one token, and equal tokens pick equal experts. Such a benchmark replaces drafted tokens by random
 * ones, different in every sequence. */
static int32_t random_token(int32_t slot, int64_t position, int32_t tokens)
{
    return (int32_t)((((uint64_t)slot << 32) + (uint64_t)(position + 1)) * 0x9E3779B97F4A7C15u >> 33) % tokens;
}

/* A draft token outside of the vocabulary (a drafter may know ids that the target does not) is proposed as token 0. */
static int32_t draft_token(const slip_decoder *decoder, int32_t slot, int32_t j)
{
    const slip_sequence *sequence = &decoder->sequences[slot];
    int32_t token = sequence->drafts[j - 1];
    if (decoder->options.random_drafts)
        return random_token(slot, anchor_position(sequence) + j, decoder->options.random_drafts);
    return token >= 0 && token < decoder->model->vocabulary ? token : 0;
}

/* Blocks begin the step, in the order in which they were drafted; those of the anchor alone were not. */
static void fill_in_drafts(slip_decoder *decoder, const slip_candidate *candidates)
{
    const int32_t drafts = decoder->model->draft.block - 1;
    for (int32_t i = 0; i < decoder->decoding; i++) {
        const slip_span *span = &decoder->step.span[i];
        int32_t slot = decoder->decodes[i];
        if (span->count == 1)
            continue;
        for (int32_t j = 0; j < drafts; j++)
            decoder->sequences[slot].drafts[j] = candidates[j].token;
        for (int32_t j = 1; j < span->count; j++)
            decoder->step.token[span->row + j] = draft_token(decoder, slot, j);
        candidates += drafts;
    }
}

slip_status slip_decoder_fetch_drafts(slip_decoder *decoder, double start)
{
    slip_draft_outcome outcome;
    if (decoder->drafting == 0)
        return SLIP_OK;
    slip_status status = slip_draft_wait(decoder->draft, &outcome);
    if (status != SLIP_OK)
        return status;
    fill_in_drafts(decoder, outcome.candidates);
    decoder->catch_up_ms = outcome.inject_ms;
    decoder->device_ms = outcome.device_ms;
    decoder->draft_ms = slip_now_ms() - start;
    slip_pace_record_draft(&decoder->pace, decoder->drafting, decoder->draft_ms - outcome.inject_ms, outcome.injected, outcome.inject_ms);
    decoder->metrics.draft_bytes = outcome.weight_bytes;
    return SLIP_OK;
}

static slip_span *add_span(slip_decoder *decoder, int32_t slot, int64_t position, int32_t count, int32_t logit_rows)
{
    slip_step *step = &decoder->step;
    const slip_sequence *sequence = &decoder->sequences[slot];
    decoder->owner[step->span_count] = slot;
    slip_span *span = &step->span[step->span_count++];
    *span = (slip_span){.sequence = slot,
                        .row = step->row_count,
                        .count = count,
                        .logit_rows = logit_rows,
                        .position = position,
                        .base = sequence->base,
                        .sampling = sequence->query.sampling};
    step->row_count += count;
    step->logit_rows += logit_rows;
    return span;
}

/* `draft`: the first logit row of its drafts. */
static void add_block(slip_decoder *decoder, int32_t slot, int32_t draft)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    const int32_t rows = sequence->rows;
    const slip_span *span = add_span(decoder, slot, anchor_position(sequence), rows, rows);
    int32_t *tokens = decoder->step.token + span->row;
    tokens[0] = sequence->tokens[sequence->count - 1];
    for (int32_t j = 1; j < rows; j++)
        tokens[j] = decoder->options.random_drafts ? draft_token(decoder, slot, j) : SLIP_TOKEN_OF_LOGIT_ROW(draft + j - 1);
}

static void add_blocks(slip_decoder *decoder)
{
    for (int32_t i = 0, draft = 0; i < decoder->decoding; i++) {
        int32_t slot = decoder->decodes[i];
        add_block(decoder, slot, draft);
        draft += decoder->sequences[slot].rows > 1 ? decoder->model->draft.block - 1 : 0;
    }
}

/* Tokens [from, from + count) of those that are read. */
static void copy_read(const slip_sequence *sequence, int32_t from, int32_t count, int32_t *out)
{
    const slip_query *query = &sequence->query;
    for (int32_t i = from; i < from + count; i++)
        *out++ = i < query->prompt_count ? query->prompt[i] : sequence->tokens[i - query->prompt_count];
}

/* At most `room` rows of it; returns how many. */
static int32_t add_chunk(slip_decoder *decoder, int32_t slot, int32_t room)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    int32_t left = slip_sequence_read_count(sequence) - sequence->prefilled;
    int32_t most = decoder->options.chunk < decoder->limits.span_rows ? decoder->options.chunk : decoder->limits.span_rows;
    int32_t count = left < most ? left : most;
    count = count < room ? count : room;
    if (count == 0)
        return 0;
    const slip_span *span = add_span(decoder, slot, sequence->prefilled, count, count == left);
    copy_read(sequence, sequence->prefilled, count, decoder->step.token + span->row);
    return count;
}

/* Rows of prompts for the step whose blocks are there. */
static int32_t prompt_room(slip_decoder *decoder)
{
    int32_t room = decoder->limits.rows - decoder->step.row_count;
    if (decoder->decoding == 0 || decoder->options.step_budget_ms == 0)
        return room;
    double decode_ms = slip_decoder_blocks_ms(decoder);
    int32_t rows = slip_budget_rows(&decoder->budget, decoder->options.step_budget_ms, decode_ms);
    return rows < room ? rows : room;
}

/* The slot whose prompt is read next behind the one admitted as number `turn`; -1 when there is none. */
static int32_t next_prompt(const slip_decoder *decoder, uint64_t turn)
{
    int32_t next = -1;
    for (int32_t i = 0; i < decoder->options.sequences; i++) {
        const slip_sequence *sequence = &decoder->sequences[i];
        if (sequence->phase == SLIP_PREFILL && sequence->turn > turn && (next < 0 || sequence->turn < decoder->sequences[next].turn))
            next = i;
    }
    return next;
}

/* Rows not used for decoding go to prompts, the earliest admission first, whatever the slot. */
static void add_prompts(slip_decoder *decoder)
{
    int32_t slot, room = prompt_room(decoder);
    for (uint64_t turn = 0; (slot = next_prompt(decoder, turn)) >= 0; turn = decoder->sequences[slot].turn)
        room -= add_chunk(decoder, slot, room);
}

/* ---- what the step wants ---- */

/* Can devices adjust all rows of the step that want it? */
static bool may_adjust(const slip_decoder *decoder)
{
    int64_t count = 0, logits = 0;
    for (int32_t s = 0; s < decoder->step.span_count; s++) {
        const slip_span *span = &decoder->step.span[s];
        const slip_sequence *sequence = slip_decoder_owner(decoder, s);
        if (span->logit_rows == 0 || !slip_decoder_adjusted(&sequence->query))
            continue;
        const int64_t room = slip_logits_adjustment_room(&sequence->query.wishes, &sequence->past, slip_decoder_drafts(span));
        count += room;
        logits += room * span->logit_rows;
    }
    return slip_decoder_tells(decoder) && count <= SLIP_MAX_ADJUSTMENTS && logits <= SLIP_MAX_ADJUSTED;
}

/* What the query's logit rows want of the step. Who samples again gets logits later, of the rows that turn out to need them. */
static slip_want want_of(const slip_decoder *decoder, const slip_query *query)
{
    const bool adjusted = slip_decoder_adjusted(query), filters = slip_sampling_filters(&query->sampling);
    const bool whole = (adjusted && !decoder->adjusts) || (query->wishes.logprobs && !slip_decoder_tells(decoder));
    if (slip_decoder_kind(decoder)->histogram)
        return filters && !adjusted && !whole ? SLIP_WANT_HISTOGRAMS : SLIP_WANT_TOKENS;
    return whole || filters ? SLIP_WANT_LOGITS : SLIP_WANT_TOKENS;
}

static void choose_want(slip_decoder *decoder)
{
    slip_step *step = &decoder->step;
    step->want = SLIP_WANT_TOKENS;
    decoder->adjusts = may_adjust(decoder);
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_want want = want_of(decoder, &slip_decoder_owner(decoder, s)->query);
        step->want = step->span[s].logit_rows > 0 && want > step->want ? want : step->want;
    }
    decoder->adjusts &= step->want != SLIP_WANT_LOGITS;
    for (int32_t s = 0; s < step->span_count && decoder->adjusts; s++)
        if (step->span[s].logit_rows > 0 && slip_decoder_adjusted(&slip_decoder_owner(decoder, s)->query))
            step->span[s].adjustments = SLIP_ADJUSTED_LATER;
}

bool slip_decoder_build(slip_decoder *decoder)
{
    slip_step *step = &decoder->step;
    step->number++;
    step->span_count = step->row_count = step->logit_rows = 0;
    add_blocks(decoder);
    add_prompts(decoder);
    choose_want(decoder);
    return step->span_count == decoder->decoding;
}
