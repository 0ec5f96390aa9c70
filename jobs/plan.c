/* slipstream plan: what a shape takes on a number of ranks, from arithmetic and measured rates; nothing is run. */
#include <jansson.h>
#include <stdio.h>

#include "jobs/job.h"
#include "ranks/model/family.h"
#include "ranks/plan.h"

enum { VERIFY = 8 }; /* tokens of a verify step */

/* Acceptance lengths published for MiMo-V2.5-Pro's drafter: code, mathematics, agents. */
static const double acceptance[] = {6.30, 5.56, 4.29};

typedef struct {
    const char *name;
    double value;
    const char *unit, *basis;
} term;

enum { TERMS = 13 };

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

static slip_status print_json(const slip_options *options, const slip_step_plan *p, const term *terms)
{
    json_t *list = json_array(), *speeds = json_array();
    for (int i = 0; i < TERMS; i++)
        json_array_append_new(list, json_pack("{s:s,s:f,s:s,s:s}", "name", terms[i].name, "value", terms[i].value, "unit",
                                              terms[i].unit, "basis", terms[i].basis));
    for (size_t i = 0; i < sizeof acceptance / sizeof *acceptance; i++)
        json_array_append_new(speeds, json_pack("{s:f,s:f}", "acceptance_length", acceptance[i], "tokens_per_second",
                                                acceptance[i] / p->step_us * 1e6));
    json_t *object = json_pack("{s:i,s:s,s:I,s:i,s:i,s:o,s:o}", "schema", 1, "shape", options->shape, "ranks", (json_int_t)options->ranks,
                               "expert_slices", p->slices, "verify_tokens", p->tokens, "terms", list, "predicted", speeds);
    int written = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;
    json_decref(object);
    return written < 0 || putchar('\n') == EOF ? slip_fail(SLIP_ERR_FAILED, "standard output failed") : SLIP_OK;
}

static void print_text(const slip_options *options, const slip_model *model, const slip_step_plan *p, const term *terms)
{
    printf("# %s on %lld ranks, expert slices %d: one step that drafts and verifies %d tokens\n", options->shape,
           (long long)options->ranks, p->slices, p->tokens);
    for (int i = 0; i < TERMS; i++)
        printf("  %-12s %10.2f %-3s %s\n", terms[i].name, terms[i].value, terms[i].unit, terms[i].basis);
    printf("# slices: predicted step\n");
    for (int32_t s = 1; s <= options->ranks; s++) {
        slip_step_plan other;
        if (!slip_placement_allows(model, (int32_t)options->ranks, s))
            continue;
        slip_plan_step(model, (int32_t)options->ranks, s, VERIFY, &other);
        printf("  %2d slices    %10.2f us, imbalance %.2f%s\n", s, other.step_us, other.imbalance, s == p->slices ? "  <- chosen" : "");
    }
    for (size_t i = 0; i < sizeof acceptance / sizeof *acceptance; i++)
        printf("# predicted        %.0f tokens/s at acceptance length %.2f\n", acceptance[i] / p->step_us * 1e6, acceptance[i]);
}

slip_status slip_plan(const slip_options *options)
{
    slip_model model;
    slip_step_plan plan;
    term terms[TERMS];
    slip_shape_make(options->shape, &model);
    int32_t ranks = (int32_t)options->ranks;
    slip_plan_step(&model, ranks, slip_plan_slices(&model, ranks), VERIFY, &plan);
    list_terms(&plan, terms);
    if (options->json)
        return print_json(options, &plan, terms);
    print_text(options, &model, &plan, terms);
    return SLIP_OK;
}
