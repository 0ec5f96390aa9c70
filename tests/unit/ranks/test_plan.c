/* The plan against what research found independently: expert counts, imbalance, bytes of a verify step, drafter sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "ranks/model/family.h"
#include "ranks/plan.h"

static void test_distinct_experts(void **state)
{
    (void)state;
    static const struct {
        int32_t tokens;
        double flash, pro, slack;
    } table[] = {{1, 8.0, 8.0, 0.001},  {2, 15.8, 15.8, 0.06}, {3, 23.3, 23.5, 0.06}, {4, 30.5, 31.0, 0.06},
                 {6, 44.4, 45.6, 0.06}, {8, 57.4, 59.5, 0.06}, {16, 102, 109.8, 0.3}};
    slip_model flash, pro;
    slip_shape_make("flash", &flash);
    slip_shape_make("pro", &pro);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_true(fabs(slip_plan_distinct(&flash, table[i].tokens) - table[i].flash) < table[i].slack);
        assert_true(fabs(slip_plan_distinct(&pro, table[i].tokens) - table[i].pro) < table[i].slack);
    }
}

/* 8 ranks in 8, 4, 2 and 1 groups: docs/design.md. */
static void test_imbalance(void **state)
{
    (void)state;
    static const double want[] = {1.50, 1.25, 1.10, 1.00};
    slip_model pro;
    slip_shape_make("pro", &pro);
    for (int i = 0; i < 4; i++)
        assert_true(fabs(slip_plan_imbalance(&pro, 8 >> i, 8) - want[i]) < 0.03);
    assert_true(slip_plan_imbalance(&pro, 8, 8) == slip_plan_imbalance(&pro, 8, 8)); /* every rank must find the same */
    pro.experts = 0;
    assert_true(slip_plan_imbalance(&pro, 8, 8) == 1);
}

static void test_step_adds_up(void **state)
{
    (void)state;
    slip_model pro;
    slip_step_plan p;
    slip_shape_make("pro", &pro);
    slip_plan_step(&pro, 8, 8, 8, &p);
    assert_true(p.ranks == 8 && p.slices == 8 && p.tokens == 8 && p.imbalance == 1);
    assert_true(fabs(p.bytes - (p.attention + p.dense + p.experts + p.router + p.head)) < 1);
    assert_true(fabs(p.step_us - (p.stream_us + p.exchange_us + p.handover_us + p.draft_us)) < 1e-6);
    assert_true(fabs(p.bytes / 13.8e9 - 1) < 0.04);          /* "about 110 GB, 13.8 GB a GPU" */
    assert_true(fabs(p.experts * 8 / 82e9 - 1) < 0.02);      /* roofline: experts 82 GB */
    assert_true(fabs(p.attention * 8 / 25.76e9 - 1) < 0.01); /* qkv 11.67 + o 14.09 */
    assert_true(fabs(p.head * 8 / 1.87e9 - 1) < 0.01 && fabs(p.router / 0.326e9 - 1) < 0.01);
    slip_plan_step(&pro, 8, 1, 8, &p);
    assert_true(fabs(p.experts * 8 / 82e9 - 1.5) < 0.04);
    slip_plan_step(&pro, 1, 1, 1, &p);
    assert_true(p.exchange_us == 0 && fabs(p.bytes / 39.3e9 - 1) < 0.02); /* one token: 39.3 GB */
}

/* The drafters as published, 1.468 and 2.77 thousand million values in bf16, and the target's head. */
static void test_draft_bytes(void **state)
{
    (void)state;
    slip_model model;
    slip_step_plan p;
    slip_shape_make("flash", &model);
    slip_plan_step(&model, 1, 1, 8, &p);
    assert_true(fabs(p.draft_bytes - 2.0 * 152576 * 4096 - 2936.1e6) < 1e6);
    slip_shape_make("pro", &model);
    slip_plan_step(&model, 8, 8, 8, &p);
    assert_true(fabs(8 * p.draft_bytes - 2.0 * 152576 * 6144 - 5.54e9) < 2e7); /* cut over the ranks */
    model.has_draft = false;
    slip_plan_step(&model, 8, 8, 8, &p);
    assert_true(p.draft_bytes == 0 && p.draft_us == 0);
}

static void test_chosen_slices_are_the_fastest(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++)
        for (int32_t ranks = 1; ranks <= 16; ranks++) {
            slip_model model;
            slip_step_plan best, other;
            slip_shape_make(which ? "pro" : "flash", &model);
            int32_t chosen = slip_plan_slices(&model, ranks);
            assert_true(slip_placement_allows(&model, ranks, chosen));
            slip_plan_step(&model, ranks, chosen, 8, &best);
            for (int32_t slices = 1; slices <= ranks; slices++)
                if (slip_placement_allows(&model, ranks, slices)) {
                    slip_plan_step(&model, ranks, slices, 8, &other);
                    assert_true(best.step_us <= other.step_us * (1 + 1e-12));
                }
        }
}

static void test_shapes(void **state)
{
    (void)state;
    slip_model flash, pro;
    slip_shape_make("flash", &flash);
    slip_shape_make("pro", &pro);
    int global_flash = 0, global_pro = 0;
    for (int32_t layer = 0; layer < 70; layer++) {
        global_flash += layer < 48 && !flash.is_sliding[layer];
        global_pro += !pro.is_sliding[layer];
        assert_true(pro.is_moe[layer] == (layer > 0));
    }
    assert_true(flash.layers == 48 && global_flash == 9 && pro.layers == 70 && global_pro == 10);
    for (int32_t i = 0; i < 5; i++) /* the taps of both drafters are global layers */
        assert_true(!flash.is_sliding[flash.draft.tap_layer[i]] && !pro.is_sliding[pro.draft.tap_layer[i]]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distinct_experts),
        cmocka_unit_test(test_imbalance),
        cmocka_unit_test(test_step_adds_up),
        cmocka_unit_test(test_draft_bytes),
        cmocka_unit_test(test_chosen_slices_are_the_fastest),
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
