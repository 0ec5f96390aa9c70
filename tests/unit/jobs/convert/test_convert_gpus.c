/* What convert --for-gpus checks before it writes: that GPUs take every shard, and that there is room for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "jobs/convert/for_gpus.h"
#include "ranks/load/shard.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_checkpoint.h"

static slip_status convert(slip_comm *comm, const char *from, const char *to, int32_t gpus, bool dry)
{
    slip_convert_options options = {
        .source_folder = from, .out_path = to, .for_gpus = gpus, .expert_slices = 1, .dry_run = dry, .quiet = true, .comm = comm};
    slip_clear();
    return slip_convert_run(&options);
}

/* A cut that a GPU cannot take is refused by the name of the weight, before anything is written. */
static void test_named(void **state)
{
    folder *at = folder_make();
    char model[256], cause[320];
    snprintf(model, sizeof model, "%s", folder_join(at, "model.h5"));
    snprintf(cause, sizeof cause, "%s: /target/layers/0/down: the GPU engine wants", model);
    for (int dry = 0; dry < 2; dry++) {
        slip_clear();
        assert_int_equal(convert(*state, "tests/golden/forward/fixtures/v2-flash-split-fp8", model, 2, dry), SLIP_ERR_INPUT);
        if (!strstr(slip_cause(), cause))
            fail_msg("%s", slip_cause());
        assert_int_not_equal(access(model, F_OK), 0);
    }
    slip_clear();
    folder_remove(at);
}

/* Before anything is packed it is known how much room that takes, so that no conversion ends on a full disk. */
static void test_room(void **state)
{
    folder *at = folder_make();
    char model[256], file[320];
    int64_t bytes, files = 0;
    slip_source source;
    struct stat info;
    snprintf(model, sizeof model, "%s", folder_join(at, "model.h5"));
    assert_int_equal(convert(*state, "tests/golden/forward/fixtures/pro-split-bf16", model, 2, false), SLIP_OK);
    slip_convert_options options = {.source_folder = model, .out_path = model, .for_gpus = 2, .expert_slices = 1, .comm = *state};
    assert_int_equal(slip_source_open(*state, model, &source), SLIP_OK);
    assert_int_equal(slip_convert_check_gpus(&options, &source.model, &source.table, &bytes), SLIP_OK);
    for (int i = 0; i < 4; i++) {
        snprintf(file, sizeof file, "%s.gpu/%s-%d-of-2.h5", model, i < 2 ? "target" : "draft", i % 2);
        assert_int_equal(stat(file, &info), 0);
        files += info.st_size;
    }
    assert_true(bytes >= files && bytes < 4 * files);
    slip_source_close(&source);
    folder_remove(at);
}

/* What packs knows what the engine refuses beyond the weights. */
static void test_prepared(void **state)
{
    folder *at = folder_make();
    char model[256];
    slip_source source;
    slip_placement placement;
    slip_program program;
    slip_packer_sink none = {0};
    slip_executor *packer;
    snprintf(model, sizeof model, "%s", folder_join(at, "model.h5"));
    assert_int_equal(convert(*state, "tests/golden/forward/fixtures/hf-odd-f32", model, 1, false), SLIP_OK);
    assert_int_equal(slip_source_open(*state, model, &source), SLIP_OK);
    assert_int_equal(slip_placement_make(&source.model, 1, 1, 0, &placement), SLIP_OK);
    assert_int_equal(slip_program_target(&source.model, &placement, &program), SLIP_OK);
    assert_int_equal(slip_packer_create(&program, &none, &packer), SLIP_OK);
    assert_int_equal(slip_shard_place(&source, &program, &slip_executor_packer, packer), SLIP_OK);
    assert_int_equal(slip_executor_packer.prepare(packer), SLIP_OK);
    program.cache[1].head_dim = 272;
    assert_int_equal(slip_executor_packer.prepare(packer), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "heads of 272"));
    slip_clear();
    slip_executor_packer.destroy(packer);
    slip_program_free(&program);
    slip_source_close(&source);
    folder_remove(at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_named), cmocka_unit_test(test_room), cmocka_unit_test(test_prepared)};
    return cmocka_run_group_tests(tests, tiny_comm_start, tiny_comm_finish);
}
