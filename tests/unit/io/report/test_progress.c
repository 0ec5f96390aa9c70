/* Progress on a log and on a terminal, with a clock of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/report/progress.h"

static char *text;
static size_t size;

static slip_progress start(size_t total, size_t skipped)
{
    slip_progress progress;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    slip_progress_start(&progress, stream, total, skipped, 100);
    return progress;
}

static char timeless[1024];

/* Every line begins with "progress: " and the time; a copy has a word in its place. */
static void hide_times(void)
{
    char *to = timeless;
    for (char *line = text; *line;) {
        int read = 0, y, mo, d, h, mi, sec;
        assert_int_equal(sscanf(line, "progress: %4d-%2d-%2dT%2d:%2d:%2dZ %n", &y, &mo, &d, &h, &mi, &sec, &read), 6);
        assert_int_equal(read, 31);
        size_t rest = strcspn(line + read, "\n") + 1;
        memmove(to, "progress: TIME ", 15);
        memmove(to + 15, line + read, rest);
        to += 15 + rest;
        line += (size_t)read + rest;
    }
    *to = '\0';
}

static void test_log_lines(void **state)
{
    (void)state;
    slip_progress progress = start(16, 0);
    FILE *stream = progress.stream;
    for (int second = 0; second <= 25; second++)
        slip_progress_update(&progress, &(slip_progress_counts){.done = 4, .failed = 1, .tokens = 1000}, 100 + second);
    hide_times();
    assert_string_equal(timeless, "progress: TIME 4/16 done, 1 failed, 0 refused, 1000 tokens, 100.0 tokens/s, ETA 0:30\n"
                                  "progress: TIME 4/16 done, 1 failed, 0 refused, 1000 tokens, 50.0 tokens/s, ETA 1:00\n");
    slip_progress_finish(&progress, &(slip_progress_counts){.done = 16, .failed = 1, .tokens = 4096}, 132);
    assert_non_null(strstr(text, " 16/16 done, 1 failed, 0 refused, 4096 tokens, 128.0 tokens/s, ETA 0:00\n"));
    size_t before = size;
    slip_progress_finish(&progress, &(slip_progress_counts){.done = 16}, 140); /* once is enough */
    slip_progress_update(&progress, &(slip_progress_counts){.done = 16}, 200);
    fclose(stream);
    assert_int_equal(size, before);
    free(text);
}

/* Requests that an earlier run finished say nothing about the pace of this one. */
static void test_skipped(void **state)
{
    (void)state;
    slip_progress progress = start(1000, 900);
    FILE *stream = progress.stream;
    slip_progress_update(&progress, &(slip_progress_counts){.done = 900}, 110);
    assert_non_null(strstr(text, " 900/1000 done, 0 failed, 0 refused, 0 tokens, 0.0 tokens/s, ETA unknown\n"));
    slip_progress_update(&progress, &(slip_progress_counts){.done = 901, .tokens = 5}, 200);
    assert_non_null(strstr(text, "ETA 2:45:00\n"));
    fclose(stream);
    free(text);
}

/* What a line says beside the counts. */
static void test_more(void **state)
{
    (void)state;
    slip_progress progress = start(16, 0);
    FILE *stream = progress.stream;
    slip_progress_counts counts = {.done = 5, .failed = 3, .refused = 2, .tokens = 100, .acceptance = 2.5};
    slip_progress_update(&progress, &counts, 110);
    assert_non_null(strstr(text, " 5/16 done, 1 failed, 2 refused, 100 tokens, 10.0 tokens/s, acceptance 2.50, ETA 0:22\n"));
    counts.draining = true;
    counts.acceptance = 2.5;
    counts.in_flight = 3;
    counts.drain_left = 24.6;
    slip_progress_update(&progress, &counts, 120);
    assert_non_null(strstr(text, " draining: 3 in flight, at most 25 s; 5/16 done, 1 failed, 2 refused, 100 tokens, acceptance 2.50\n"));
    slip_progress_update(&progress, &(slip_progress_counts){.done = 8, .tokens = 8, .of_text = true}, 130);
    assert_non_null(strstr(text, " 8/16 tokens done, 0.3 tokens/s, ETA 0:30\n"));
    fclose(stream);
    free(text);
}

/* Reading and loading: nothing before ten seconds, and nothing at the end. */
static void test_work(void **state)
{
    (void)state;
    slip_progress progress = start(0, 0);
    FILE *stream = progress.stream;
    slip_progress_bytes(&progress, "loading", 10000000000, 40000000000, 104);
    slip_progress_items(&progress, "requests read", 1024, 109.9);
    fflush(stream);
    assert_int_equal(size, 0);
    slip_progress_bytes(&progress, "loading", 10000000000, 40000000000, 110);
    slip_progress_items(&progress, "requests read", 1024, 120);
    slip_progress_bytes(&progress, "loading", 0, 40000000000, 130);
    slip_progress_clear(&progress);
    hide_times();
    assert_string_equal(timeless, "progress: TIME loading: 10.00 of 40.00 GB, 1.00 GB/s, ETA 0:30\n"
                                  "progress: TIME 1024 requests read\n"
                                  "progress: TIME loading: 0.00 of 40.00 GB, 0.00 GB/s, ETA unknown\n");
    slip_progress_bytes(NULL, "loading", 1, 2, 1000);
    fclose(stream);
    free(text);
}

static void test_silent(void **state)
{
    (void)state;
    slip_progress progress;
    slip_progress_start(&progress, NULL, 5, 0, 0);
    slip_progress_update(&progress, &(slip_progress_counts){.done = 1}, 1000);
    slip_progress_finish(&progress, &(slip_progress_counts){.done = 5}, 2000);
    slip_progress_items(&progress, "requests read", 1, 3000);
    slip_progress_clear(&progress);
    assert_null(progress.stream);
}

/* Draw on a pseudo terminal of `columns`; what came out is in `drawn`. */
static void draw(unsigned short columns, char *drawn, size_t room)
{
    int master, slave;
    struct winsize window = {.ws_row = 24, .ws_col = columns};
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &window), 0);
    struct termios raw;
    assert_int_equal(tcgetattr(slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    FILE *stream = fdopen(slave, "w");
    assert_non_null(stream);
    slip_progress progress;
    slip_progress_start(&progress, stream, 8, 0, 0);
    assert_true(progress.terminal);
    for (int tick = 0; tick < 10; tick++) /* a tenth of a second in all: one redraw */
        slip_progress_update(&progress, &(slip_progress_counts){.done = 2, .tokens = 10}, 0.0101 * (tick + 1));
    slip_progress_finish(&progress, &(slip_progress_counts){.done = 8, .tokens = 80}, 2);
    fclose(stream);
    /* A terminal hands over what it likes at a time; once the writer is gone, reading ends in an error. */
    size_t size_drawn = 0;
    for (ssize_t got; (got = read(master, drawn + size_drawn, room - 1 - size_drawn)) > 0;)
        size_drawn += (size_t)got;
    drawn[size_drawn] = '\0';
    close(master);
}

static void test_terminal(void **state)
{
    (void)state;
    char drawn[1024];
    draw(120, drawn, sizeof drawn);
    assert_string_equal(drawn, "\r[######..................] 2/8 done, 0 failed, 0 refused, 10 tokens, 99.0 tokens/s, ETA 0:00\033[K"
                               "\r[########################] 8/8 done, 0 failed, 0 refused, 80 tokens, 40.0 tokens/s, ETA 0:00\033[K\n");
    draw(20, drawn, sizeof drawn);
    assert_string_equal(drawn, "\r2/8 done, 0 failed,\033[K\r8/8 done, 0 failed,\033[K\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_lines), cmocka_unit_test(test_skipped), cmocka_unit_test(test_more),
        cmocka_unit_test(test_work),      cmocka_unit_test(test_silent),  cmocka_unit_test(test_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
