#include "coordinator/serve/room.h"

double slip_room_share(const slip_executor_kind *kind)
{
    return kind == &slip_executor_cpu ? 0.5 : 0.95;
}

/* On the fullest rank, the target's and the draft's. */
static slip_memory memory_of(const slip_room *room, const slip_limits *limits)
{
    slip_memory target, draft = {0};
    slip_plan_memory(room->source, room->kind, room->ranks, room->slices, limits, &target);
    if (room->draft_ranks > 0)
        slip_plan_draft_memory(room->source, room->kind, room->draft_ranks, limits, &draft);
    return (slip_memory){target.weights + draft.weights, target.caches + draft.caches, target.work + draft.work};
}

double slip_room_bytes(const slip_room *room, const slip_limits *limits)
{
    slip_memory memory = memory_of(room, limits);
    return slip_memory_bytes(&memory);
}

/* Bytes grow in proportion to the tokens of K/V, so two points tell all between them. */
int64_t slip_room_tokens(const slip_room *room, const slip_decoder_options *options, int64_t context)
{
    slip_decoder_options decoding = *options;
    decoding.kv_tokens = 0;
    slip_limits all = slip_decoder_limits(&room->source->model, &decoding, context), none = all;
    none.kv_tokens = 0;
    double most = slip_room_bytes(room, &all), least = slip_room_bytes(room, &none);
    if (most <= room->memory)
        return all.kv_tokens;
    if (least >= room->memory)
        return 0;
    return (int64_t)((room->memory - least) / (most - least) * (double)all.kv_tokens) / SLIP_KV_PAGE * SLIP_KV_PAGE;
}

int32_t slip_room_chunk(const slip_room *room, const slip_decoder_options *options, int64_t context)
{
    slip_decoder_options decoding = *options;
    decoding.sequences = options->sequences > 0 ? options->sequences : 1;
    if (options->chunk < 2 * SLIP_CHUNK_LEAST)
        return options->chunk;
    decoding.chunk = SLIP_CHUNK_LEAST;
    slip_limits limits = slip_decoder_limits(&room->source->model, &decoding, context);
    const slip_memory least = memory_of(room, &limits);
    for (decoding.chunk = options->chunk; decoding.chunk / 2 >= SLIP_CHUNK_LEAST; decoding.chunk /= 2) {
        limits = slip_decoder_limits(&room->source->model, &decoding, context);
        if (slip_room_bytes(room, &limits) - slip_memory_bytes(&least) <= (room->memory - (double)least.weights) / 8)
            break;
    }
    return decoding.chunk;
}

/* Do so many slots leave enough? `longest`: tokens that a sequence of `context` takes, if one of them is to fit. */
static bool carries(const slip_room *room, slip_decoder_options decoding, int64_t context, int32_t sequences, int64_t longest)
{
    decoding.sequences = sequences;
    slip_limits limits = slip_decoder_limits(&room->source->model, &decoding, context);
    if (decoding.kv_tokens > 0)
        return slip_room_bytes(room, &limits) <= room->memory;
    limits.kv_tokens = 0;
    slip_memory memory = memory_of(room, &limits);
    double left = room->memory - (double)memory.weights, slots = (double)memory.caches + (double)memory.work;
    return slots <= left / 2 && slip_room_tokens(room, &decoding, context) >= longest;
}

/* That a step has rows for. */
static int32_t most_sequences(const slip_model *model)
{
    int32_t rows = SLIP_MAX_LOGIT_ROWS / (model->has_draft ? model->draft.block : 1);
    return rows < SLIP_MAX_SPANS ? rows : SLIP_MAX_SPANS;
}

int32_t slip_room_sequences(const slip_room *room, const slip_decoder_options *options, int64_t context)
{
    slip_decoder_options one = *options;
    one.sequences = 1;
    one.kv_tokens = 0;
    int64_t longest = slip_decoder_limits(&room->source->model, &one, context).kv_tokens;
    if (slip_room_tokens(room, &one, context) < longest)
        longest = 0;
    int32_t yes = 1, no = most_sequences(&room->source->model) + 1;
    while (no - yes > 1) {
        int32_t middle = (yes + no) / 2;
        if (carries(room, *options, context, middle, longest))
            yes = middle;
        else
            no = middle;
    }
    return yes;
}
