/* A model of which only the shape is known: encodings, cuts, random weights, and one shard of several without its peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "coordinator/decoder.h"
#include "io/base/hash/hash.h"
#include "ranks/model/build.h"
#include "ranks/model/family.h"
#include "ranks/model/overlap.h"
#include "ranks/plan.h"
#include "tiny_checkpoint.h"
#include "tiny_model.h"
#include "tiny_weight.h"

/* ---- an executor that makes weights up: the CPU's, with fill() ---- */

static slip_executor_kind filling;
static const slip_program *filled_program;
static slip_dtype filled_dtype[256];
static uint64_t filled_seed[256];

static slip_status create_filling(const slip_program *program, const slip_limits *limits, slip_comm *comm,
                                  const slip_executor_options *options, slip_executor **executor)
{
    filled_program = program;
    return slip_executor_cpu.create(program, limits, comm, options, executor);
}

static slip_status fill(slip_executor *executor, int32_t index, slip_dtype dtype, uint64_t seed)
{
    const slip_tensor *tensor = &filled_program->tensors[index];
    int64_t experts = tensor->experts.first < 0 ? 1 : tensor->experts.count;
    slip_weight weight = tiny_weight_random(dtype, experts, tensor->rows, tensor->columns, seed);
    slip_status status = tiny_weight_load(executor, index, &weight);
    tiny_weight_free(&weight);
    filled_dtype[index] = dtype;
    filled_seed[index] = seed;
    return status;
}

/* ---- shapes ---- */

static void test_cut(void **state)
{
    (void)state;
    slip_model model;
    slip_shape_make("flash", &model);
    slip_shape_cut(&model, 20);
    assert_int_equal(model.layers, 20);
    const int32_t want[] = {0, 11, 19, 19, 19};
    assert_memory_equal(model.draft.tap_layer, want, sizeof want);
    for (int32_t layers = 1; layers <= 2; layers++) { /* all taps at one layer still fit a program */
        slip_placement placement;
        slip_program program;
        slip_shape_make("pro", &model);
        slip_shape_cut(&model, layers);
        assert_int_equal(slip_placement_make(&model, 8, 1, 0, &placement), SLIP_OK);
        assert_int_equal(slip_program_target(&model, &placement, &program), SLIP_OK);
        int32_t taps = 0;
        for (int32_t i = 0; i < program.op_count; i++)
            taps += program.ops[i].kind == SLIP_OP_TAP;
        assert_int_equal(taps, 5);
        slip_program_free(&program);
    }
}

/* The row of a shape's weight of this name. */
static const slip_weight_row *find_row(const char *shape, const char *name)
{
    slip_model model;
    slip_weight_spec *weights;
    size_t count;
    const slip_weight_row *row = NULL;
    assert_true(slip_shape_make(shape, &model));
    assert_int_equal(slip_weight_list(&model, &weights, &count), SLIP_OK);
    for (size_t i = 0; i < count; i++)
        if (strcmp(weights[i].name, name) == 0)
            row = weights[i].row;
    free(weights);
    return row;
}

static void test_dtypes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool vector;
        slip_dtype dtype;
    } table[] = {
        {"target/layers/1/experts/gate", false, SLIP_MXFP4},
        {"target/layers/1/experts/down", false, SLIP_MXFP4},
        {"target/layers/0/qkv", false, SLIP_F8E4M3},
        {"target/layers/0/q", false, SLIP_F8E4M3},
        {"target/layers/0/gate", false, SLIP_F8E4M3},
        {"target/layers/0/down", false, SLIP_F8E4M3},
        {"target/layers/0/o", false, SLIP_BF16},
        {"target/layers/1/router", false, SLIP_BF16},
        {"target/layers/1/router_bias", true, SLIP_F32},
        {"target/layers/1/attn_norm", true, SLIP_F32},
        {"target/embed", false, SLIP_BF16},
        {"target/head", false, SLIP_BF16},
        {"draft/layers/0/q", false, SLIP_BF16},
        {"draft/layers/0/gate", false, SLIP_BF16},
        {"draft/fc", false, SLIP_BF16},
        {"draft/hidden_norm", true, SLIP_F32},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const slip_weight_row *row = find_row("pro", table[i].name);
        if (row == NULL) /* the Pro's q, k and v are one */
            row = find_row("flash", table[i].name);
        assert_non_null(row);
        assert_int_equal(row->dtype, table[i].dtype);
        assert_int_equal(slip_weight_is_vector(row), table[i].vector);
    }
}

/* The Pro in MXFP4 is about 550 GB; a rank of 8 holds an eighth, its router, and no draft. */
static void test_memory(void **state)
{
    (void)state;
    slip_model model;
    slip_source source;
    slip_memory cpu, cuda;
    slip_limits limits = {.rows = 64, .logit_rows = 64, .sequences = 1, .span_rows = 64, .context = 1024, .kv_tokens = 1024};
    slip_shape_make("pro", &model);
    slip_source_shape(&model, &source);
    int32_t slices = slip_plan_slices(&model, 8);
    slip_plan_memory(&source, &slip_executor_cpu, 8, slices, &limits, &cpu);
    slip_plan_memory(&source, &slip_executor_cuda, 8, slices, &limits, &cuda);
    assert_true(cpu.weights > 60e9 && cpu.weights < 80e9 && cpu.weights == cuda.weights);
    assert_true(cuda.caches > 0 && cuda.caches < cpu.caches);
    slip_memory whole, share;
    slip_plan_draft_memory(&source, &slip_executor_cuda, 1, &limits, &whole);
    slip_plan_draft_memory(&source, &slip_executor_cuda, 8, &limits, &share);
    assert_true(whole.weights > 8e9 && whole.weights < 10e9); /* 7.5 GB and the embedding */
    assert_true(share.weights > whole.weights / 8 && share.weights < whole.weights / 7);
    assert_int_equal(8 * share.caches, whole.caches);
    slip_source_close(&source);
}

/* ---- weights and runs ---- */

/* Which weights of the target are random, and how. */
static void test_fill(void **state)
{
    slip_comm *comm = *state;
    slip_source source;
    slip_rank *rank;
    slip_model model;
    slip_limits limits = {.rows = 8, .logit_rows = 8, .sequences = 1, .span_rows = 8, .context = 32, .kv_tokens = 32};
    tiny_model_shape(64, &model);
    slip_source_shape(&model, &source);
    slip_rank_options options = {.kind = &filling, .slices = 1, .limits = limits};
    assert_int_equal(slip_rank_create(comm, &source, &options, &rank), SLIP_OK);
    const slip_program *program = slip_runner_program(slip_rank_target(rank));
    for (int32_t i = 0; i < program->tensor_count; i++) {
        const char *name = program->parts[program->tensors[i].first_part].weight.name;
        assert_int_equal(filled_dtype[i], program->parts[program->tensors[i].first_part].weight.row->dtype);
        assert_true(filled_seed[i] == slip_hash_text(SLIP_HASH_START, name)); /* the same on all ranks */
    }
    slip_rank_free(rank);
    slip_source_close(&source);
}

/* Routers of overlapping routing pick of a pool: their biases are loaded instead. */
static int32_t pool_members[256];

static void pack_pool(slip_executor *executor, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    for (int64_t e = 0; e < piece->columns; e++)
        pool_members[index] += ((const float *)piece->data)[e] == 0;
    slip_executor_cpu.pack(executor, index, piece, from, to, packed);
}

static void test_overlap(void **state)
{
    slip_source source;
    slip_rank *rank;
    slip_model model;
    slip_limits limits = {.rows = 8, .logit_rows = 8, .sequences = 1, .span_rows = 8, .context = 32, .kv_tokens = 32};
    slip_executor_kind pooling = filling;
    int32_t routers = 0;
    tiny_model_shape(64, &model);
    slip_source_shape(&model, &source);
    source.distinct_experts = model.top_k + 1;
    pooling.pack = pack_pool;
    slip_rank_options options = {.kind = &pooling, .slices = 1, .limits = limits};
    assert_int_equal(slip_rank_create(*state, &source, &options, &rank), SLIP_OK);
    const slip_program *program = slip_runner_program(slip_rank_target(rank));
    int32_t pool = slip_overlap_pool(model.experts, model.top_k, model.draft.block, model.top_k + 1);
    for (int32_t i = 0; i < program->tensor_count; i++) {
        bool router = program->parts[program->tensors[i].first_part].weight.row->random.selects;
        assert_int_equal(pool_members[i], router ? pool : 0);
        routers += router;
    }
    assert_true(routers > 0 && pool < model.experts);
    slip_rank_free(rank);
    slip_source_close(&source);
}

/* Shard 0 of 3 on one rank, drafted for: its tokens are of its own rows, whatever the draft proposes. */
static void test_shard(void **state)
{
    slip_comm *comm = *state;
    slip_source source;
    slip_rank *rank;
    slip_draft *draft;
    slip_decoder *decoder;
    slip_model model;
    static const int32_t prompt[] = {1, 2, 3, 4, 5};
    tiny_model_shape(64, &model);
    slip_source_shape(&model, &source);
    slip_range rows = slip_placement_piece(model.vocabulary, 1, 3, 0);
    slip_decoder_options decoding = {.sequences = 1, .chunk = 4, .always_draft = true, .random_drafts = (int32_t)rows.count};
    slip_limits limits = slip_decoder_limits(&model, &decoding, 40);
    slip_rank_options options = {.kind = &filling, .slices = 1, .shard_of = 3, .limits = limits};
    slip_query query = {.prompt = prompt, .prompt_count = 5, .max_tokens = 12, .sampling = {.top_p = 1}, .ignore_eos = true};
    assert_int_equal(slip_rank_create(comm, &source, &options, &rank), SLIP_OK);
    assert_int_equal(slip_rank_placement(rank)->ranks, 3);
    assert_int_equal(slip_runner_program(slip_rank_target(rank))->vocabulary.count, rows.count);
    assert_int_equal(slip_rank_load_draft(rank, false, &(slip_executor_options){0}), SLIP_OK);
    assert_int_equal(slip_draft_create(rank, &draft), SLIP_OK);
    assert_int_equal(slip_runner_program(slip_rank_draft(rank))->vocabulary.count, model.vocabulary);
    assert_int_equal(slip_decoder_create(rank, draft, &model, &limits, &decoding, NULL, &decoder), SLIP_OK);
    assert_int_equal(slip_decoder_admit(decoder, 0, &query), SLIP_OK);
    while (slip_decoder_busy(decoder))
        assert_int_equal(slip_decoder_step(decoder), SLIP_OK);
    const slip_sequence *sequence = slip_decoder_sequence(decoder, 0);
    assert_int_equal(sequence->count, 12);
    for (int32_t i = 0; i < sequence->count; i++)
        assert_true(sequence->tokens[i] >= 0 && sequence->tokens[i] < rows.count);
    const slip_metrics *metrics = slip_decoder_metrics(decoder);
    assert_true(metrics->prompt_tokens == 5 && metrics->prefill_seconds > 0 && metrics->prefill_seconds < metrics->seconds);
    slip_decoder_free(decoder);
    slip_draft_free(draft);
    slip_rank_free(rank);
    slip_source_close(&source);
}

static int start(void **state)
{
    filling = slip_executor_cpu;
    filling.create = create_filling;
    filling.fill = fill;
    return tiny_comm_start(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut),  cmocka_unit_test(test_dtypes),  cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_fill), cmocka_unit_test(test_overlap), cmocka_unit_test(test_shard)};
    return cmocka_run_group_tests(tests, start, tiny_comm_finish);
}
