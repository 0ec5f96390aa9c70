/* Plots as SVG: axes with titles and units, bars, lines. Colours are the page's: classes a, b and c, which follow the reader's light or dark
 * theme. */
#ifndef SLIP_JOBS_REPORT_PLOT_H
#define SLIP_JOBS_REPORT_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Where values lie: x from x0 to x1, y from 0 to y1. */
typedef struct {
    FILE *out;
    double x0, x1, y1;
} slip_plot;

typedef struct {
    const char *title, *x, *y; /* titles of the axes, with units */
    double x0, x1, y1;
    bool whole_x;             /* ticks of x at whole numbers, in the middle of bars one wide */
    const char *const *names; /* with whole_x: what to call x = 0, 1, ...; NULL: by their numbers */
} slip_plot_axes;

/* The top of the y axis becomes a round number above y1. */
void slip_plot_begin(slip_plot *plot, const slip_plot_axes *axes, FILE *out);
void slip_plot_bar(const slip_plot *plot, double x0, double x1, double y0, double y1, char colour, const char *tip); /* tip: plain words */
void slip_plot_legend(const slip_plot *plot, int place, char colour, const char *name);
void slip_plot_mark(const slip_plot *plot, double x); /* a dashed line from top to bottom */
void slip_plot_end(const slip_plot *plot);

/* A map of `rows` by `columns` values; the greatest is the fullest colour. Row names may be any numbers. */
void slip_plot_map(FILE *out, const char *title, const char *x, const char *y, const double *values, size_t rows, size_t columns,
                   const int *row_names);

#endif
