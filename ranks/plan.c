#include "ranks/plan.h"

#include <math.h>
#include <string.h>

#include "ranks/model/build.h"
#include "ranks/model/random.h"

/* Measured on H200: the prototype's MXFP4 product reads 4.29 TB/s where K = 6144 and 4.13 where K = 2048, which fits a fixed
 * cost a row as if it had NARROW more columns; read-only streams reach STREAM bytes a microsecond. */
static const double NARROW = 119, STREAM = 4.71e6;
/* Measured between two H200 in a running kernel: a sum of 8 x 6144 f32 takes 2.06 us one-shot and 3.17 two-shot (comm/exchange.c). With
 * more ranks the wire's part grows (derived): 264 KB of messages to a peer at 450 GB/s, R - 1 or 2 (R - 1) / R times. */
static const double ONE_SHOT_2_US = 2.06, TWO_SHOT_2_US = 3.17, WIRE_US = 0.59;
/* Measured on one H200, the Pro at an eighth: a verify step of 8 tokens takes 6.56 ms where its bytes take 3.36: what each of a
 * layer's ten ops costs beyond its bytes (kernels/cuda/SPEED.md says where it goes). */
static const double HANDOVER_US = 4.6, OPS_OF_A_LAYER = 10;
/* Measured there, injection included: 1.48 ms for Flash's 4.02 GB of draft and 2.56 ms for the Pro's 7.41; cut over two ranks, Flash's
 * takes 0.91. So bytes take this long, and there is a part that does not shrink. */
static const double DRAFT_STREAM = 3.45e6, DRAFT_FIXED_US = 330;

static double exchange_us(int32_t ranks)
{
    return fmin(ONE_SHOT_2_US + WIRE_US * (ranks - 2), TWO_SHOT_2_US + WIRE_US * (2.0 * (ranks - 1) / ranks - 1));
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
    double width = (double)model->moe_intermediate / slices;
    return slip_plan_imbalance(model, ranks / slices, tokens) *
           (2 * (1 + NARROW / model->hidden) + (1 + NARROW / width)) / 3;
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

/* Raise `memory` to what this rank's program takes, and free the program. */
static void take_fullest(const slip_source *source, const slip_executor_kind *kind, const slip_limits *limits, slip_program *program,
                         slip_memory *memory)
{
    uint64_t weights = slip_shard_bytes(source, program), caches = kind->cache_bytes(program, limits);
    memory->weights = weights > memory->weights ? weights : memory->weights;
    memory->caches = caches > memory->caches ? caches : memory->caches;
    slip_program_free(program);
}

void slip_plan_memory(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, int32_t slices,
                      const slip_limits *limits, slip_memory *memory)
{
    *memory = (slip_memory){0};
    for (int32_t rank = 0; rank < ranks; rank++) {
        slip_placement placement;
        slip_program program;
        if (slip_placement_make(&source->model, ranks, slices, rank, &placement) != SLIP_OK ||
            slip_program_target(&source->model, &placement, &program) != SLIP_OK) {
            slip_clear(); /* it will be met again, and reported, when the ranks are made */
            return;
        }
        take_fullest(source, kind, limits, &program, memory);
    }
}

void slip_plan_draft_memory(const slip_source *source, const slip_executor_kind *kind, int32_t ranks, const slip_limits *limits,
                            slip_memory *memory)
{
    *memory = (slip_memory){0};
    for (int32_t rank = 0; rank < ranks; rank++) {
        slip_placement placement;
        slip_program program;
        slip_placement_draft(&source->model, ranks, rank, &placement);
        if (slip_program_draft(&source->model, &placement, &program) != SLIP_OK) {
            slip_clear(); /* as above */
            return;
        }
        take_fullest(source, kind, limits, &program, memory);
    }
}

/* Bytes an element: f8e4m3 with an f32 scale a 128 x 128 block, mxfp4 with a byte per 32. */
static const double F8 = 1.0 + 4.0 / (SLIP_F8_BLOCK * SLIP_F8_BLOCK), BF16 = 2, MXFP4 = 0.5 + 1.0 / SLIP_MXFP4_BLOCK;

static double attention_bytes(const slip_model *model, int32_t ranks)
{
    double total = 0;
    for (int32_t layer = 0; layer < model->layers; layer++) {
        const slip_attention *a = slip_model_attention(model, layer);
        double kv_copies = ranks > a->kv_heads ? (double)ranks / a->kv_heads : 1;
        double q = (double)a->heads * a->head_dim, kv = (double)a->kv_heads * (a->head_dim + a->v_head_dim) * kv_copies;
        total += ((q + kv) * F8 + (double)a->heads * a->v_head_dim * BF16) * model->hidden;
    }
    return total / ranks;
}

static double draft_bytes(const slip_model *model)
{
    const slip_draft_shape *draft = &model->draft;
    const slip_attention *a = &draft->attention;
    double layer = (double)a->heads * a->head_dim + (double)a->kv_heads * (a->head_dim + a->v_head_dim) +
                   (double)a->heads * a->v_head_dim + 3.0 * draft->intermediate;
    return BF16 * model->hidden * (draft->layers * layer + (double)draft->taps * model->hidden + model->vocabulary);
}

void slip_plan_step(const slip_model *model, int32_t ranks, int32_t slices, int32_t tokens, slip_step_plan *plan)
{
    double moe_layers = 0, hidden = model->hidden;
    for (int32_t layer = 0; layer < model->layers; layer++)
        moe_layers += model->is_moe[layer];
    slip_step_plan p = {.ranks = ranks, .slices = slices, .tokens = tokens};
    p.imbalance = slip_plan_imbalance(model, ranks / slices, tokens);
    p.attention = attention_bytes(model, ranks);
    p.dense = (model->layers - moe_layers) * 3 * hidden * model->dense_intermediate * F8 / ranks;
    p.router = moe_layers * model->experts * hidden * BF16;
    p.head = (double)model->vocabulary * hidden * BF16 / ranks;
    p.experts = moe_layers * slip_plan_distinct(model, tokens) * 3 * hidden * model->moe_intermediate * MXFP4 / ranks * p.imbalance;
    p.bytes = p.attention + p.dense + p.router + p.head + p.experts;
    p.draft_bytes = model->has_draft ? draft_bytes(model) / ranks : 0;
    double narrow = slice_cost(model, ranks, slices, tokens) / p.imbalance;
    p.stream_us = (p.bytes - p.experts + p.experts * narrow) / STREAM;
    p.exchange_us = ranks > 1 ? 2.0 * model->layers * exchange_us(ranks) : 0;
    p.handover_us = OPS_OF_A_LAYER * model->layers * HANDOVER_US;
    p.draft_us = model->has_draft ? p.draft_bytes / DRAFT_STREAM + DRAFT_FIXED_US : 0;
    p.step_us = p.stream_us + p.exchange_us + p.handover_us + p.draft_us;
    *plan = p;
}
