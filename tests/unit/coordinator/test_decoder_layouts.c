/* The decoder's promise on the published layouts, and with blocks of any length: the same tokens with and without the drafter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/decoder.h"
#include "tiny_checkpoint.h"
#include "decoder_machine.h"

/* The published layouts, each with its drafter. */
static void test_layouts(void **state)
{
    tiny_checkpoint *checkpoint = *state;
    static const char *const layouts[] = {"v2-flash-split-fp8", "v2.5-fused-fp8", "v2.6-fused-mxfp4"};
    static const setting settings[] = {{.draft = true, .sequences = 1, .chunk = 64},
                                       {.draft = true, .sequences = 3, .chunk = 5, .paced = true}};
    answer plain[QUERIES], drafted[QUERIES];
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        assert_int_equal(tiny_checkpoint_change(checkpoint, layouts[i], NULL), SLIP_OK);
        const slip_model *model = &checkpoint->source.model;
        assert_true(model->has_draft && model->draft.mask_embedding);
        run_setting(checkpoint, model, &(setting){.sequences = 2, .chunk = 64}, false, plain);
        for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
            run_setting(checkpoint, model, &settings[k], false, drafted);
            assert_same(plain, drafted);
        }
    }
}

/* However much of each block is verified, in whatever steps. */
static void test_any_lengths(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    answer plain[QUERIES], other[QUERIES];
    int64_t drafts = 0, blocks = 0;
    run_setting(checkpoint, model, &(setting){.sequences = 1, .chunk = 64}, false, plain);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        const setting how = {
            .draft = true, .sequences = 1 + (int32_t)seed % 4, .chunk = seed % 3 ? 64 : 5, .lengths = seed, .ahead = seed % 2};
        run_setting(checkpoint, model, &how, seed % 4 == 1, other);
        assert_same(plain, other);
        for (int i = 0; i < QUERIES; i++) {
            drafts += other[i].acceptance.draft_tokens;
            blocks += other[i].acceptance.steps;
        }
    }
    assert_true(drafts > 3 * blocks && drafts < 5 * blocks); /* 1 to 7, each as often */
}

static int open_fixture(void **state)
{
    ahead_make();
    return tiny_checkpoint_open(state, "pro-split-bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_lengths), cmocka_unit_test(test_layouts)};
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
