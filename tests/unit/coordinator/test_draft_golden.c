/* The drafter against tests/golden/forward/reference.py: taps of the target, injected, and the logits of slots 1 to 7. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/draft.h"
#include "folder.h"
#include "kernels/cpu/state.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "ranks/model/sampling/sample.h"
#include "tiny_checkpoint.h"
#include "tiny_model.h"

static const slip_executor_kind *const cpu = &slip_executor_cpu;
static const char *fixture = "pro-split-bf16", *answers = "draft.bin";
static const slip_sampling greedy;
static slip_step step;

/* draft.bin, as tests/golden/forward/README.md lays it out. */
typedef struct {
    char *bytes;
    uint32_t tokens, vocabulary, slots, cases;
    const int32_t *ids;
    const uint32_t *start, *best; /* best [cases][slots] */
    const float *logits;          /* [cases][slots][vocabulary] */
    slip_limits limits;
    float *taps; /* [tokens, width] of the fixture's target */
    size_t width;
} golden;

static void golden_read(golden *g)
{
    size_t size;
    uint32_t head[5];
    char path[128];
    snprintf(path, sizeof path, "tests/golden/forward/fixtures/%s/%s", fixture, answers);
    g->bytes = folder_read(path, &size);
    assert_memory_equal(g->bytes, "SLIPDRFT", 8);
    memcpy(head, g->bytes + 8, sizeof head);
    assert_int_equal(head[0], 1);
    g->tokens = head[1], g->vocabulary = head[2], g->slots = head[3], g->cases = head[4];
    g->ids = (const int32_t *)(g->bytes + 28);
    g->start = (const uint32_t *)g->ids + g->tokens;
    g->best = g->start + g->cases;
    g->logits = (const float *)(g->best + g->cases * g->slots);
    assert_int_equal(size, (size_t)((const char *)g->logits - g->bytes) + 4ul * g->cases * g->slots * g->vocabulary);
}

typedef struct {
    slip_program program;
    slip_executor *executor;
} engine;

static void engine_make(const slip_source *source, bool draft, const slip_limits *limits, engine *e)
{
    slip_placement placement;
    if (draft)
        slip_placement_draft(&source->model, 1, 0, &placement);
    else
        assert_int_equal(slip_placement_make(&source->model, 1, 1, 0, &placement), SLIP_OK);
    assert_int_equal((draft ? slip_program_draft : slip_program_target)(&source->model, &placement, &e->program), SLIP_OK);
    assert_int_equal(cpu->create(&e->program, limits, NULL, NULL, &e->executor), SLIP_OK);
    assert_int_equal(slip_shard_place(source, &e->program, cpu, e->executor), SLIP_OK);
    assert_int_equal(slip_shard_load(source, &e->program, cpu, e->executor), SLIP_OK);
}

static void engine_run(engine *e, slip_phase phase)
{
    assert_int_equal(slip_executor_run(cpu, e->executor, phase, &step, &(slip_run_cost){0}), SLIP_OK);
}

static void engine_free(engine *e)
{
    cpu->destroy(e->executor);
    slip_program_free(&e->program);
}

enum { CHUNK = 16 };

static slip_limits limits_of(const golden *g)
{
    assert_true(g->tokens + 8 <= TINY_EXTENT);
    return (slip_limits){
        .rows = CHUNK, .logit_rows = CHUNK, .sequences = 2, .span_rows = CHUNK, .context = g->tokens + 8, .kv_tokens = 2 * TINY_EXTENT};
}

static void golden_open(const slip_source *source, golden *g)
{
    engine target;
    golden_read(g);
    g->limits = limits_of(g);
    g->width = (size_t)source->model.draft.taps * (size_t)source->model.hidden;
    g->taps = malloc(g->tokens * g->width * sizeof *g->taps);
    assert_non_null(g->taps);
    engine_make(source, false, &g->limits, &target);
    for (uint32_t at = 0; at < g->tokens; at += CHUNK) {
        int32_t count = (int32_t)(g->tokens - at < CHUNK ? g->tokens - at : CHUNK);
        tiny_step_start(&step);
        tiny_step_add(&step, 0, at, g->ids + at, count, 0);
        engine_run(&target, SLIP_PHASE_RUN);
        for (int32_t i = 0; i < count; i++)
            memcpy(g->taps + (at + (uint32_t)i) * g->width, cpu->row(target.executor, SLIP_BUFFER_TAPS, i), g->width * sizeof *g->taps);
    }
    engine_free(&target);
}

static void golden_close(golden *g)
{
    free(g->taps);
    free(g->bytes);
}

/* Positions [0, end) of a sequence, `chunk` at a time. */
static void inject(const golden *g, engine *draft, int32_t sequence, uint32_t end, uint32_t chunk)
{
    static const int32_t none[CHUNK];
    for (uint32_t at = 0; at < end; at += chunk) {
        uint32_t count = end - at < chunk ? end - at : chunk;
        tiny_step_start(&step);
        tiny_step_add(&step, sequence, at, none, (int32_t)count, 0);
        for (uint32_t i = 0; i < count; i++)
            memcpy(cpu->row(draft->executor, SLIP_BUFFER_TAPS, (int32_t)i), g->taps + (at + i) * g->width, g->width * sizeof *g->taps);
        engine_run(draft, SLIP_PHASE_INJECT);
    }
}

static void add_block(const slip_source *source, const golden *g, int32_t sequence, uint32_t start)
{
    int32_t block[8] = {g->ids[start]};
    for (int j = 1; j < 8; j++)
        block[j] = source->model.draft.mask_token;
    tiny_step_add(&step, sequence, start, block, 8, 8);
}

/* Slots 1 .. 7 of the block whose first head row is `row`. */
static double worst_of(const golden *g, uint32_t number, engine *draft, int32_t row)
{
    double worst = 0;
    for (uint32_t slot = 0; slot < g->slots; slot++) {
        const float *want = g->logits + (number * g->slots + slot) * g->vocabulary;
        const float *have = cpu->row(draft->executor, SLIP_BUFFER_LOGITS, row + 1 + (int32_t)slot);
        uint32_t best = 0;
        for (uint32_t v = 0; v < g->vocabulary; v++) {
            worst = fmax(worst, isnan(have[v]) ? INFINITY : fabs((double)have[v] - want[v]));
            best = have[v] > have[best] ? v : best;
        }
        assert_int_equal(best, g->best[number * g->slots + slot]);
    }
    return worst;
}

static void test_golden(void **state)
{
    const slip_source *source = &((tiny_checkpoint *)*state)->source;
    golden g;
    engine draft;
    golden_open(source, &g);
    assert_true(g.slots == 7 && g.cases >= 5 && (int32_t)g.vocabulary == source->model.vocabulary);
    engine_make(source, true, &g.limits, &draft);
    double worst = 0;
    for (uint32_t number = 0; number < g.cases; number++) {
        inject(&g, &draft, 0, g.start[number], CHUNK);
        tiny_step_start(&step);
        add_block(source, &g, 0, g.start[number]);
        engine_run(&draft, SLIP_PHASE_RUN);
        worst = fmax(worst, worst_of(&g, number, &draft, 0));
    }
    print_message("%s: %u cases, max difference %.2e\n", fixture, g.cases, worst);
    assert_true(worst <= 1e-4);
    engine_free(&draft);
    golden_close(&g);
}

/* Two blocks in one step, their contexts injected in other chunks: the same bits as one by one. */
static void test_batched(void **state)
{
    const slip_source *source = &((tiny_checkpoint *)*state)->source;
    golden g;
    engine draft;
    golden_open(source, &g);
    const size_t row = g.vocabulary * sizeof(float);
    float *alone = malloc(16 * row);
    engine_make(source, true, &g.limits, &draft);
    for (int32_t s = 0; s < 2; s++) {
        uint32_t start = g.start[s ? g.cases - 1 : 2];
        inject(&g, &draft, s, start, CHUNK);
        tiny_step_start(&step);
        add_block(source, &g, s, start);
        engine_run(&draft, SLIP_PHASE_RUN);
        for (int32_t j = 0; j < 8; j++)
            memcpy((char *)alone + (size_t)(8 * s + j) * row, cpu->row(draft.executor, SLIP_BUFFER_LOGITS, j), row);
        inject(&g, &draft, s, start, 3); /* over what the block left */
    }
    tiny_step_start(&step);
    add_block(source, &g, 0, g.start[2]);
    add_block(source, &g, 1, g.start[g.cases - 1]);
    engine_run(&draft, SLIP_PHASE_RUN);
    for (int32_t j = 0; j < 16; j++)
        assert_memory_equal(cpu->row(draft.executor, SLIP_BUFFER_LOGITS, j), (char *)alone + (size_t)j * row, row);
    engine_free(&draft);
    free(alone);
    golden_close(&g);
}

/* ---- through coordinator/draft.h ---- */

typedef struct {
    slip_rank *rank;
    slip_draft *draft;
} machine;

static void machine_make(const tiny_checkpoint *checkpoint, const slip_limits *limits, machine *m)
{
    const slip_rank_options options = {.kind = cpu, .slices = 1, .limits = *limits};
    const slip_executor_options none = {0};
    assert_int_equal(slip_rank_create(checkpoint->comm, &checkpoint->source, &options, &m->rank), SLIP_OK);
    assert_int_equal(slip_rank_load_draft(m->rank, false, &none), SLIP_OK);
    assert_int_equal(slip_draft_create(m->rank, &m->draft), SLIP_OK);
}

static void machine_free(machine *m)
{
    slip_draft_free(m->draft);
    slip_rank_free(m->rank);
}

/* Of what is queued and added. */
static void run_draft(machine *m, slip_draft_outcome *outcome)
{
    assert_int_equal(slip_draft_flush(m->draft), SLIP_OK);
    assert_int_equal(slip_draft_begin(m->draft), SLIP_OK);
    assert_int_equal(slip_draft_wait(m->draft, outcome), SLIP_OK);
}

/* A position as if the target had just made its taps. */
static void make_position(const golden *g, machine *m, int32_t sequence, uint32_t at)
{
    const slip_span span = {.sequence = sequence, .base = (int64_t)sequence * TINY_EXTENT};
    memcpy(slip_cpu_tap_at(slip_runner_executor(slip_rank_target(m->rank)), &span, at), g->taps + at * g->width,
           g->width * sizeof *g->taps);
    assert_int_equal(slip_draft_inject(m->draft, sequence, span.base, at), SLIP_OK);
}

static void assert_drafts(const golden *g, uint32_t number, const slip_candidate *candidates)
{
    for (uint32_t j = 0; j < g->slots; j++)
        assert_int_equal(candidates[j].token, g->best[number * g->slots + j]);
}

/* Positions are queued one by one; two sequences at once, greedy drafts. */
static void test_drafts(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_source *source = &checkpoint->source;
    golden g;
    golden_open(source, &g);
    for (uint32_t number = 0; number + 1 < g.cases; number++) {
        machine m;
        slip_draft_outcome outcome;
        machine_make(checkpoint, &g.limits, &m);
        for (uint32_t s = 0; s < 2; s++) {
            uint32_t start = g.start[number + s];
            for (uint32_t at = 0; at < start; at++) /* more than the queue holds */
                make_position(&g, &m, (int32_t)s, at);
            slip_draft_add(m.draft, (int32_t)s, s * TINY_EXTENT, g.ids[start], start, &greedy);
        }
        run_draft(&m, &outcome);
        assert_drafts(&g, number, outcome.candidates);
        assert_drafts(&g, number + 1, outcome.candidates + g.slots);
        assert_true(outcome.weight_bytes > 0);
        machine_free(&m);
    }
    golden_close(&g);
}

/* Sequences whose positions come in turns, as from steps that did not draft: a span each, more than a step can hold. Twice, since a draft
 * starts with no blocks of the one before. */
static void test_positions_in_turns(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_source *source = &checkpoint->source;
    golden g;
    machine m;
    slip_draft_outcome outcome;
    golden_open(source, &g);
    uint32_t start = g.start[g.cases - 1];
    g.limits.rows = g.limits.span_rows = 2 * SLIP_MAX_SPANS;
    assert_true(2 * start > SLIP_MAX_SPANS);
    machine_make(checkpoint, &g.limits, &m);
    for (uint32_t at = 0; at < start; at++)
        for (int32_t s = 0; s < 2; s++)
            make_position(&g, &m, s, at);
    for (int again = 0; again < 2; again++) {
        for (int32_t s = 0; s < 2; s++)
            slip_draft_add(m.draft, s, (int64_t)s * TINY_EXTENT, g.ids[start], start, &greedy);
        run_draft(&m, &outcome);
        assert_drafts(&g, g.cases - 1, outcome.candidates);
        assert_drafts(&g, g.cases - 1, outcome.candidates + g.slots);
    }
    machine_free(&m);
    golden_close(&g);
}

/* The token that a request's noise picks at a position, whatever the logits. */
static int32_t noisiest(const slip_sampling *sampling, int64_t position, int32_t vocabulary)
{
    int32_t best = 0;
    for (int32_t v = 1; v < vocabulary; v++)
        if (slip_gumbel(slip_sample_bits(sampling->seed, position, v)) > slip_gumbel(slip_sample_bits(sampling->seed, position, best)))
            best = v;
    return best;
}

/* Drafts of two sequences, one for each request, of logits that noise at this temperature hides. */
static void draft_hot(void **state, slip_sampling first, slip_sampling second)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_source *source = &checkpoint->source;
    golden g;
    machine m;
    slip_draft_outcome outcome;
    golden_open(source, &g);
    uint32_t start = g.start[0];
    machine_make(checkpoint, &g.limits, &m);
    for (int32_t s = 0; s < 2; s++) {
        for (uint32_t at = 0; at < start; at++)
            make_position(&g, &m, s, at);
        slip_draft_add(m.draft, s, (int64_t)s * TINY_EXTENT, g.ids[start], start, s == 0 ? &first : &second);
    }
    run_draft(&m, &outcome);
    for (uint32_t j = 1; j <= g.slots; j++)
        assert_int_equal(outcome.candidates[j - 1].token, noisiest(&first, start + j, (int32_t)g.vocabulary));
    assert_drafts(&g, 0, outcome.candidates + g.slots);
    machine_free(&m);
    golden_close(&g);
}

/* A draft draws with the noise that the target will draw with: at a temperature beyond all logits the noise alone decides. Filters that
 * leave out much leave the likeliest. */
static void test_noise(void **state)
{
    const slip_sampling hot = {.seed = 77, .temperature = 1e9, .top_p = 1};
    slip_sampling light = hot, few = hot, likely = hot, small = hot;
    light.top_p = 0.95;
    light.top_k = 40;
    few.top_k = 5;
    likely.min_p = 0.3;
    small.top_p = 0.5;
    draft_hot(state, hot, few);
    draft_hot(state, light, likely);
    draft_hot(state, light, small);
}

/* A drafter with an in-block head (tests/golden/forward/walk.py). Noise that hides all logits hides the head, too. */
static void test_head(void **state)
{
    answers = "draft-head.bin";
    assert_int_equal(tiny_checkpoint_change(*state, fixture, "dflash-head"), SLIP_OK);
    test_drafts(state);
    test_positions_in_turns(state);
    test_noise(state);
    answers = "draft.bin";
}

/* The published layouts, each with its drafter in the folder (tests/golden/forward/drafters.py). The last test: it leaves another model. */
static void test_layouts(void **state)
{
    static const char *const layouts[] = {"v2-flash-split-fp8", "v2.5-fused-fp8", "v2.6-fused-mxfp4"};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        fixture = layouts[i];
        assert_int_equal(tiny_checkpoint_change(*state, fixture, NULL), SLIP_OK);
        assert_true(((tiny_checkpoint *)*state)->source.model.draft.mask_embedding);
        test_golden(state);
        test_drafts(state);
    }
}

static int open_fixture(void **state)
{
    return tiny_checkpoint_open(state, fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_batched),
                                       cmocka_unit_test(test_drafts), cmocka_unit_test(test_positions_in_turns),
                                       cmocka_unit_test(test_noise),  cmocka_unit_test(test_head),
                                       cmocka_unit_test(test_layouts)};
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
