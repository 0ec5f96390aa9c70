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

static void test_log_lines(void **state)
{
    (void)state;
    slip_progress progress = start(16, 0);
    FILE *stream = progress.stream;
    for (int second = 0; second <= 25; second++)
        slip_progress_update(&progress, &(slip_progress_counts){.done = 4, .failed = 1, .tokens = 1000}, 100 + second);
    assert_string_equal(text, "progress: 4/16 done, 1 failed, 1000 tokens, 100.0 tokens/s, ETA 0:30\n"
                              "progress: 4/16 done, 1 failed, 1000 tokens, 50.0 tokens/s, ETA 1:00\n");
    slip_progress_finish(&progress, &(slip_progress_counts){.done = 16, .failed = 1, .tokens = 4096}, 132);
    assert_non_null(strstr(text, "progress: 16/16 done, 1 failed, 4096 tokens, 128.0 tokens/s, ETA 0:00\n"));
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
    assert_non_null(strstr(text, "900/1000 done, 0 failed, 0 tokens, 0.0 tokens/s, ETA unknown\n"));
    slip_progress_update(&progress, &(slip_progress_counts){.done = 901, .tokens = 5}, 200);
    assert_non_null(strstr(text, "ETA 2:45:00\n"));
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
    assert_string_equal(drawn, "\r[######..................] 2/8 done, 0 failed, 10 tokens, 99.0 tokens/s, ETA 0:00\033[K"
                               "\r[########################] 8/8 done, 0 failed, 80 tokens, 40.0 tokens/s, ETA 0:00\033[K\n");
    draw(20, drawn, sizeof drawn);
    assert_string_equal(drawn, "\r2/8 done, 0 failed,\033[K\r8/8 done, 0 failed,\033[K\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_skipped),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
