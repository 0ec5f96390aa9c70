#include "ranks/plan.h"

#include <math.h>
#include <stdlib.h>

#include "ranks/load/piece.h"
#include "ranks/model/build.h"
#include "ranks/model/family.h"
#include "ranks/model/random.h"

static double exchange_us(const slip_plan_device *device, int32_t ranks)
{
    return fmin(device->one_shot_2_us + device->wire_us * (ranks - 2),
                device->two_shot_2_us + device->wire_us * (2.0 * (ranks - 1) / ranks - 1));
}

double slip_plan_distinct(const slip_model *model, int32_t tokens)
{
    double experts = model->experts;
    return experts * (1 - pow(1 - model->top_k / experts, tokens));
}

/* One draw: mark the experts that the tokens pick, then count the fullest group. */
static int32_t draw_worst(const slip_model *model, int32_t groups, int32_t tokens, uint64_t *state, int32_t *distinct)
{
    bool picked[SLIP_MAX_EXPERTS] = {false};
    int32_t worst = 0;
    for (int32_t t = 0; t < tokens; t++) {
        bool mine[SLIP_MAX_EXPERTS] = {false};
        for (int32_t k = 0; k < model->top_k;) {
            int32_t e = (int32_t)(slip_random_next(state) % (uint64_t)model->experts);
            k += !mine[e];
            mine[e] = picked[e] = true;
        }
    }
    *distinct = 0;
    for (int32_t g = 0; g < groups; g++) {
        slip_range range = slip_placement_piece(model->experts, 1, groups, g);
        int32_t count = 0;
        for (int64_t e = range.first; e < range.first + range.count; e++)
            count += picked[e];
        *distinct += count;
        worst = count > worst ? count : worst;
    }
    return worst;
}

double slip_plan_imbalance(const slip_model *model, int32_t groups, int32_t tokens)
{
    enum { DRAWS = 1000 };
    if (groups <= 1 || model->experts == 0)
        return 1;
    double sum = 0;
    uint64_t state = 1;
    for (int draw = 0; draw < DRAWS; draw++) {
        int32_t distinct, worst = draw_worst(model, groups, tokens, &state, &distinct);
        sum += (double)worst * groups / distinct;
    }
    return sum / DRAWS;
}

/* Relative time for the experts of a rank: gate and up read rows of `hidden` columns, down rows of a slice. */
static double slice_cost(const slip_model *model, int32_t ranks, int32_t slices, int32_t tokens)
{
    double width = (double)model->moe_intermediate / slices, narrow = slip_plan_device_default->narrow_columns;
    return slip_plan_imbalance(model, ranks / slices, tokens) * (2 * (1 + narrow / model->hidden) + (1 + narrow / width)) / 3;
}

int32_t slip_plan_slices(const slip_model *model, int32_t ranks)
{
    int32_t best = 1;
    double least = INFINITY;
    for (int32_t s = 1; s <= ranks && model->experts > 0; s++) {
        if (!slip_placement_allows(model, ranks, s))
            continue;
        double cost = slice_cost(model, ranks, s, 8);
        if (cost < least) {
            least = cost;
            best = s;
        }
    }
    return best;
}

/* Bytes that the executor wants beside the weights of this program. */
static uint64_t work_bytes(const slip_source *source, const slip_executor_kind *kind, const slip_limits *limits, int32_t ranks,
                           const slip_program *program)
{
    slip_weight *forms = calloc((size_t)program->tensor_count + 1, sizeof *forms);
    slip_status status = forms ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (int32_t i = 0; i < program->tensor_count && status == SLIP_OK; i++)
        status = slip_piece_form(source, program, &program->tensors[i], &forms[i]);
    uint64_t bytes = status == SLIP_OK ? kind->work_bytes(program, limits, forms, ranks) : 0;
    if (status != SLIP_OK)
        slip_clear(); /* the same fault is reported when the weights are loaded */
    free(forms);
    return bytes;
}

static void keep_most(uint64_t *most, uint64_t bytes)
{
    *most = bytes > *most ? bytes : *most;
}

/* Raise `memory` to what the program of one of so many ranks takes, and free the program. */
static void raise_to(const slip_source *source, const slip_executor_kind *kind, const slip_limits *limits, int32_t ranks,
                     slip_program *program, slip_memory *memory)
{
    keep_most(&memory->weights, slip_shard_bytes(source, program));
    keep_most(&memory->caches, kind->cache_bytes(program, limits));
    keep_most(&memory->work, work_bytes(source, kind, limits, ranks, program));
    slip_program_free(program);
}

static slip_status target_memory(const slip_source *source, const slip_executor_kind *kind, const slip_limits *limits,
                                 const slip_placement *placement, slip_memory *memory)
{
    slip_program program;
    slip_status status = slip_program_target(&source->model, placement, &program);
    if (status == SLIP_OK)
        raise_to(source, kind, limits, placement->ranks, &program, memory);
    return status;
}

static slip_status draft_memory(const slip_source *source, const slip_executor_kind *kind, const slip_limits *limits, int32_t ranks,
                                int32_t rank, slip_memory *memory)
{
    slip_placement placement;
    slip_program program;
    const slip_limits own = slip_draft_limits(*limits);
    slip_placement_draft(&source->model, ranks, rank, &placement);
    slip_status status = slip_program_draft(&source->model, &placement, &program);
    if (status == SLIP_OK)
        raise_to(source, kind, &own, ranks, &program, memory);
    return status;
}

slip_status slip_plan_rank(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, int32_t slices, int32_t rank,
                           const slip_limits *limits, slip_rank_plan *plan)
{
    slip_rank_plan p = {0};
    slip_status status = slip_placement_make(&source->model, ranks, slices, rank, &p.placement);
    if (status == SLIP_OK)
        status = target_memory(source, kind, limits, &p.placement, &p.target);
    if (status == SLIP_OK && source->model.has_draft)
        status = draft_memory(source, kind, limits, ranks, rank, &p.draft);
    if (status == SLIP_OK)
        *plan = p;
    return status;
}

void slip_plan_memory(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, int32_t slices, const slip_limits *limits,
                      slip_memory *memory)
{
    *memory = (slip_memory){0};
    for (int32_t rank = 0; rank < ranks; rank++) {
        slip_placement placement;
        if (slip_placement_make(&source->model, ranks, slices, rank, &placement) != SLIP_OK ||
            target_memory(source, kind, limits, &placement, memory) != SLIP_OK) {
            slip_clear(); /* the same fault is reported when the ranks are made */
            return;
        }
    }
}

void slip_plan_draft_memory(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, const slip_limits *limits,
                            slip_memory *memory)
{
    *memory = (slip_memory){0};
    for (int32_t rank = 0; rank < ranks; rank++)
        if (draft_memory(source, kind, limits, ranks, rank, memory) != SLIP_OK) {
            slip_clear(); /* as above */
            return;
        }
}

/* Bytes of a weight's element, scales included. */
static double element_bytes(slip_dtype dtype)
{
    switch (dtype) {
    case SLIP_F8E4M3: return 1 + 4.0 / (SLIP_F8_BLOCK * SLIP_F8_BLOCK);
    case SLIP_MXFP4: return 0.5 + 1.0 / SLIP_MXFP4_BLOCK;
    default: return (double)slip_dtype_item_bytes(dtype);
    }
}

/* Elements of a weight on all ranks together: K and V are copied where there are more ranks than K/V heads. */
static double placed_elements(const slip_weight_spec *weight, const slip_attention *attention, int32_t ranks)
{
    double copies = slip_placement_kv_copies(attention, ranks), rows = (double)weight->rows;
    if (weight->row->rows == SLIP_AXIS_K || weight->row->rows == SLIP_AXIS_V)
        rows *= copies;
    if (weight->row->rows == SLIP_AXIS_QKV)
        rows += (copies - 1) * attention->kv_heads * (attention->head_dim + attention->v_head_dim);
    return (double)weight->experts * rows * (double)weight->columns;
}

/* Bytes that a rank holds of what a step reads for each purpose, as published; the mean over ranks. */
static void sum_reads(const slip_model *model, const slip_weight_table *table, int32_t layers, int32_t ranks, double bytes[SLIP_READS])
{
    double cut[SLIP_READS] = {0}, whole[SLIP_READS] = {0};
    for (int32_t layer = -1; layer < layers; layer++)
        for (int32_t i = 0; i < table->count; i++) {
            const slip_weight_row *row = &table->rows[i];
            if (!slip_weight_exists(model, row, layer))
                continue;
            slip_weight_spec weight = slip_weight_make(model, row, layer);
            const slip_attention *attention = slip_weight_attention(model, row, layer < 0 ? 0 : layer);
            double *sum = row->cut == SLIP_CUT_NONE ? whole : cut;
            sum[row->read] += placed_elements(&weight, attention, ranks) * element_bytes(row->dtype);
        }
    for (int read = 0; read < SLIP_READS; read++)
        bytes[read] = cut[read] / ranks + whole[read];
}

/* All of the draft, the target's head included. */
static double draft_bytes(const slip_model *model, double head)
{
    double bytes[SLIP_READS], sum = head;
    sum_reads(model, model->family->draft_weights, model->draft.layers, 1, bytes);
    for (int read = SLIP_READ_LITTLE + 1; read < SLIP_READS; read++)
        sum += bytes[read];
    return sum;
}

void slip_plan_step(const slip_model *model, int32_t ranks, int32_t slices, int32_t tokens, slip_step_plan *plan)
{
    const slip_plan_device *device = slip_plan_device_default;
    double bytes[SLIP_READS];
    slip_step_plan p = {.ranks = ranks, .slices = slices, .tokens = tokens, .device = device};
    p.imbalance = slip_plan_imbalance(model, ranks / slices, tokens);
    sum_reads(model, model->family->weights, model->layers, ranks, bytes);
    p.attention = bytes[SLIP_READ_ATTENTION];
    p.dense = bytes[SLIP_READ_DENSE];
    p.router = bytes[SLIP_READ_ROUTER];
    p.head = bytes[SLIP_READ_HEAD];
    if (model->experts > 0)
        p.experts = bytes[SLIP_READ_EXPERTS] * slip_plan_distinct(model, tokens) / model->experts * p.imbalance;
    p.bytes = p.attention + p.dense + p.router + p.head + p.experts;
    p.draft_bytes = model->has_draft ? draft_bytes(model, p.head * ranks) / ranks : 0;
    double narrow = slice_cost(model, ranks, slices, tokens) / p.imbalance;
    p.stream_us = (p.bytes - p.experts + p.experts * narrow) / device->stream_bytes_us;
    p.exchange_us = ranks > 1 ? 2.0 * model->layers * exchange_us(device, ranks) : 0;
    p.handover_us = device->ops_of_a_layer * model->layers * device->handover_us;
    p.draft_us = model->has_draft ? p.draft_bytes / device->draft_bytes_us + device->draft_fixed_us : 0;
    p.step_us = p.stream_us + p.exchange_us + p.handover_us + p.draft_us;
    *plan = p;
}
