#include "io/report/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const double redraw_seconds = 0.1, line_seconds = 10;

enum { BAR = 24, LINE = 200 };

void slip_progress_start(slip_progress *progress, FILE *stream, size_t total, size_t skipped, double now)
{
    *progress = (slip_progress){.stream = stream, .total = total, .skipped = skipped, .started = now, .shown = now, .width = 80};
    if (stream == NULL || fileno(stream) < 0 || !isatty(fileno(stream)))
        return;
    struct winsize window;
    progress->terminal = true;
    if (ioctl(fileno(stream), TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        progress->width = window.ws_col;
}

double slip_progress_left(const slip_progress *progress, size_t done, double now)
{
    double elapsed = now - progress->started;
    size_t left = done < progress->total ? progress->total - done : 0;
    return done > progress->skipped ? elapsed * (double)left / (double)(done - progress->skipped) : -1;
}

/* "1:02:03" or "2:03" */
static void format_time(double left, char text[static 24])
{
    if (left < 0 || left > 1e8) {
        snprintf(text, 24, "unknown");
        return;
    }
    long seconds = (long)(left + 0.5);
    if (seconds >= 3600)
        snprintf(text, 24, "%ld:%02ld:%02ld", seconds / 3600, seconds / 60 % 60, seconds % 60);
    else
        snprintf(text, 24, "%ld:%02ld", seconds / 60, seconds % 60);
}

/* ", acceptance 2.64", or nothing while nothing was drafted. */
static void format_acceptance(const slip_progress_counts *counts, char text[static 32])
{
    text[0] = '\0';
    if (counts->acceptance > 0)
        snprintf(text, 32, ", acceptance %.2f", counts->acceptance);
}

/* "12/16 done, 1 failed, 2 refused, 512 tokens, 123.4 tokens/s, acceptance 2.64, ETA 0:04"; of a text "12/16 tokens done, 123.4 tokens/s,
 * ETA 0:04" */
static void format_state(const slip_progress *progress, const slip_progress_counts *counts, double now, char line[static LINE])
{
    char left[24], acceptance[32];
    double elapsed = now - progress->started;
    size_t done = counts->done < progress->total ? counts->done : progress->total;
    format_time(slip_progress_left(progress, done, now), left);
    double rate = elapsed > 0 ? (double)counts->tokens / elapsed : 0.0;
    if (counts->of_text) {
        snprintf(line, LINE, "%zu/%zu tokens done, %.1f tokens/s, ETA %s", done, progress->total, rate, left);
        return;
    }
    format_acceptance(counts, acceptance);
    snprintf(line, LINE, "%zu/%zu done, %zu failed, %zu refused, %lld tokens, %.1f tokens/s%s, ETA %s", done, progress->total,
             counts->failed - counts->refused, counts->refused, (long long)counts->tokens, rate, acceptance, left);
}

/* "draining: 3 in flight, at most 25 s; 12/16 done, 1 failed, 2 refused, 512 tokens, acceptance 2.64" */
static void format_drain(const slip_progress *progress, const slip_progress_counts *counts, char line[static LINE])
{
    char bound[48] = "", acceptance[32];
    format_acceptance(counts, acceptance);
    if (counts->drain_left > 0)
        snprintf(bound, sizeof bound, ", at most %.0f s", counts->drain_left);
    snprintf(line, LINE, "draining: %lld in flight%s; %zu/%zu done, %zu failed, %zu refused, %lld tokens%s", (long long)counts->in_flight,
             bound, counts->done, progress->total, counts->failed - counts->refused, counts->refused, (long long)counts->tokens,
             acceptance);
}

/* Redraw in place, cut to the window: a line that wraps could not be redrawn. The bar is the first to go. */
static void draw(const slip_progress *progress, double part, const char *line)
{
    size_t filled = (size_t)(part * BAR);
    char bar[BAR + 1] = "";
    memset(bar, '.', BAR);
    memset(bar, '#', filled < BAR ? filled : BAR);
    size_t room = progress->width - 1;
    if (part >= 0 && BAR + 3 + strlen(line) <= room)
        fprintf(progress->stream, "\r[%s] %s\033[K", bar, line);
    else
        fprintf(progress->stream, "\r%.*s\033[K", (int)room, line);
}

/* Write a line where it belongs; `part` is how much is done, from 0 to 1, negative: unknown. */
static void show(slip_progress *progress, double part, const char *line, double now)
{
    if (progress->terminal) {
        draw(progress, part, line);
        progress->drawn = true;
    } else {
        char when[32] = "";
        struct tm utc;
        time_t wall = time(NULL);
        if (gmtime_r(&wall, &utc))
            strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
        fprintf(progress->stream, "progress: %s %s\n", when, line);
    }
    fflush(progress->stream);
    progress->shown = now;
}

static bool is_due(const slip_progress *progress, double now)
{
    return progress && progress->stream && now - progress->shown >= (progress->terminal ? redraw_seconds : line_seconds);
}

static void show_counts(slip_progress *progress, const slip_progress_counts *counts, double now)
{
    char line[LINE];
    if (counts->draining)
        format_drain(progress, counts, line);
    else
        format_state(progress, counts, now, line);
    show(progress, progress->total > 0 ? (double)counts->done / (double)progress->total : 0, line, now);
}

void slip_progress_update(slip_progress *progress, const slip_progress_counts *counts, double now)
{
    if (is_due(progress, now))
        show_counts(progress, counts, now);
}

void slip_progress_finish(slip_progress *progress, const slip_progress_counts *counts, double now)
{
    if (progress->stream != NULL) {
        show_counts(progress, counts, now);
        if (progress->terminal)
            fputc('\n', progress->stream);
        fflush(progress->stream);
    }
    progress->stream = NULL;
}

void slip_progress_bytes(slip_progress *progress, const char *what, int64_t done, int64_t total, double now)
{
    char line[LINE], left[24];
    if (!is_due(progress, now))
        return;
    double elapsed = now - progress->started;
    format_time(done > 0 ? elapsed * (double)(total - done) / (double)done : -1, left);
    snprintf(line, sizeof line, "%s: %.2f of %.2f GB, %.2f GB/s, ETA %s", what, 1e-9 * (double)done, 1e-9 * (double)total,
             elapsed > 0 ? 1e-9 * (double)done / elapsed : 0, left);
    show(progress, total > 0 ? (double)done / (double)total : 0, line, now);
}

void slip_progress_items(slip_progress *progress, const char *what, int64_t done, double now)
{
    char line[LINE];
    if (!is_due(progress, now))
        return;
    snprintf(line, sizeof line, "%lld %s", (long long)done, what);
    show(progress, -1, line, now);
}

void slip_progress_clear(slip_progress *progress)
{
    if (progress->drawn) {
        fputs("\r\033[K", progress->stream);
        fflush(progress->stream);
    }
    progress->drawn = false;
}
