#include "jobs/report/plot.h"

#include <math.h>

enum {
    WHOLE_TICKS = 16,
    WIDTH = 640,
    HEIGHT = 300,
    LEFT = 68,
    RIGHT = 16,
    TOP = 52,
    BOTTOM = 52,
    TICKS = 5,
    MAP_ROW = 16,
    MAP_ROWS_NAMED = 40
};

static double across(const slip_plot *plot, double x)
{
    return LEFT + (x - plot->x0) / (plot->x1 - plot->x0) * (WIDTH - LEFT - RIGHT);
}

static double up(const slip_plot *plot, double y)
{
    return HEIGHT - BOTTOM - y / plot->y1 * (HEIGHT - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that about TICKS of them fill the range. */
static double tick_of(double range)
{
    double raw = range / TICKS, power = pow(10, floor(log10(raw)));
    double part = raw / power;
    return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

static void head(FILE *out, const char *title, const char *x, const char *y, double height)
{
    fprintf(out, "<figure><svg viewBox=\"0 0 %d %g\" role=\"img\" aria-label=\"%s\">\n", WIDTH, height, title);
    fprintf(out, "<text class=\"title\" x=\"%d\" y=\"20\">%s</text>\n", LEFT, title);
    fprintf(out, "<text x=\"%d\" y=\"%g\" text-anchor=\"middle\">%s</text>\n", (LEFT + WIDTH - RIGHT) / 2, height - 8, x);
    fprintf(out, "<text transform=\"translate(16 %g) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", (TOP + height - BOTTOM) / 2, y);
}

static void name_ticks(const slip_plot *plot, const char *const *names)
{
    for (int tick = 0; tick <= plot->x1; tick++)
        fprintf(plot->out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", across(plot, tick), HEIGHT - BOTTOM + 18,
                names[tick]);
}

static void draw_axes(const slip_plot *plot, bool whole_x, const char *const *names)
{
    FILE *out = plot->out;
    double step = tick_of(plot->y1);
    for (int tick = 0; tick * step <= plot->y1 * 1.0001; tick++) {
        double y = tick * step;
        fprintf(out,
                "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%g</text>\n",
                LEFT, WIDTH - RIGHT, up(plot, y), up(plot, y), LEFT - 6, up(plot, y) + 4, y);
    }
    if (names) {
        name_ticks(plot, names);
        return;
    }
    step = tick_of(plot->x1 - plot->x0);
    if (whole_x)
        step = plot->x1 - plot->x0 <= WHOLE_TICKS ? 1 : fmax(1, step);
    double first = ceil(plot->x0 / step);
    for (int tick = 0; (first + tick) * step <= plot->x1; tick++) {
        double x = (first + tick) * step + 0.0; /* not -0 */
        fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", across(plot, x), HEIGHT - BOTTOM + 18, x);
    }
}

void slip_plot_begin(slip_plot *plot, const slip_plot_axes *axes, FILE *out)
{
    double y1 = isfinite(axes->y1) && axes->y1 > 0 ? axes->y1 : 1, tick = tick_of(y1);
    *plot = (slip_plot){.out = out, .x0 = axes->x0, .x1 = axes->x1 > axes->x0 ? axes->x1 : axes->x0 + 1, .y1 = ceil(y1 / tick) * tick};
    head(out, axes->title, axes->x, axes->y, HEIGHT);
    draw_axes(plot, axes->whole_x, axes->names);
}

void slip_plot_bar(const slip_plot *plot, double x0, double x1, double y0, double y1, char colour, const char *tip)
{
    if (!(y1 > y0) || !isfinite(y1))
        return;
    fprintf(plot->out, "<rect class=\"%c\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>%s</title></rect>\n", colour,
            across(plot, x0), up(plot, y1), across(plot, x1) - across(plot, x0), up(plot, y0) - up(plot, y1), tip);
}

void slip_plot_legend(const slip_plot *plot, int place, char colour, const char *name)
{
    int x = LEFT + 90 * place;
    fprintf(plot->out, "<rect class=\"%c\" x=\"%d\" y=\"30\" width=\"10\" height=\"10\"/><text x=\"%d\" y=\"39\">%s</text>\n", colour, x,
            x + 15, name);
}

void slip_plot_mark(const slip_plot *plot, double x)
{
    fprintf(plot->out, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", across(plot, x), across(plot, x), TOP,
            HEIGHT - BOTTOM);
}

void slip_plot_end(const slip_plot *plot)
{
    fputs("</svg></figure>\n", plot->out);
}

void slip_plot_map(FILE *out, const char *title, const char *x, const char *y, const double *values, size_t rows, size_t columns,
                   const int *row_names)
{
    double most = 0, row_height = rows <= MAP_ROWS_NAMED ? MAP_ROW : (double)MAP_ROW * MAP_ROWS_NAMED / (double)rows;
    double height = TOP + row_height * (double)rows + BOTTOM, width = (double)(WIDTH - LEFT - RIGHT) / (double)columns;
    size_t every = 1 + (rows - 1) / MAP_ROWS_NAMED, mark = 1 + (columns - 1) / 16;
    for (size_t i = 0; i < rows * columns; i++)
        most = fmax(most, values[i]);
    head(out, title, x, y, height);
    fprintf(out, "<text x=\"%d\" y=\"39\">full colour: %.2f</text>\n", LEFT, most);
    for (size_t r = 0; r < rows; r++) {
        double top = TOP + row_height * (double)r;
        if (r % every == 0)
            fprintf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%d</text>\n", LEFT - 6, top + row_height / 2 + 4, row_names[r]);
        for (size_t c = 0; c < columns; c++)
            fprintf(out,
                    "<rect class=\"a\" fill-opacity=\"%.3f\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>layer %d, expert "
                    "%zu: %.2f</title></rect>\n",
                    most > 0 ? values[r * columns + c] / most : 0, LEFT + width * (double)c, top, width, row_height, row_names[r], c,
                    values[r * columns + c]);
    }
    for (size_t c = 0; c < columns; c += mark)
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%zu</text>\n", LEFT + width * ((double)c + 0.5),
                height - BOTTOM + 18, c);
    fputs("</svg></figure>\n", out);
}
