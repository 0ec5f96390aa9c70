/* A trace: what is written comes back, across runs and after a SIGKILL; what is no trace is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hdf5.h>

#include "io/base/clock.h"
#include "io/checkpoint/hdf5.h"
#include "io/report/trace/read.h"
#include "io/report/trace/trace.h"

enum { EXPERTS = 4 };

static char path[] = "/tmp/slipstream-trace-XXXXXX";
static int64_t picks[3 * EXPERTS];

static void fresh(void)
{
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
}

static slip_status begin(const char *hash, slip_trace **trace)
{
    slip_trace_run run = {.started_monotonic = slip_now_s(), .started_unix = 1.5e9, .requests = 3, .ranks = 2};
    const slip_trace_experts experts = {.picks = picks, .layers = {1, 2}, .count = 2, .experts = EXPERTS};
    slip_trace_text(run.run_hash, sizeof run.run_hash, hash);
    slip_trace_text(run.model, sizeof run.model, "model.h5");
    slip_status status = slip_trace_open(path, hash, trace);
    return status == SLIP_OK ? slip_trace_begin(*trace, &run, &experts) : status;
}

static void add_rows(slip_trace *trace, int64_t from, int64_t count)
{
    for (int64_t i = from; i < from + count; i++) {
        slip_trace_request request = {.request = i, .status = 200, .total_ms = 0.5 * (double)i};
        snprintf(request.custom_id, sizeof request.custom_id, "name-%lld", (long long)i);
        slip_trace_add_step(trace, (slip_trace_step){.step = i, .tokens = 3, .step_ms = 1.25});
        slip_trace_add_block(trace, (slip_trace_block){.step = i, .drafts = 7, .accepted = (int32_t)(i % 8)});
        slip_trace_add_request(trace, request);
    }
}

static void check_rows(const slip_trace_data *data, int64_t count)
{
    assert_int_equal(data->step_count, count);
    assert_int_equal(data->block_count, count);
    assert_int_equal(data->request_count, count);
    for (int64_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "name-%lld", (long long)i);
        assert_int_equal(data->steps[i].step, i);
        assert_true(data->steps[i].step_ms == 1.25);
        assert_int_equal(data->blocks[i].accepted, i % 8);
        assert_string_equal(data->requests[i].custom_id, name);
        assert_true(data->requests[i].total_ms == 0.5 * (double)i);
    }
}

/* More rows than the buffers and chunks hold, in two runs. */
static void test_two_runs(void **state)
{
    (void)state;
    slip_trace *trace;
    slip_trace_data data;
    fresh();
    assert_false(slip_trace_is(path));
    memset(picks, 0, sizeof picks);
    picks[1 * EXPERTS + 3] = 5;
    assert_int_equal(begin("hash", &trace), SLIP_OK);
    add_rows(trace, 0, 9000);
    slip_trace_count(trace, 2, 1);
    assert_int_equal(slip_trace_tick(trace), SLIP_OK);
    assert_int_equal(slip_trace_close(trace, "stopped"), SLIP_OK);
    assert_true(slip_trace_is(path));

    picks[1 * EXPERTS + 3] = 2;
    picks[2 * EXPERTS] = 7;
    assert_int_equal(begin("hash", &trace), SLIP_OK);
    add_rows(trace, 9000, 10);
    slip_trace_take_back(trace, 2);
    assert_int_equal(slip_trace_close(trace, "done"), SLIP_OK);

    assert_int_equal(slip_trace_read(path, &data), SLIP_OK);
    check_rows(&data, 9010);
    assert_int_equal(data.run_count, 2);
    assert_string_equal(data.runs[0].state, "stopped");
    assert_int_equal(data.runs[0].finished, 2);
    assert_string_equal(data.runs[1].state, "done");
    assert_string_equal(data.runs[1].model, "model.h5");
    assert_int_equal(data.steps[8999].run, 1);
    assert_int_equal(data.steps[9000].run, 2);
    assert_true(data.steps[9008].tokens == 3 && data.steps[9009].tokens == 1);
    assert_int_equal(data.layer_count, 2);
    assert_int_equal(data.layers[1], 2);
    assert_int_equal(data.picks[3], 7);
    assert_int_equal(data.picks[EXPERTS], 7);
    slip_trace_data_free(&data);
    unlink(path);
}

static void test_other_run(void **state)
{
    (void)state;
    slip_trace *trace;
    fresh();
    assert_int_equal(begin("hash", &trace), SLIP_OK);
    assert_int_equal(slip_trace_close(trace, "done"), SLIP_OK);
    slip_clear();
    assert_int_equal(slip_trace_open(path, "another", &trace), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "run_hash: hash"));
    slip_clear();
    unlink(path);
}

/* What was written before a kill is there, to read and to go on with; rows that waited are lost. */
static void test_killed(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        slip_trace *trace;
        slip_trace_data data;
        int ready[2];
        char byte;
        fresh();
        assert_int_equal(pipe(ready), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            if (begin("hash", &trace) != SLIP_OK)
                _exit(1);
            add_rows(trace, 0, 8192 + 1000 * round);
            if (write(ready[1], "r", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(ready[0]);
        close(ready[1]);

        assert_int_equal(slip_trace_read(path, &data), SLIP_OK);
        assert_string_equal(data.runs[0].state, "running");
        assert_true(data.request_count >= 7680); /* the buffer of 512 rows was full so often */
        for (int64_t i = 0; i < data.request_count; i++)
            assert_int_equal(data.requests[i].request, i);
        slip_trace_data_free(&data);
        assert_int_equal(begin("hash", &trace), SLIP_OK);
        assert_int_equal(slip_trace_close(trace, "done"), SLIP_OK);
        assert_int_equal(slip_trace_read(path, &data), SLIP_OK);
        assert_int_equal(data.run_count, 2);
        assert_string_equal(data.runs[0].state, "killed"); /* another followed it */
        assert_string_equal(data.runs[1].state, "done");
        slip_trace_data_free(&data);
        unlink(path);
    }
}

/* Replace a dataset of a whole trace by another, and read. */
static void refuse(const char *name, hid_t type, int dims, const char *cause)
{
    slip_trace *trace;
    slip_trace_data data;
    hsize_t size[2] = {2, 2};
    fresh();
    assert_int_equal(begin("hash", &trace), SLIP_OK);
    assert_int_equal(slip_trace_close(trace, "done"), SLIP_OK);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate_simple(dims, size, NULL);
    assert_true(H5Ldelete(file, name, H5P_DEFAULT) >= 0);
    if (type >= 0)
        H5Dclose(H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Sclose(space);
    H5Fclose(file);
    slip_clear();
    assert_int_equal(slip_trace_read(path, &data), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), cause));
    slip_clear();
    unlink(path);
}

static void test_refused(void **state)
{
    (void)state;
    slip_trace_data data;
    slip_hdf5_prepare();
    refuse("steps", -1, 1, "/steps: not there");
    refuse("steps", H5T_IEEE_F32LE, 1, "/steps: not a table of 13 columns");
    refuse("runs", H5T_STD_I64LE, 2, "/runs: not a table");
    refuse("expert_load", H5T_STD_I64LE, 2, "/expert_load: not plain numbers of 3 dimensions");
    refuse("expert_layers", H5T_STD_I64LE, 1, "/expert_layers: not plain numbers");
    assert_int_equal(slip_trace_read("jobs/demo/model.h5", &data), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "jobs/demo/model.h5: format: "));
    slip_clear();
    assert_int_equal(slip_trace_read("README.md", &data), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "README.md: not an HDF5 file"));
    slip_clear();
}

/* What does not fit is cut between characters. */
static void test_text(void **state)
{
    (void)state;
    char field[8];
    slip_trace_text(field, sizeof field, "abcdef\xc3\xa4");
    assert_string_equal(field, "abcdef");
    slip_trace_text(field, sizeof field, "abcde\xc3\xa4");
    assert_string_equal(field, "abcde\xc3\xa4");
    slip_trace_text(field, sizeof field, "x");
    assert_memory_equal(field, "x\0\0\0\0\0\0", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_runs), cmocka_unit_test(test_other_run), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
