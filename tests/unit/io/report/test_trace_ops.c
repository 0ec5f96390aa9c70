/* What every op computed, written and read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/report/trace_ops.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_model.h"

enum { HIDDEN = 64 };

static slip_step step;
static char path[64];
static const int32_t tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8};

/* The target of the tiny model on one rank, watched. */
typedef struct {
    slip_model model;
    slip_program program;
    slip_executor *executor;
} watched;

static void watched_make(slip_trace_ops *trace, watched *w)
{
    slip_placement placement;
    slip_limits limits = {.rows = 8, .logit_rows = 8, .sequences = 1, .span_rows = 8, .context = 32, .kv_tokens = 32};
    slip_trace_lane *lane = slip_trace_ops_lane(trace, SLIP_TRACE_TARGET);
    slip_executor_options options = {.watch = slip_trace_ops_watch, .watch_context = lane};
    tiny_model_shape(HIDDEN, &w->model);
    assert_int_equal(slip_placement_make(&w->model, 1, 1, 0, &placement), SLIP_OK);
    assert_int_equal(slip_program_target(&w->model, &placement, &w->program), SLIP_OK);
    w->executor = tiny_model_executor(&w->program, &limits, NULL, &options);
    slip_trace_ops_follow(lane, &w->program);
}

static void watched_run(watched *w, int64_t position, int32_t count, int32_t heads)
{
    slip_run_cost cost;
    tiny_step_start(&step);
    tiny_step_add(&step, 0, position, tokens, count, heads);
    assert_int_equal(slip_executor_run(&slip_executor_cpu, w->executor, SLIP_PHASE_RUN, &step, &cost), SLIP_OK);
}

/* A dataset of exactly this shape; the caller frees it. */
static float *read_back(hid_t file, const char *name, hsize_t rows, hsize_t columns)
{
    hsize_t size[2];
    hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set < 0)
        fail_msg("%s is missing", name);
    hid_t space = H5Dget_space(set);
    assert_int_equal(H5Sget_simple_extent_ndims(space), 2);
    H5Sget_simple_extent_dims(space, size, NULL);
    if (size[0] != rows || size[1] != columns)
        fail_msg("%s is %d x %d", name, (int)size[0], (int)size[1]);
    float *values = malloc(rows * columns * sizeof *values);
    assert_non_null(values);
    assert_true(H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return values;
}

static hsize_t links(hid_t file, const char *name)
{
    H5G_info_t info;
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    assert_true(group >= 0 && H5Gget_info(group, &info) >= 0);
    H5Gclose(group);
    return info.nlinks;
}

/* Every op of both steps is there once, as wide as what it wrote; the last one is what the executor still holds. */
static void test_steps(void **state)
{
    (void)state;
    slip_trace_ops *trace;
    watched w;
    char name[96];
    assert_int_equal(slip_trace_ops_create(path, slip_op_name, &trace), SLIP_OK);
    watched_make(trace, &w);
    watched_run(&w, 0, 5, 1);
    watched_run(&w, 5, 3, 3);
    assert_int_equal(slip_trace_ops_finish(trace), SLIP_OK);
    slip_trace_ops_free(trace);

    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    assert_int_equal(links(file, "/steps"), 2);
    assert_int_equal(links(file, "/draft"), 0);
    assert_int_equal(links(file, "/steps/1"), w.program.op_count);
    assert_int_equal(links(file, "/steps/2"), w.program.op_count);
    free(read_back(file, "/steps/1/0000_EMBED_-1/PARTIAL", 5, HIDDEN));
    free(read_back(file, "/steps/1/0001_ALLREDUCE_-1/X", 5, HIDDEN));
    /* Layer 0: 6 query heads of 24, 3 K/V heads of 24 and 32; dense of 96. */
    free(read_back(file, "/steps/2/0003_LINEAR_0/QKV", 3, 6 * 24 + 3 * (24 + 32)));
    free(read_back(file, "/steps/2/0004_ROPE_STORE_0/QKV", 3, 6 * 24 + 3 * (24 + 32)));
    free(read_back(file, "/steps/2/0005_ATTEND_0/HEADS", 3, 6 * 32));
    free(read_back(file, "/steps/2/0009_LINEAR_0/GATE_UP", 3, 2 * 96));
    free(read_back(file, "/steps/2/0010_SWIGLU_0/ACT", 3, 96));
    snprintf(name, sizeof name, "/steps/2/%04d_LINEAR_-1/LOGITS", w.program.op_count - 1);
    float *logits = read_back(file, name, 3, TINY_VOCABULARY);
    for (int32_t i = 0; i < 3; i++)
        assert_memory_equal(logits + i * TINY_VOCABULARY, slip_executor_cpu.row(w.executor, SLIP_BUFFER_LOGITS, i),
                            TINY_VOCABULARY * sizeof *logits);
    free(logits);
    H5Fclose(file);
    slip_executor_cpu.destroy(w.executor);
    slip_program_free(&w.program);
}

/* The second tap: its own columns alone, which are the residual stream. */
static void test_tap(void **state)
{
    (void)state;
    slip_trace_ops *trace;
    watched w;
    char name[96];
    int32_t tap = 0;
    assert_int_equal(slip_trace_ops_create(path, slip_op_name, &trace), SLIP_OK);
    watched_make(trace, &w);
    watched_run(&w, 0, 4, 0);
    assert_int_equal(slip_trace_ops_finish(trace), SLIP_OK);
    slip_trace_ops_free(trace);
    for (int32_t i = 0; i < w.program.op_count; i++)
        tap = w.program.ops[i].kind == SLIP_OP_TAP ? i : tap;
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    snprintf(name, sizeof name, "/steps/1/%04d_TAP_3/TAPS", tap);
    float *taps = read_back(file, name, 4, HIDDEN);
    for (int32_t i = 0; i < 4; i++)
        assert_memory_equal(taps + i * HIDDEN, slip_executor_cpu.row(w.executor, SLIP_BUFFER_X, i), HIDDEN * sizeof *taps);
    free(taps);
    /* Nobody wanted logits: the ops of head rows wrote nothing. */
    assert_int_equal(links(file, "/steps/1"), w.program.op_count - 3);
    H5Fclose(file);
    slip_executor_cpu.destroy(w.executor);
    slip_program_free(&w.program);
}

static void test_no_such_folder(void **state)
{
    (void)state;
    slip_trace_ops *trace;
    slip_clear();
    assert_int_equal(slip_trace_ops_create("no/such/folder/ops.h5", slip_op_name, &trace), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "no/such/folder/ops.h5"));
}

static int start(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/slipstream-test-XXXXXX");
    int file = mkstemp(path);
    return file < 0 || close(file) != 0 ? -1 : 0;
}

static int finish(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps), cmocka_unit_test(test_tap), cmocka_unit_test(test_no_such_folder)};
    return cmocka_run_group_tests(tests, start, finish);
}
