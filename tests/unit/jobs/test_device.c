/* --device and what follows from it. Whether there is a GPU depends on the machine; what is refused does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "jobs/device.h"

static void assert_refused(slip_options options, int ranks, const char *cause)
{
    const slip_executor_kind *kind = NULL;
    slip_clear();
    assert_int_equal(slip_device_choose(&options, ranks, ranks, &kind), SLIP_ERR_INPUT);
    assert_null(kind);
    if (!strstr(slip_cause(), cause))
        fail_msg("%s", slip_cause());
}

static const slip_executor_kind *chosen(slip_options options, int ranks)
{
    const slip_executor_kind *kind = NULL;
    slip_clear();
    if (slip_device_choose(&options, ranks, ranks, &kind) != SLIP_OK)
        fail_msg("%s", slip_cause());
    return kind;
}

static void test_cpu(void **state)
{
    (void)state;
    assert_ptr_equal(chosen((slip_options){.device = SLIP_DEVICE_CPU}, 1), &slip_executor_cpu);
    assert_ptr_equal(chosen((slip_options){.device = SLIP_DEVICE_CPU, .round_activations = true}, 3), &slip_executor_cpu);
    assert_ptr_equal(chosen((slip_options){0}, 1000), &slip_executor_cpu); /* a GPU a rank */
    assert_refused((slip_options){.device = SLIP_DEVICE_CPU, .shape = "pro"}, 1, "--shape");
    assert_refused((slip_options){.engine = SLIP_ENGINE_LAUNCH}, 1000, "--engine launch");
    assert_refused((slip_options){.profile = "p"}, 1000, "--profile");
}

static void test_cuda(void **state)
{
    (void)state;
    const char *why_not = NULL;
    bool present = slip_cuda_present(1, 1, &why_not);
    assert_ptr_equal(chosen((slip_options){0}, 1), present ? &slip_executor_cuda : &slip_executor_cpu);
    if (present) {
        assert_ptr_equal(chosen((slip_options){.device = SLIP_DEVICE_CUDA, .engine = SLIP_ENGINE_LAUNCH}, 1), &slip_executor_cuda);
        assert_refused((slip_options){.device = SLIP_DEVICE_CUDA}, 1000, "1000 ranks on this host");
        assert_refused((slip_options){.round_activations = true}, 1, "--round-activations");
    } else {
        assert_true(why_not && *why_not);
        assert_refused((slip_options){.device = SLIP_DEVICE_CUDA}, 1, why_not);
        assert_refused((slip_options){.shape = "flash"}, 1, why_not);
    }
}

#ifndef SLIP_CUDA
static void test_a_build_without(void **state)
{
    (void)state;
    slip_executor *executor = NULL;
    const slip_program program = {.cache = {{.kv_heads = 2, .head_dim = 32, .v_head_dim = 32}}, .cache_count = 1};
    const slip_limits limits = {.rows = 8, .sequences = 1, .span_rows = 8, .context = 100, .kv_tokens = 100};
    slip_clear();
    assert_int_equal(slip_executor_cuda.create(&program, &limits, NULL, NULL, &executor), SLIP_ERR_INPUT);
    assert_string_equal(slip_cause(), "--device cuda: this build computes on CPUs only");
    assert_int_equal(slip_executor_cuda.cache_bytes(&program, &limits), 100 * 2 * (32 + 32) * 2);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_cuda),
#ifndef SLIP_CUDA
        cmocka_unit_test(test_a_build_without),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
