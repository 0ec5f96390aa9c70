/* slipstream plan: what a model takes on a number of ranks, from arithmetic and measured rates; nothing is run. */
#include <stdarg.h>
#include <stdio.h>

#include "coordinator/serve/room.h"
#include "io/report/summary.h"
#include "jobs/job.h"
#include "ranks/model/family.h"
#include "ranks/plan.h"

enum { VERIFY = 8 /* tokens of a verify step */, TERMS = 13, WARNINGS = 8, WARNING_SIZE = 160, RANKS_TRIED = 1024 };

/* Acceptance lengths published for MiMo-V2.5-Pro's drafter: code, mathematics, agents. */
static const double acceptance[] = {6.30, 5.56, 4.29};

typedef struct {
    const char *name;
    double value;
    const char *unit, *basis;
} term;

typedef struct {
    const slip_options *options;
    const char *model; /* the shape's name, or the checkpoint's */
    slip_source source;
    slip_limits limits;
    int64_t context; /* of a sequence; limits have room for a block beyond it */
    int32_t ranks;
    slip_step_plan step;
    term terms[TERMS];
    slip_memory target, draft; /* of the fullest rank */
    double memory;             /* bytes a rank has */
    char warnings[WARNINGS][WARNING_SIZE];
    int warning_count;
} plan;

/* ---- what is planned ---- */

static slip_status open_source(plan *p)
{
    const slip_options *options = p->options;
    slip_model model;
    p->source = (slip_source){0};
    p->model = options->shape ? options->shape : options->model;
    if (options->shape) {
        slip_shape_make(options->shape, &model);
        slip_source_shape(&model, &p->source);
        return SLIP_OK;
    }
    p->source.path = options->model;
    slip_status status = slip_checkpoint_open(options->model, &p->source.table);
    return status == SLIP_OK ? slip_checkpoint_model(&p->source.table, options->model, &p->source.model) : status;
}

static slip_status set_limits(plan *p)
{
    slip_decoder_options decoding = {.sequences = (int32_t)p->options->sequences, .chunk = slip_executor_cuda.prompt_rows};
    int64_t most = p->source.model.max_positions, context = p->options->context;
    if (context > most && slip_options_given(p->options, "context"))
        return slip_fail(SLIP_ERR_INPUT, "--context %lld: the model has %lld positions", (long long)context, (long long)most);
    p->context = context < most ? context : most;
    p->memory = p->options->memory > 0 ? p->options->memory * 1e9 : slip_plan_device_default->memory_bytes;
    const slip_room room = {
        .source = &p->source,
        .kind = &slip_executor_cuda,
        .ranks = p->ranks,
        .slices = slip_plan_slices(&p->source.model, p->ranks),
        .draft_ranks = p->source.model.has_draft ? p->ranks : 0,
        .memory = p->memory * slip_room_share(&slip_executor_cuda),
    };
    decoding.chunk = slip_room_chunk(&room, &decoding, p->context);
    p->limits = slip_decoder_limits(&p->source.model, &decoding, p->context);
    return SLIP_OK;
}

/* ---- memory ---- */

static double needed(const plan *p)
{
    return slip_memory_bytes(&p->target) + slip_memory_bytes(&p->draft);
}

static void size_memory(plan *p, int32_t ranks, int32_t slices)
{
    slip_plan_memory(&p->source, &slip_executor_cuda, ranks, slices, &p->limits, &p->target);
    p->draft = (slip_memory){0};
    if (p->source.model.has_draft)
        slip_plan_draft_memory(&p->source, &slip_executor_cuda, ranks, &p->limits, &p->draft);
}

/* ---- time ---- */

static void list_terms(const slip_step_plan *p, term terms[TERMS])
{
    const double mb = 1e-6;
    const term list[TERMS] = {
        {"experts", p->experts * mb, "MB", "derived: distinct experts of 8 tokens that pick at random, worst rank"},
        {"attention", p->attention * mb, "MB", "derived from the shape: f8e4m3 qkv, bf16 output"},
        {"head", p->head * mb, "MB", "derived: bf16, this rank's rows"},
        {"router", p->router * mb, "MB", "derived: bf16, on every rank"},
        {"dense", p->dense * mb, "MB", "derived: f8e4m3"},
        {"bytes", p->bytes * mb, "MB", "the sum"},
        {"imbalance", p->imbalance, "x", "derived: worst rank over mean, 1000 draws"},
        {"stream", p->stream_us, "us", p->device->stream_basis},
        {"exchange", p->exchange_us, "us", p->device->exchange_basis},
        {"handover", p->handover_us, "us", p->device->handover_basis},
        {"draft bytes", p->draft_bytes * mb, "MB", "derived: bf16, its head included, cut over the ranks"},
        {"draft", p->draft_us, "us", p->device->draft_basis},
        {"step", p->step_us, "us", "the sum of the times"},
    };
    for (int i = 0; i < TERMS; i++)
        terms[i] = list[i];
}

__attribute__((format(printf, 2, 3))) static void warn(plan *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->warnings[p->warning_count++], WARNING_SIZE, format, arguments);
    va_end(arguments);
}

/* What does not fit: how much it is, and how many ranks it would fit on. */
static void warn_of_memory(plan *p)
{
    plan more = *p;
    char advice[64] = "";
    if (needed(p) <= p->memory)
        return;
    for (int32_t ranks = 2 * p->ranks; ranks <= RANKS_TRIED && !advice[0]; ranks *= 2) {
        int32_t slices = slip_plan_slices(&p->source.model, ranks);
        if (!slip_placement_allows(&p->source.model, ranks, slices))
            break;
        size_memory(&more, ranks, slices);
        if (needed(&more) <= p->memory && more.target.weights > 0)
            snprintf(advice, sizeof advice, "; it fits on %d ranks", ranks);
    }
    warn(p, "does not fit: %.3g GB a rank, and there are %.3g GB%s", needed(p) * 1e-9, p->memory * 1e-9, advice);
}

/* Where the times leave what was measured. */
static void list_warnings(plan *p)
{
    const slip_plan_device *device = p->step.device;
    double gb = p->step.bytes * 1e-9;
    if (p->ranks > device->node_ranks)
        warn(p, "%d ranks are more than one node of %d: sums between nodes take longer than predicted", p->ranks, device->node_ranks);
    else if (p->ranks > device->measured_ranks)
        warn(p, "measured on up to %d ranks: what %d say to each other is derived", device->measured_ranks, p->ranks);
    if (gb < device->measured_gb_min || gb > device->measured_gb_max)
        warn(p, "measured where a rank reads %g to %g GB a step, not %.3g", device->measured_gb_min, device->measured_gb_max, gb);
    if (p->context > device->measured_context)
        warn(p, "measured at up to %d tokens of context: at %lld reading K/V takes longer", device->measured_context,
             (long long)p->context);
    if (p->limits.sequences > 1)
        warn(p, "times are of one sequence, not of %d", p->limits.sequences);
    if (p->options->model)
        warn(p, "times are of the published types, whatever the checkpoint holds; memory is the checkpoint's");
}

/* ---- printing ---- */

static json_t *memory_json(const plan *p)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "weight_bytes", (json_int_t)p->target.weights, "cache_bytes",
                     (json_int_t)p->target.caches, "draft_weight_bytes", (json_int_t)p->draft.weights, "draft_cache_bytes",
                     (json_int_t)p->draft.caches, "work_bytes", (json_int_t)p->target.work + (json_int_t)p->draft.work, "bytes",
                     (json_int_t)needed(p), "available_bytes", (json_int_t)p->memory, "fits", needed(p) <= p->memory);
}

static slip_status print_json(const plan *p, int argc, char **argv)
{
    json_t *object = slip_summary_begin("plan", argc, argv), *list = json_array(), *speeds = json_array(), *warnings = json_array();
    for (int i = 0; i < TERMS; i++)
        json_array_append_new(list, json_pack("{s:s,s:f,s:s,s:s}", "name", p->terms[i].name, "value", p->terms[i].value, "unit",
                                              p->terms[i].unit, "basis", p->terms[i].basis));
    for (size_t i = 0; i < sizeof acceptance / sizeof *acceptance; i++)
        json_array_append_new(
            speeds, json_pack("{s:f,s:f}", "acceptance_length", acceptance[i], "tokens_per_second", acceptance[i] / p->step.step_us * 1e6));
    for (int i = 0; i < p->warning_count; i++)
        json_array_append_new(warnings, json_string(p->warnings[i]));
    json_t *rest = json_pack("{s:s,s:s,s:i,s:i,s:i,s:I,s:i,s:o,s:o,s:o,s:o}", "device", p->step.device->name, "model", p->model,
                             "rank_count", p->ranks, "expert_slices", p->step.slices, "verify_tokens", p->step.tokens, "context",
                             (json_int_t)p->context, "sequences", p->limits.sequences, "memory_per_rank", memory_json(p), "terms", list,
                             "predicted", speeds, "warnings", warnings);
    json_object_update(object, rest);
    json_decref(rest);
    if (p->options->shape)
        json_object_set_new(object, "shape", json_string(p->options->shape));
    return slip_summary_print(object);
}

static void print_slices(const plan *p)
{
    printf("# slices: predicted step\n");
    for (int32_t s = 1; s <= p->ranks; s++) {
        slip_step_plan other;
        if (!slip_placement_allows(&p->source.model, p->ranks, s))
            continue;
        slip_plan_step(&p->source.model, p->ranks, s, VERIFY, &other);
        printf("  %2d slices    %10.2f us, imbalance %.2f%s\n", s, other.step_us, other.imbalance,
               s == p->step.slices ? "  <- chosen" : "");
    }
}

static void print_text(const plan *p)
{
    printf("# %s on %d rank%s, expert slices %d: one step that drafts and verifies %d tokens\n", p->model, p->ranks,
           p->ranks == 1 ? "" : "s", p->step.slices, p->step.tokens);
    for (int i = 0; i < TERMS; i++)
        printf("  %-12s %10.2f %-3s %s\n", p->terms[i].name, p->terms[i].value, p->terms[i].unit, p->terms[i].basis);
    print_slices(p);
    printf("# memory           %.3g GB of %.3g on the fullest rank: weights %.3g, K/V %.3g for %d sequence%s of %lld tokens",
           needed(p) * 1e-9, p->memory * 1e-9, (double)p->target.weights * 1e-9, (double)p->target.caches * 1e-9, p->limits.sequences,
           p->limits.sequences == 1 ? "" : "s", (long long)p->context);
    if (p->source.model.has_draft)
        printf(", the draft %.3g and %.3g", (double)p->draft.weights * 1e-9, (double)p->draft.caches * 1e-9);
    printf(", buffers %.3g%s\n", (double)(p->target.work + p->draft.work) * 1e-9, needed(p) <= p->memory ? "" : ": DOES NOT FIT");
    for (int i = 0; i < p->warning_count; i++)
        printf("# warning          %s\n", p->warnings[i]);
    for (size_t i = 0; i < sizeof acceptance / sizeof *acceptance; i++)
        printf("# predicted        %.0f tokens/s at acceptance length %.2f\n", acceptance[i] / p->step.step_us * 1e6, acceptance[i]);
}

static slip_status make(plan *p)
{
    slip_placement placement;
    slip_status status = open_source(p);
    if (status == SLIP_OK)
        status = set_limits(p);
    int32_t slices = status == SLIP_OK ? slip_plan_slices(&p->source.model, p->ranks) : 1;
    if (status == SLIP_OK)
        status = slip_placement_make(&p->source.model, p->ranks, slices, 0, &placement);
    if (status != SLIP_OK)
        return status;
    slip_plan_step(&p->source.model, p->ranks, slices, VERIFY, &p->step);
    size_memory(p, p->ranks, slices);
    list_terms(&p->step, p->terms);
    warn_of_memory(p);
    list_warnings(p);
    return SLIP_OK;
}

slip_status slip_plan(const slip_options *options, int argc, char **argv)
{
    plan p = {.options = options, .ranks = (int32_t)options->ranks};
    slip_status status = make(&p);
    if (status == SLIP_OK && options->json)
        status = print_json(&p, argc, argv);
    else if (status == SLIP_OK)
        print_text(&p);
    slip_source_close(&p.source);
    return status;
}
