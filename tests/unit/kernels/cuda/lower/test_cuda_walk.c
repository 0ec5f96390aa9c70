/* A draft with an in-block head as a list of device ops: its SAMPLE finds candidates by slices, and rank 0 has what it walks with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lowered.h"

enum { MARKOV = 24 };

static const slip_cuda_sample *sample_of(const lowered *l)
{
    const slip_cuda_op *op = &l->list.ops[l->list.sample];
    assert_int_equal(op->kind, SLIP_CUDA_SAMPLE);
    return &op->sample;
}

static void check(int32_t ranks, int32_t rank)
{
    lowered l;
    make_headed(&l, true, ranks, rank, SLIP_BF16, MARKOV);
    const slip_cuda_sample *sample = sample_of(&l);
    assert_true(sample->walk.slots == l.model.draft.block - 1 && sample->walk.rank == MARKOV);
    assert_int_equal(sample->walk.alone, ranks == 1);
    assert_int_equal(sample->walk.previous != NULL, rank == 0);
    assert_int_equal(sample->walk.following != NULL, rank == 0);
    assert_int_equal(sample->walk.vocabulary, rank == 0 ? TINY_VOCABULARY : 0);
    /* What is allocated next lies behind all candidates of the largest step. */
    const size_t room = (size_t)((const unsigned char *)sample->highest - (const unsigned char *)sample->candidates);
    assert_true(room >= (size_t)l.limits.logit_rows * SLIP_SLICES * sizeof(slip_candidate));
    unmake(&l);
}

static void test_ops(void **state)
{
    (void)state;
    check(1, 0);
    check(3, 0);
    check(3, 2);
}

static void test_without(void **state)
{
    (void)state;
    lowered l;
    make(&l, true, SLIP_BF16);
    assert_int_equal(sample_of(&l)->walk.slots, 0);
    unmake(&l);
}

/* They lie in rows, not in tiles. */
static void test_tables(void **state)
{
    (void)state;
    lowered l;
    slip_cuda_weights weights;
    make_headed(&l, true, 1, 0, SLIP_BF16, MARKOV);
    assert_int_equal(slip_cuda_weights_make(&l.program, &weights), SLIP_OK);
    const slip_weight form = {.dtype = SLIP_BF16, .experts = 1, .rows = TINY_VOCABULARY, .columns = MARKOV};
    const int32_t tables[] = {l.program.walk.previous, l.program.walk.following};
    for (int i = 0; i < 2; i++) {
        assert_false(slip_cuda_weights_is_matrix(&weights, tables[i]));
        assert_int_equal(slip_cuda_weights_plan(&weights, tables[i], &form), SLIP_OK);
        assert_int_equal(slip_cuda_weights_bytes(&weights, tables[i], 5), 5 * MARKOV * 2);
    }
    slip_cuda_weights_free(&weights);
    unmake(&l);
}

static void test_refused(void **state)
{
    (void)state;
    lowered l;
    slip_cuda_block block = {0};
    make_headed(&l, true, 1, 0, SLIP_BF16, MARKOV);
    free(l.list.ops);
    l.tensors[l.program.walk.following].table_f32 = true;
    assert_int_equal(slip_cuda_lower(&l.source, &block, &l.list), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "an in-block head in f32 is not supported"));
    slip_clear();
    l.list.ops = NULL;
    unmake(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ops), cmocka_unit_test(test_without), cmocka_unit_test(test_tables),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
