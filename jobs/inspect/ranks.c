/* inspect --ranks: who would own what, and what fits beside it, before anything is loaded. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "coordinator/serve/room.h"
#include "jobs/inspect/totals.h"

/* Lengths of sequences that are asked about, shorter first; the model's own limit ends the list. */
static const int64_t usual_contexts[] = {1024, 8192, 32768, 131072, 1048576};

/* ---- whose memory ---- */

/* By the maker's data sheet. */
static const double H100_BYTES = 80e9;

static slip_status first_gpu(double *memory)
{
    const char *why_not;
    if (!slip_cuda_present(1, 1, &why_not))
        return slip_fail(SLIP_ERR_INPUT, "--device cuda: %s", why_not);
    *memory = slip_cuda_memory();
    return SLIP_OK;
}

static slip_status choose_device(int device, int32_t ranks, slip_inspect_placement *p)
{
    static const char *const names[] = {[SLIP_DEVICE_CPU] = "this machine's CPUs",
                                        [SLIP_DEVICE_CUDA] = "GPUs as the first one here",
                                        [SLIP_DEVICE_H100] = "H100",
                                        [SLIP_DEVICE_H200] = "H200"};
    p->device = names[device];
    p->kind = device == SLIP_DEVICE_CPU ? &slip_executor_cpu : &slip_executor_cuda;
    switch (device) {
    case SLIP_DEVICE_CPU: p->memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / ranks; return SLIP_OK;
    case SLIP_DEVICE_CUDA: return first_gpu(&p->memory);
    case SLIP_DEVICE_H100: p->memory = H100_BYTES; return SLIP_OK;
    default: p->memory = slip_plan_device_default->memory_bytes; return SLIP_OK;
    }
}

/* ---- what fits ---- */

static slip_limits limits_for(const slip_model *model, const slip_inspect_placement *p, int32_t sequences, int64_t context)
{
    const slip_decoder_options decoding = {.sequences = sequences, .chunk = p->chunk};
    return slip_decoder_limits(model, &decoding, context);
}

static slip_room room_of(const slip_source *source, const slip_inspect_placement *p)
{
    return (slip_room){
        .source = source,
        .kind = p->kind,
        .ranks = p->ranks,
        .slices = p->slices,
        .draft_ranks = source->model.has_draft ? p->ranks : 0,
        .memory = p->memory * slip_room_share(p->kind),
    };
}

double slip_inspect_bytes(const slip_rank_plan *rank)
{
    return slip_memory_bytes(&rank->target) + slip_memory_bytes(&rank->draft);
}

static slip_status plan_all(const slip_source *source, slip_inspect_placement *p, const slip_limits *limits)
{
    slip_status status = SLIP_OK;
    p->fullest = 0;
    for (int32_t rank = 0; rank < p->ranks && status == SLIP_OK; rank++) {
        status = slip_plan_rank(source, p->kind, p->ranks, p->slices, rank, limits, &p->rank[rank]);
        if (status == SLIP_OK && slip_inspect_bytes(&p->rank[rank]) > slip_inspect_bytes(&p->rank[p->fullest]))
            p->fullest = rank;
    }
    return status;
}

/* Does the fullest rank hold so many sequences? What it owns is the same for all of them. */
static bool fits(const slip_source *source, const slip_inspect_placement *p, int32_t sequences, int64_t context)
{
    slip_limits limits = limits_for(&source->model, p, sequences, context);
    slip_rank_plan rank;
    return slip_plan_rank(source, p->kind, p->ranks, p->slices, p->fullest, &limits, &rank) == SLIP_OK &&
           slip_inspect_bytes(&rank) <= p->memory;
}

/* 0 .. SLIP_MAX_SPANS, the most that one step can have. */
static int32_t most_sequences(const slip_source *source, const slip_inspect_placement *p, int64_t context)
{
    int32_t yes = 0, no = SLIP_MAX_SPANS + 1;
    while (no - yes > 1) {
        int32_t middle = (yes + no) / 2;
        if (fits(source, p, middle, context))
            yes = middle;
        else
            no = middle;
    }
    return yes;
}

/* What a batch would take. */
static void count_automatic(const slip_source *source, slip_inspect_placement *p)
{
    const slip_room room = room_of(source, p);
    slip_decoder_options decoding = {.sequences = 1, .chunk = p->chunk};
    decoding.sequences = p->at_once = slip_room_sequences(&room, &decoding, source->model.max_positions);
    p->kv_tokens = slip_room_tokens(&room, &decoding, source->model.max_positions);
}

static void list_contexts(const slip_model *model, slip_inspect_placement *p)
{
    int64_t most = model->max_positions;
    for (size_t i = 0; i < sizeof usual_contexts / sizeof *usual_contexts && usual_contexts[i] < most; i++)
        p->context[p->contexts++] = usual_contexts[i];
    p->context[p->contexts++] = most;
}

/* What the global layers keep of a position, on all ranks: sliding layers keep a window, however long the sequence is. */
static int64_t kv_bytes(const slip_model *model, const slip_inspect_placement *p)
{
    int64_t bytes = 0;
    for (int32_t layer = 0; layer < model->layers; layer++)
        for (int32_t rank = 0; rank < p->ranks && !model->is_sliding[layer]; rank++)
            bytes += p->rank[rank].placement.kv_heads[0].count * (model->global.head_dim + model->global.v_head_dim) *
                     (int64_t)slip_dtype_item_bytes(p->kind == &slip_executor_cpu ? SLIP_F32 : SLIP_BF16);
    return bytes;
}

slip_status slip_inspect_place(const slip_source *source, const slip_options *options, slip_inspect_placement *placement)
{
    int32_t ranks = (int32_t)options->ranks;
    slip_inspect_placement p = {.ranks = ranks, .slices = slip_plan_slices(&source->model, ranks)};
    slip_status status = choose_device(options->device, ranks, &p);
    if (status != SLIP_OK)
        return status;
    list_contexts(&source->model, &p);
    p.memory = options->memory > 0 ? options->memory * 1e9 : p.memory;
    const slip_room room = room_of(source, &p);
    p.chunk = slip_room_chunk(&room, &(slip_decoder_options){.sequences = 1, .chunk = p.kind->prompt_rows}, source->model.max_positions);
    slip_limits limits = limits_for(&source->model, &p, 1, p.context[0]);
    p.rank = calloc((size_t)ranks, sizeof *p.rank);
    if (p.rank == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for a plan of %d ranks", ranks);
    status = plan_all(source, &p, &limits);
    if (status != SLIP_OK) {
        free(p.rank);
        return status;
    }
    p.kv_bytes_per_token = kv_bytes(&source->model, &p);
    for (int i = 0; i < p.contexts; i++)
        p.sequences[i] = most_sequences(source, &p, p.context[i]);
    count_automatic(source, &p);
    *placement = p;
    return SLIP_OK;
}

/* ---- printing ---- */

static void print_range(const char *what, slip_range range)
{
    if (range.count > 0)
        printf(", %s %lld-%lld", what, (long long)range.first, (long long)(range.first + range.count - 1));
    else
        printf(", no %s", what);
}

static void print_rank(const slip_model *model, const slip_rank_plan *rank)
{
    const slip_placement *p = &rank->placement;
    printf("  rank %-10d %.4g GB of weights", p->rank, (double)(rank->target.weights + rank->draft.weights) * 1e-9);
    print_range("heads", p->q_heads[0]);
    print_range("KV heads", p->kv_heads[0]);
    if (model->sliding.kv_heads != model->global.kv_heads)
        print_range("sliding KV heads", p->kv_heads[1]);
    print_range("vocabulary rows", p->vocabulary);
    if (model->experts > 0)
        print_range("experts", p->experts);
    if (p->slices > 1)
        print_range("their columns", p->expert_columns);
    printf("\n");
}

void slip_inspect_print_placement(const slip_model *model, const slip_inspect_placement *p)
{
    const slip_rank_plan *fullest = &p->rank[p->fullest];
    printf("placement: %d rank%s on %s, experts cut in %d\n", p->ranks, p->ranks == 1 ? "" : "s", p->device, p->slices);
    for (int32_t rank = 0; rank < p->ranks; rank++)
        print_rank(model, &p->rank[rank]);
    printf("  K/V             %lld bytes a token of a sequence on all ranks, a window of the sliding layers apart\n",
           (long long)p->kv_bytes_per_token);
    printf("  memory          %.4g GB a rank; the fullest is rank %d, %.4g GB with one sequence of %lld tokens%s\n", p->memory * 1e-9,
           p->fullest, slip_inspect_bytes(fullest) * 1e-9, (long long)p->context[0], p->sequences[0] > 0 ? "" : ": DOES NOT FIT");
    for (int i = 0; i < p->contexts; i++)
        printf("  fits            %d sequence%s of %lld tokens%s\n", p->sequences[i], p->sequences[i] == 1 ? "" : "s",
               (long long)p->context[i], p->sequences[i] == SLIP_MAX_SPANS ? ", the most that a step has" : "");
    if (p->kv_tokens > 0)
        printf("  batch           %d %s K/V for %lld tokens: each takes its own prompt and max_tokens of it\n", p->at_once,
               p->at_once == 1 ? "sequence at once has" : "sequences at once share", (long long)p->kv_tokens);
}
