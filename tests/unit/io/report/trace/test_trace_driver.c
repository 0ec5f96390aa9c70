/* A trace is whole between any two writes to its file: what a SIGKILL there would leave is copied, and read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/base/clock.h"
#include "io/report/trace/read.h"
#include "io/report/trace/trace.h"

enum { CHUNK = 512, FLUSHES = 68, COPIES = 200 }; /* 64 chunks fill the root of an index: then it splits */

static char path[] = "/tmp/slipstream-trace-XXXXXX";
static int64_t picks[4];
static int copies = -1; /* made since the last flush; -1: none are wanted */

static void copy_name(int copy, char name[64])
{
    snprintf(name, 64, "%s.%d", path, copy);
}

static void keep_copy(void)
{
    char name[64];
    struct stat info;
    copy_name(copies++, name);
    assert_true(copies < COPIES);
    int from = open(path, O_RDONLY), to = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(from >= 0 && to >= 0 && fstat(from, &info) == 0);
    for (ssize_t sent = 1, left = info.st_size; left > 0 && sent > 0; left -= sent)
        sent = sendfile(to, from, NULL, (size_t)left);
    close(from);
    close(to);
}

/* What our driver writes with. */
ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset)
{
    if (copies >= 0)
        keep_copy();
    return syscall(SYS_pwrite64, file, bytes, size, offset);
}

/* The rows of `flushes` flushes, or the next one's, too. */
static void check_copy(const char *name, int64_t flushes)
{
    slip_trace_data data;
    if (slip_trace_read(name, &data) != SLIP_OK)
        fail_msg("after %lld flushes: %s", (long long)flushes, slip_cause());
    assert_int_equal(data.run_count, 1);
    assert_true(data.request_count == flushes * CHUNK || data.request_count == (flushes + 1) * CHUNK);
    for (int64_t i = 0; i < data.request_count; i++)
        assert_int_equal(data.requests[i].request, i);
    slip_trace_data_free(&data);
}

/* Before its first flush is done a file is no trace. */
static void check_copies(int64_t flushes)
{
    char name[64];
    bool is = flushes > 0;
    for (int i = 0; i < copies; i++) {
        copy_name(i, name);
        is = is || slip_trace_is(name);
        if (is)
            check_copy(name, flushes);
        unlink(name);
    }
}

static void watched_flush(slip_trace *trace, int64_t flush)
{
    const slip_trace_request row = {.request = (flush + 1) * CHUNK};
    bool watched = flush < 3 || flush > FLUSHES - 6;
    copies = watched ? 0 : -1;
    slip_trace_add_request(trace, row); /* one more than fits */
    if (watched)
        assert_true(copies > 3);
    check_copies(flush);
    copies = -1;
}

static void test_any_moment(void **state)
{
    const slip_trace_run run = {.started_monotonic = slip_now_s(), .run_hash = "hash"};
    const slip_trace_experts experts = {.picks = picks, .layers = {0}, .count = 1, .experts = 4};
    slip_trace *trace;
    (void)state;
    close(mkstemp(path));
    assert_int_equal(slip_trace_open(path, "hash", &trace), SLIP_OK);
    copies = 0;
    assert_int_equal(slip_trace_begin(trace, &run, &experts), SLIP_OK);
    check_copies(0);
    copies = -1;
    for (int64_t flush = 0; flush < FLUSHES; flush++) {
        for (int64_t row = flush == 0 ? 0 : 1; row < CHUNK; row++)
            slip_trace_add_request(trace, (slip_trace_request){.request = flush * CHUNK + row});
        watched_flush(trace, flush);
    }
    assert_int_equal(slip_trace_close(trace, "done"), SLIP_OK);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_moment)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
