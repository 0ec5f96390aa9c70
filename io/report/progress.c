#include "io/report/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double redraw_seconds = 0.1, line_seconds = 10;

enum { BAR = 24, LINE = 160 };

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

/* "12/16 done, 1 failed, 512 tokens, 123.4 tokens/s, ETA 0:04" */
static void format_state(const slip_progress *progress, const slip_progress_counts *counts, double now, char line[static LINE])
{
    char left[24];
    double elapsed = now - progress->started;
    size_t done = counts->done < progress->total ? counts->done : progress->total;
    format_time(slip_progress_left(progress, done, now), left);
    snprintf(line, LINE, "%zu/%zu done, %zu failed, %lld tokens, %.1f tokens/s, ETA %s", done, progress->total, counts->failed,
             (long long)counts->tokens, elapsed > 0 ? (double)counts->tokens / elapsed : 0.0, left);
}

/* Redraw in place, cut to the window: a line that wraps could not be redrawn. The bar is the first to go. */
static void draw(const slip_progress *progress, const slip_progress_counts *counts, const char *line)
{
    size_t filled = progress->total > 0 ? counts->done * BAR / progress->total : 0;
    char bar[BAR + 1] = "";
    memset(bar, '.', BAR);
    memset(bar, '#', filled < BAR ? filled : BAR);
    size_t room = progress->width - 1;
    if (BAR + 3 + strlen(line) <= room)
        fprintf(progress->stream, "\r[%s] %s\033[K", bar, line);
    else
        fprintf(progress->stream, "\r%.*s\033[K", (int)room, line);
}

/* Write the state where it belongs; `end` ends the redrawn line too. */
static void show(slip_progress *progress, const slip_progress_counts *counts, double now, const char *end)
{
    char line[LINE];
    format_state(progress, counts, now, line);
    if (progress->terminal) {
        draw(progress, counts, line);
        fputs(end, progress->stream);
    } else {
        fprintf(progress->stream, "progress: %s\n", line);
    }
    fflush(progress->stream);
    progress->shown = now;
}

void slip_progress_update(slip_progress *progress, const slip_progress_counts *counts, double now)
{
    if (progress->stream != NULL && now - progress->shown >= (progress->terminal ? redraw_seconds : line_seconds))
        show(progress, counts, now, "");
}

void slip_progress_finish(slip_progress *progress, const slip_progress_counts *counts, double now)
{
    if (progress->stream != NULL)
        show(progress, counts, now, "\n");
    progress->stream = NULL;
}
