#include "coordinator/decoder_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Rows of a sequence in a step that verifies. */
static int32_t block_of(const slip_model *model)
{
    return model->has_draft ? model->draft.block : 1;
}

/* Prompt tokens of one sequence in a step. Its rings have room for them beside a window, so many sequences share a wide step instead. */
static int32_t chunk_of(const slip_decoder_options *options)
{
    int32_t share = options->chunk / options->sequences;
    share = share > SLIP_CHUNK_LEAST ? share : SLIP_CHUNK_LEAST;
    return options->chunk < share ? options->chunk : share;
}

slip_limits slip_decoder_limits(const slip_model *model, const slip_decoder_options *options, int64_t context)
{
    int32_t block = block_of(model), chunk = chunk_of(options);
    int32_t widest = options->chunk > block ? options->chunk : block;
    int32_t rows = options->sequences * block > widest ? options->sequences * block : widest;
    int64_t most = options->sequences * slip_kv_extent(context + block), kv_tokens = slip_kv_extent(options->kv_tokens);
    return (slip_limits){
        .rows = rows,
        .logit_rows = options->every_row ? rows : options->sequences * block,
        .sequences = options->sequences,
        .span_rows = chunk > block ? chunk : block,
        .context = context + block, /* a block may look past the last position */
        .kv_tokens = kv_tokens > 0 && kv_tokens < most ? kv_tokens : most,
    };
}

/* The draft looks back one window at most. */
static slip_status create_tap_store(slip_decoder *decoder)
{
    const slip_draft_shape *draft = &decoder->model->draft;
    int64_t window = draft->attention.window, context = decoder->limits.context;
    return slip_tap_store_create(decoder->options.sequences, window && window < context ? window : context, &decoder->taps);
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
    decoder->extents = (slip_extents){.total = limits->kv_tokens};
    decoder->sequences = calloc((size_t)limits->sequences, sizeof *decoder->sequences);
    decoder->order = calloc((size_t)model->vocabulary, sizeof *decoder->order);
    decoder->changed = calloc((size_t)model->vocabulary, sizeof *decoder->changed);
    decoder->adjustments = malloc(SLIP_MAX_ADJUSTMENTS * sizeof *decoder->adjustments);
    slip_status status = SLIP_OK;
    if (!decoder->sequences || !decoder->order || !decoder->changed || !decoder->adjustments)
        status = slip_fail(SLIP_ERR_FAILED, "out of memory for %d sequences", options->sequences);
    if (status == SLIP_OK && draft)
        status = create_tap_store(decoder);
    if (status != SLIP_OK) {
        slip_decoder_free(decoder);
        return status;
    }
    *out = decoder;
    return SLIP_OK;
}

/* What a sequence keeps beside its tokens; a slot keeps the room for tokens. */
static void forget(slip_sequence *sequence)
{
    slip_past_free(&sequence->past);
    free(sequence->logprobs);
    sequence->logprobs = NULL;
}

void slip_decoder_free(slip_decoder *decoder)
{
    for (int32_t i = 0; decoder->sequences && i < decoder->limits.sequences; i++) {
        free(decoder->sequences[i].tokens);
        forget(&decoder->sequences[i]);
    }
    free(decoder->sequences);
    free(decoder->order);
    free(decoder->changed);
    free(decoder->adjustments);
    if (decoder->taps)
        slip_tap_store_free(decoder->taps);
    free(decoder);
}

void slip_decoder_restart(slip_decoder *decoder, int32_t sequences)
{
    assert(sequences <= decoder->limits.sequences && !slip_decoder_busy(decoder));
    decoder->options.sequences = sequences;
    decoder->pace = (slip_pace){0};
    decoder->budget = (slip_budget){0};
    memset(&decoder->metrics, 0, sizeof decoder->metrics);
    decoder->first_step_ms = 0;
}

int32_t slip_decoder_slots(const slip_decoder *decoder)
{
    return decoder->options.sequences;
}

int64_t slip_decoder_room(const slip_decoder *decoder)
{
    const slip_limits *limits = &decoder->limits;
    return (limits->kv_tokens < limits->context ? limits->kv_tokens : limits->context) - block_of(decoder->model);
}

/* All that a query can come to use. */
static int64_t extent_of(const slip_decoder *decoder, const slip_query *query)
{
    return slip_kv_extent((int64_t)query->prompt_count + query->max_tokens + block_of(decoder->model));
}

int32_t slip_decoder_vacancy(const slip_decoder *decoder, const slip_query *query)
{
    assert((int64_t)query->prompt_count + query->max_tokens <= slip_decoder_room(decoder)); /* else it would wait for ever */
    if (!slip_extents_fit(&decoder->extents, extent_of(decoder, query)))
        return -1;
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        if (decoder->sequences[i].phase == SLIP_FREE)
            return i;
    return -1;
}

static size_t logprobs_bytes(const slip_query *query)
{
    return (size_t)query->max_tokens * (1 + (size_t)query->wishes.top_logprobs) * sizeof(slip_logprob);
}

slip_status slip_decoder_admit(slip_decoder *decoder, int32_t slot, const slip_query *query)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    int32_t *tokens = realloc(sequence->tokens, (size_t)query->max_tokens * sizeof *tokens);
    if (!tokens)
        return slip_fail(SLIP_ERR_FAILED, "out of memory for %d tokens", query->max_tokens);
    if (query->resumed_count > 0)
        memcpy(tokens, query->resumed, (size_t)query->resumed_count * sizeof *tokens);
    *sequence = (slip_sequence){.phase = SLIP_PREFILL,
                                .query = *query,
                                .base = slip_extents_take(&decoder->extents, extent_of(decoder, query)),
                                .turn = ++decoder->admissions,
                                .tokens = tokens,
                                .count = query->resumed_count,
                                .admitted_ms = slip_now_ms()};
    decoder->metrics.prompt_tokens += slip_sequence_read_count(sequence);
    if (query->wishes.logprobs && !(sequence->logprobs = malloc(logprobs_bytes(query))))
        return slip_fail(SLIP_ERR_FAILED, "out of memory for the logprobs of %d tokens", query->max_tokens);
    slip_status status = slip_past_start(&sequence->past, &query->sampling, decoder->model->vocabulary, query->prompt, query->prompt_count);
    for (int32_t i = 0; i < query->resumed_count && status == SLIP_OK; i++)
        slip_past_add(&sequence->past, query->resumed[i]);
    return status;
}

void slip_decoder_stop(slip_decoder *decoder, int32_t slot, int32_t keep)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    int32_t cut = keep < sequence->count ? sequence->count - keep : 0;
    sequence->count -= cut;
    sequence->fresh = cut < sequence->fresh ? sequence->fresh - cut : 0;
    if (decoder->trace)
        slip_trace_take_back(decoder->trace, cut);
    slip_sequence_finish(sequence, "stop");
}

void slip_decoder_release(slip_decoder *decoder, int32_t slot)
{
    slip_sequence *sequence = &decoder->sequences[slot];
    slip_metrics *metrics = &decoder->metrics;
    metrics->tokens += sequence->count - sequence->query.resumed_count;
    slip_acceptance_add(&metrics->acceptance, &sequence->acceptance);
    if (sequence->first_token_ms > 0) /* else it was given up while its prompt was read */
        slip_times_add(&metrics->first_token, sequence->first_token_ms - sequence->admitted_ms);
    forget(sequence);
    slip_extents_give(&decoder->extents, sequence->base);
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

slip_metrics *slip_decoder_metrics(slip_decoder *decoder)
{
    return &decoder->metrics;
}

/* Tokens that the step added, over all sequences. */
static int32_t count_fresh(const slip_decoder *decoder)
{
    int32_t tokens = 0;
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        tokens += decoder->sequences[i].fresh;
    return tokens;
}

static void record_full_step(slip_decoder *decoder, double ms, double verify_ms, uint64_t bytes)
{
    slip_full_steps *full = &decoder->metrics.full;
    full->sequences = decoder->decoding;
    slip_times_add(&full->step, ms);
    slip_times_add(&full->verify, verify_ms);
    full->seconds += ms * 1e-3;
    full->verify_seconds += verify_ms * 1e-3;
    full->verify_bytes += bytes;
    full->tokens += count_fresh(decoder);
}

/* A step that only verified took `ms` with the drafting before it. */
static void record_verify(slip_decoder *decoder, double ms, double verify_ms, uint64_t bytes)
{
    slip_metrics *metrics = &decoder->metrics;
    slip_times_add(&metrics->verify, verify_ms);
    slip_times_add(&metrics->step, ms);
    if (decoder->drafting > 0)
        slip_times_add(&metrics->draft, decoder->draft_ms);
    metrics->verify_seconds += verify_ms * 1e-3;
    metrics->verify_bytes += bytes;
    metrics->plain_steps += decoder->drafting == 0;
    metrics->verified_blocks += decoder->decoding;
    metrics->verified_rows += decoder->block_rows;
    slip_pace_record(&decoder->pace, decoder->block_rows, ms - decoder->draft_ms);
    if (decoder->decoding == decoder->options.sequences)
        record_full_step(decoder, ms, verify_ms, bytes);
}

/* Draft and verify. Where a device can have both in flight, it goes from one to the other without us. */
static slip_status draft_and_verify(slip_decoder *decoder, double start, slip_outcome *outcome)
{
    slip_runner *target = slip_rank_target(decoder->rank);
    bool ahead = decoder->drafting > 0 && slip_draft_is_queued(decoder->draft) && slip_runner_max_in_flight(target, &decoder->step) > 1;
    slip_status status = ahead ? SLIP_OK : slip_decoder_fetch_drafts(decoder, start);
    if (status == SLIP_OK)
        status = slip_runner_begin(target, SLIP_PHASE_RUN, &decoder->step);
    if (status == SLIP_OK && ahead)
        status = slip_decoder_fetch_drafts(decoder, start);
    return status == SLIP_OK ? slip_runner_wait(target, &decoder->step, outcome) : status;
}

slip_status slip_decoder_idle(slip_decoder *decoder)
{
    return slip_rank_idle(decoder->rank);
}

static int32_t count_prompt_rows(const slip_decoder *decoder)
{
    return decoder->step.row_count - decoder->block_rows;
}

static void record_prompts(slip_decoder *decoder, double ms, uint64_t bytes)
{
    double decode_ms = slip_decoder_blocks_ms(decoder);
    decoder->metrics.prefill_seconds += ms * 1e-3;
    decoder->metrics.prefill_bytes += bytes;
    if (decoder->decoding == 0 || decode_ms > 0) /* else nobody knows what decoding took of it */
        slip_budget_record(&decoder->budget, count_prompt_rows(decoder), decode_ms, ms - decoder->catch_up_ms);
}

/* The step for the trace; `verified` is when its outcome was there. */
static void trace_step(const slip_decoder *decoder, const slip_outcome *outcome, double start, double verified, double end)
{
    const slip_step *step = &decoder->step;
    slip_trace_add_step(decoder->trace, (slip_trace_step){
                                            .step = (int64_t)step->number,
                                            .seconds = slip_trace_seconds(decoder->trace, 1e-3 * end),
                                            .sequences = decoder->decoding,
                                            .prompt_rows = count_prompt_rows(decoder),
                                            .drafted = decoder->drafting > 0,
                                            .tokens = count_fresh(decoder),
                                            .weight_bytes = (int64_t)outcome->weight_bytes,
                                            .step_ms = end - start,
                                            .draft_ms = decoder->draft_ms,
                                            .verify_ms = verified - start - decoder->draft_ms,
                                            .commit_ms = end - verified,
                                            .device_ms = decoder->device_ms + outcome->device_ms,
                                        });
}

slip_status slip_decoder_step(slip_decoder *decoder)
{
    slip_metrics *metrics = &decoder->metrics;
    double start = slip_now_ms();
    slip_outcome outcome;
    if (decoder->first_step_ms == 0)
        decoder->first_step_ms = start;
    for (int32_t i = 0; i < decoder->options.sequences; i++)
        decoder->sequences[i].fresh = 0;
    slip_status status = slip_decoder_propose(decoder);
    if (status != SLIP_OK)
        return status;
    bool verify_only = slip_decoder_build(decoder);
    if ((status = draft_and_verify(decoder, start, &outcome)) == SLIP_OK)
        status = slip_decoder_filter(decoder, &outcome);
    if (status != SLIP_OK)
        return status;
    double verified = slip_now_ms();
    if ((status = slip_decoder_sample(decoder, &outcome)) != SLIP_OK)
        return status;
    slip_decoder_commit(decoder);
    double end = slip_now_ms();
    if (verify_only) {
        record_verify(decoder, end - start, verified - start - decoder->draft_ms, outcome.weight_bytes);
        if (outcome.device_ms > 0)
            slip_times_add(&metrics->host, end - start - decoder->device_ms - outcome.device_ms);
    } else {
        record_prompts(decoder, end - start, outcome.weight_bytes);
    }
    metrics->seconds = (end - decoder->first_step_ms) * 1e-3;
    if (decoder->trace)
        trace_step(decoder, &outcome, start, verified, end);
    return SLIP_OK;
}
