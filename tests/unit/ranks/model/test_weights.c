/* The tables of weights: every model's list is whole and well formed, and what programs read of a weight covers it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "io/checkpoint/layout.h"
#include "jobs/convert/source.h"
#include "ranks/model/build.h"
#include "ranks/model/family.h"
#include "tiny_model.h"

enum { SHAPES = 4 };

static void shape(int which, slip_model *model)
{
    if (which < 2)
        assert_true(slip_shape_make(which ? "pro" : "flash", model));
    else
        tiny_model_shape(which == 2 ? 64 : 80, model);
}

typedef struct {
    slip_model model;
    slip_weight_spec *weights;
    size_t count;
} listed;

static void list(int which, listed *l)
{
    shape(which, &l->model);
    assert_int_equal(slip_weight_list(&l->model, &l->weights, &l->count), SLIP_OK);
}

static const slip_weight_spec *find(const listed *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->weights[i].name, name) == 0)
            return &l->weights[i];
    return NULL;
}

static void test_lists_are_well_formed(void **state)
{
    (void)state;
    for (int which = 0; which < SHAPES; which++) {
        listed l;
        list(which, &l);
        for (size_t i = 0; i < l.count; i++) {
            const slip_weight_spec *w = &l.weights[i];
            assert_ptr_equal(find(&l, w->name), w); /* no name twice */
            assert_true(w->experts >= 1 && w->rows >= 1 && w->columns >= 1 && w->chunks >= 1);
            assert_int_equal(w->rows % w->chunks, 0);
            assert_true(!slip_weight_is_vector(w->row) || (w->rows == 1 && w->experts == 1));
            assert_true(which >= 2 || slip_weight_is_vector(w->row) || slip_layout_allows(w, w->row->dtype));
            assert_true(w->row->random.size > 0);
        }
        free(l.weights);
    }
}

/* Literal facts of the published models: their tensors' names and shapes. */
static void test_published_weights(void **state)
{
    (void)state;
    static const struct {
        int which;
        const char *name, *source;
        int64_t experts, rows, columns;
        int32_t chunks;
    } table[] = {
        {1, "target/embed", "model.embed_tokens.weight", 1, 152576, 6144, 1},
        {1, "target/head", "lm_head.weight", 1, 152576, 6144, 1},
        {1, "target/layers/7/qkv", "model.layers.7.self_attn.qkv_proj.weight", 1, 27136, 6144, 8},
        {1, "target/layers/7/o", "model.layers.7.self_attn.o_proj.weight", 1, 6144, 16384, 1},
        {1, "target/layers/1/sinks", "model.layers.1.self_attn.attention_sink_bias", 1, 1, 128, 1},
        {1, "target/layers/69/experts/down", "model.layers.69.mlp.experts.5.down_proj.weight", 384, 6144, 2048, 1},
        {1, "target/layers/69/router_bias", "model.layers.69.mlp.gate.e_score_correction_bias", 1, 1, 384, 1},
        {1, "draft/fc", "fc.weight", 1, 6144, 30720, 1},
        {1, "draft/layers/4/q_norm", "layers.4.self_attn.q_norm.weight", 1, 1, 128, 1},
        {0, "target/layers/0/k", "model.layers.0.self_attn.k_proj.weight", 1, 768, 4096, 1},
        {0, "target/layers/1/k", "model.layers.1.self_attn.k_proj.weight", 1, 1536, 4096, 1},
        {0, "target/layers/0/gate", "model.layers.0.mlp.gate_proj.weight", 1, 16384, 4096, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        listed l;
        char source[SLIP_SOURCE_NAME];
        list(table[i].which, &l);
        const slip_weight_spec *w = find(&l, table[i].name);
        assert_non_null(w);
        assert_true(slip_convert_source_name(w, 0, 5, "", source));
        assert_string_equal(source, table[i].source);
        assert_true(w->experts == table[i].experts && w->rows == table[i].rows && w->columns == table[i].columns);
        assert_int_equal(w->chunks, table[i].chunks);
        assert_null(find(&l, table[i].which ? "target/layers/0/q" : "target/layers/0/qkv"));
        assert_null(find(&l, "target/layers/0/sinks")); /* global layers have none */
        free(l.weights);
    }
}

/* A drafter's second names. */
static void test_alternatives(void **state)
{
    (void)state;
    listed l;
    char source[SLIP_SOURCE_NAME];
    list(1, &l);
    assert_true(slip_convert_source_name(find(&l, "draft/fc"), 1, 0, "", source));
    assert_string_equal(source, "model.fc.weight");
    assert_false(slip_convert_source_name(find(&l, "draft/fc"), 2, 0, "", source));
    assert_false(slip_convert_source_name(find(&l, "target/embed"), 1, 0, "", source));
    assert_true(slip_convert_source_name(find(&l, "target/layers/2/experts/up"), 0, 17, "_scale", source));
    assert_string_equal(source, "model.layers.2.mlp.experts.17.up_proj.weight_scale");
    free(l.weights);
}

/* Elements that the ranks' programs read of each weight, all ranks together. */
static void count_elements(const listed *l, const slip_program *program, int64_t *elements)
{
    for (int32_t t = 0; t < program->tensor_count; t++) {
        const slip_tensor *tensor = &program->tensors[t];
        for (int32_t p = 0; p < tensor->parts; p++) {
            const slip_part *part = &program->parts[tensor->first_part + p];
            const slip_weight_spec *w = find(l, part->weight.name);
            int64_t experts = tensor->experts.first < 0 ? 1 : tensor->experts.count;
            assert_non_null(w);
            assert_true(w->row == part->weight.row && w->rows == part->weight.rows && w->columns == part->weight.columns);
            assert_true(part->rows.first + part->rows.count <= w->rows && tensor->columns.first + tensor->columns.count <= w->columns);
            elements[w - l->weights] += experts * part->rows.count * tensor->columns.count;
        }
    }
}

static void add_rank(const listed *l, int32_t ranks, int32_t rank, int64_t *elements)
{
    slip_placement placement;
    slip_program program;
    assert_int_equal(slip_placement_make(&l->model, ranks, ranks % 2 ? 1 : 2, rank, &placement), SLIP_OK);
    assert_int_equal(slip_program_target(&l->model, &placement, &program), SLIP_OK);
    count_elements(l, &program, elements);
    slip_program_free(&program);
    slip_placement_draft(&l->model, ranks, rank, &placement);
    assert_int_equal(slip_program_draft(&l->model, &placement, &program), SLIP_OK);
    count_elements(l, &program, elements);
    slip_program_free(&program);
}

/* What is cut is read once by all ranks together, what is not by each; on more ranks than K/V heads those have copies. The draft reads
 * the target's embedding and head as well, and one rank alone reads the mask embedding. */
static void test_programs_cover_the_weights(void **state)
{
    (void)state;
    for (int which = 0; which < SHAPES; which++)
        for (int32_t ranks = 1; ranks <= 8; ranks++) {
            listed l;
            list(which, &l);
            int64_t *elements = calloc(l.count, sizeof *elements);
            for (int32_t rank = 0; rank < ranks; rank++)
                add_rank(&l, ranks, rank, elements);
            for (size_t i = 0; i < l.count; i++) {
                const slip_weight_spec *w = &l.weights[i];
                int64_t whole = w->experts * w->rows * w->columns;
                bool copied = w->row->rows == SLIP_AXIS_K || w->row->rows == SLIP_AXIS_V || w->row->rows == SLIP_AXIS_QKV;
                if (w->row->rows == SLIP_AXIS_VOCABULARY)
                    whole *= 2;
                if (w->row->optional)
                    assert_int_equal(elements[i], whole);
                else if (w->row->cut == SLIP_CUT_NONE)
                    assert_true(elements[i] == ranks * whole);
                else if (!copied)
                    assert_int_equal(elements[i], whole);
                else
                    assert_in_range(elements[i], whole, ranks * whole);
            }
            free(elements);
            free(l.weights);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_are_well_formed),
        cmocka_unit_test(test_published_weights),
        cmocka_unit_test(test_alternatives),
        cmocka_unit_test(test_programs_cover_the_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
