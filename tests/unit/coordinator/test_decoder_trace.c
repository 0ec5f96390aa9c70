/* What a trace and the metrics say of the same steps comes of one reading of the clock: it may not matter what the machine did in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "decoder_machine.h"
#include "folder.h"
#include "io/base/clock.h"
#include "io/report/trace/read.h"
#include "io/report/trace/trace.h"

double __real_slip_now_s(void);
double __wrap_slip_now_s(void);

static bool jumps;

/* Whoever reads the clock anew does so a second later; the decoder's own steps go by slip_now_ms(). */
double __wrap_slip_now_s(void)
{
    static int readings;
    return __real_slip_now_s() + (jumps ? ++readings : 0);
}

static slip_trace *start_trace(const char *path)
{
    slip_trace *trace;
    const slip_trace_run run = {.started_monotonic = __real_slip_now_s(), .run_hash = "hash"};
    const slip_trace_experts none = {0};
    assert_int_equal(slip_trace_open(path, "hash", &trace), SLIP_OK);
    assert_int_equal(slip_trace_begin(trace, &run, &none), SLIP_OK);
    return trace;
}

static void test_one_clock(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    static answer answers[QUERIES];
    folder *at = folder_make();
    slip_trace *trace = start_trace(folder_join(at, "run.h5"));
    slip_trace_data data;
    machine m;
    machine_make(checkpoint, model, &(setting){.draft = true, .sequences = 2, .chunk = 64, .trace = trace}, &m);
    jumps = true;
    decode_all(&m, model, 2, false, answers);
    jumps = false;
    double seconds = slip_decoder_metrics(m.decoder)->seconds;
    machine_free(&m);
    assert_int_equal(slip_trace_close(trace, "done"), SLIP_OK);
    assert_int_equal(slip_trace_read(folder_join(at, "run.h5"), &data), SLIP_OK);
    assert_true(data.step_count > 10);
    double first = data.steps[0].seconds - 1e-3 * data.steps[0].step_ms, last = data.steps[data.step_count - 1].seconds;
    assert_true(fabs(last - first - seconds) < 1e-6);
    slip_trace_data_free(&data);
    folder_remove(at);
}

static int open_fixture(void **state)
{
    return tiny_checkpoint_open(state, "pro-split-bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_clock)};
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
