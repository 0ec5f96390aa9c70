/* What is counted of a program before there is a GPU is what lowering takes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "comm/exchange.h"
#include "kernels/cuda/lower/work.h"
#include "kernels/cuda/layout/cache.h"
#include "kernels/cuda/layout/mail.h"
#include "lowered.h"

static slip_weight *forms_of(const slip_program *program, slip_dtype dtype)
{
    slip_weight *forms = calloc((size_t)program->tensor_count, sizeof *forms);
    assert_non_null(forms);
    for (int32_t i = 0; i < program->tensor_count; i++) {
        const slip_tensor *t = &program->tensors[i];
        forms[i] = (slip_weight){.dtype = dtype, .experts = 1, .rows = t->rows, .columns = t->columns.count};
    }
    return forms;
}

/* A draft has neither taps nor an arena of its own: its buffers are all. */
static void test_draft(void **state)
{
    (void)state;
    for (int32_t ranks = 1; ranks <= 2; ranks++) {
        lowered l;
        make_share(&l, true, ranks, ranks - 1, SLIP_BF16);
        for (int32_t i = 0; i < l.program.cache_count; i++)
            l.caches[i] = slip_cuda_cache_of(&l.program.cache[i], &l.limits);
        lower(&l);
        slip_weight *forms = forms_of(&l.program, SLIP_BF16);
        assert_int_equal(slip_cuda_work_bytes(&l.program, &l.limits, forms, ranks), l.block.used);
        free(forms);
        unmake(&l);
    }
}

static void test_target(void **state)
{
    (void)state;
    lowered l;
    make(&l, false, SLIP_BF16);
    slip_weight *forms = forms_of(&l.program, SLIP_BF16);
    uint64_t alone = slip_cuda_work_bytes(&l.program, &l.limits, forms, 1),
             together = slip_cuda_work_bytes(&l.program, &l.limits, forms, 2);
    uint64_t taps = (uint64_t)(SEQUENCES * slip_ring_slots(l.program.tap_window, &l.limits) * l.program.width[SLIP_BUFFER_TAPS]) *
                    sizeof(float);
    assert_true(l.program.tap_window > 0 && alone > taps);
    assert_true(together >= alone + slip_cuda_exchange_plan(2, l.limits.rows, l.model.hidden).bytes);
    l.limits.sequences *= 2;
    assert_true(slip_cuda_work_bytes(&l.program, &l.limits, forms, 1) >= alone + taps);
    l.limits.rows *= 2;
    assert_true(slip_cuda_work_bytes(&l.program, &l.limits, forms, 1) > alone + taps);
    free(forms);
    unmake(&l);
}

/* What the engine refuses takes nothing, and the refusal waits for whoever creates it. */
static void test_refused(void **state)
{
    (void)state;
    lowered l;
    make(&l, false, SLIP_BF16);
    slip_weight *forms = forms_of(&l.program, SLIP_BF16);
    l.program.cache[0].head_dim = 512;
    slip_clear();
    assert_int_equal(slip_cuda_work_bytes(&l.program, &l.limits, forms, 1), 0);
    assert_string_equal(slip_cause(), "");
    free(forms);
    unmake(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_draft), cmocka_unit_test(test_target), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
