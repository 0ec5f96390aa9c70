/* compare_greedy HAVE.h5 EXACT.h5 ROUNDED.h5 GAP ROW TIMES SHARE BIAS: would greedy decoding go another way, and is rounding why? The files
 * hold /logits [tokens, vocabulary] of one text: HAVE of the executor in question, EXACT and ROUNDED (`--round-activations`) of the CPU.
 *
 * How far rounding moves a logit depends on the model's weights, so ROUNDED's distance from EXACT is the yardstick: GAP, ROW, TIMES and
 * SHARE are multiples of it. A row is explained here when
 *   - its most likely token is EXACT's, or EXACT's own logits of the two lie within GAP times what rounding moves the margin between
 *     EXACT's best two by (in the 99th of 100 rows): a near-tie; or ROUNDED's margin between the two is HAVE's, as near;
 *   - and its logits are ROUNDED's: the root mean square of the differences is within ROW times that of ROUNDED from EXACT (in the 99th
 *     of 100 rows).
 * Others are printed, "explain TOKEN ...", for compare_partings to find what turned in them.
 *
 * The whole is held to EXACT: the median row and the 99th of 100 may be TIMES as far as ROUNDED's; SHARE times as many choices may
 * differ as of ROUNDED; the log-probability of EXACT's choices may be off by BIAS on average, or by TIMES what it is off by in ROUNDED.
 * Exit status: 0 all rows are explained; 1 the whole is too far off; 2 could not compare; 3 some rows are not explained here.
 */
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "matrix.h"

enum { HAVE, EXACT, ROUNDED, FILES };
enum { GAP, ROW, TIMES, SHARE, BIAS, BOUNDS };

typedef struct {
    matrix logits[FILES];
    double bound[BOUNDS];
    double *away[FILES];   /* [rows] sorted: rms from EXACT; of HAVE and ROUNDED */
    double *moved;         /* [rows] sorted: what ROUNDED moves the margin between EXACT's best two by */
    long differ[FILES];    /* choices that are not EXACT's */
    double near, near_row; /* what GAP and ROW come to */
    long left;
    double widest, bias[FILES];
} comparison;

static bool read_logits(const char *path, matrix *m)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    bool ok = file >= 0 && read_matrix(file, "/logits", m);
    if (!ok)
        fprintf(stderr, "compare_greedy: %s: no /logits of two dimensions\n", path);
    if (file >= 0)
        H5Fclose(file);
    return ok;
}

static double log_probability(const float *logits, hsize_t count, hsize_t token)
{
    double top = logits[best(logits, count)], sum = 0;
    for (hsize_t i = 0; i < count; i++)
        sum += exp(logits[i] - top);
    return logits[token] - top - log(sum);
}

static double rms(const float *a, const float *b, hsize_t count)
{
    double sum = 0;
    for (hsize_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)count);
}

static hsize_t second(const float *logits, hsize_t count, hsize_t first)
{
    hsize_t found = first == 0 && count > 1;
    for (hsize_t i = 0; i < count; i++)
        if (i != first && logits[i] > logits[found])
            found = i;
    return found;
}

static const float *row_of(const comparison *c, int file, hsize_t row)
{
    return c->logits[file].values + row * c->logits[file].columns;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at(const double *sorted, hsize_t rows, int percent)
{
    return sorted[rows * (hsize_t)percent / 100];
}

/* How far rounding alone goes. */
static void measure(comparison *c)
{
    hsize_t rows = c->logits[EXACT].rows, columns = c->logits[EXACT].columns;
    for (hsize_t row = 0; row < rows; row++) {
        const float *exact = row_of(c, EXACT, row), *rounded = row_of(c, ROUNDED, row);
        hsize_t a = best(exact, columns), b = second(exact, columns, a);
        c->moved[row] = fabs(((double)exact[a] - exact[b]) - ((double)rounded[a] - rounded[b]));
        for (int i = HAVE; i <= ROUNDED; i += ROUNDED - HAVE) {
            const float *logits = row_of(c, i, row);
            c->away[i][row] = rms(logits, exact, columns);
            c->differ[i] += best(logits, columns) != a;
            c->bias[i] += (log_probability(logits, columns, a) - log_probability(exact, columns, a)) / (double)rows;
        }
    }
    qsort(c->moved, rows, sizeof *c->moved, by_value);
    for (int i = HAVE; i <= ROUNDED; i += ROUNDED - HAVE)
        qsort(c->away[i], rows, sizeof *c->away[i], by_value);
    c->near = c->bound[GAP] * at(c->moved, rows, 99);
    c->near_row = c->bound[ROW] * at(c->away[ROUNDED], rows, 99);
}

/* Comparisons are written so that what is not a number is never within a bound. */
static void compare_row(comparison *c, hsize_t row)
{
    hsize_t columns = c->logits[EXACT].columns;
    const float *have = row_of(c, HAVE, row), *exact = row_of(c, EXACT, row), *rounded = row_of(c, ROUNDED, row);
    hsize_t a = best(have, columns), b = best(exact, columns);
    double gap = (double)exact[b] - exact[a], moved = ((double)have[b] - have[a]) - ((double)rounded[b] - rounded[a]);
    double apart = rms(have, rounded, columns);
    c->widest = gap > c->widest ? gap : c->widest;
    if ((gap <= c->near || fabs(moved) <= c->near) && apart <= c->near_row)
        return;
    printf("explain %llu: choice %.4f apart, the row %.4f\n", (unsigned long long)row, gap, apart);
    c->left++;
}

static bool within(const comparison *c)
{
    hsize_t rows = c->logits[EXACT].rows;
    const double *have = c->away[HAVE], *rounded = c->away[ROUNDED];
    printf("%ld of %llu choices differ (rounding alone: %ld), at most %.4f apart; rows are off by %.4f (median) and %.4f (99 %%), rounding "
           "alone by %.4f and %.4f; log-probability by %+.5f and %+.5f; %ld rows to explain, beyond %.3f or %.3f\n",
           c->differ[HAVE], (unsigned long long)rows, c->differ[ROUNDED], c->widest, at(have, rows, 50), at(have, rows, 99),
           at(rounded, rows, 50), at(rounded, rows, 99), c->bias[HAVE], c->bias[ROUNDED], c->left, c->near, c->near_row);
    return at(have, rows, 50) <= c->bound[TIMES] * at(rounded, rows, 50) && at(have, rows, 99) <= c->bound[TIMES] * at(rounded, rows, 99) &&
           (double)c->differ[HAVE] <= c->bound[SHARE] * (double)c->differ[ROUNDED] &&
           fabs(c->bias[HAVE]) <= fmax(c->bound[BIAS], c->bound[TIMES] * fabs(c->bias[ROUNDED]));
}

static bool read_all(comparison *c, char **argv)
{
    bool ok = true;
    for (int i = 0; i < FILES; i++)
        ok = read_logits(argv[i], &c->logits[i]) && ok;
    const matrix *want = &c->logits[EXACT];
    for (int i = 0; i < FILES && ok; i++) {
        ok = c->logits[i].rows == want->rows && c->logits[i].columns == want->columns && want->rows > 0;
        c->away[i] = calloc(want->rows + 1, sizeof *c->away[i]);
        ok = ok && c->away[i];
    }
    c->moved = calloc(want->rows + 1, sizeof *c->moved);
    return ok && c->moved;
}

int main(int argc, char **argv)
{
    comparison c = {0};
    bool usable = argc == 1 + FILES + BOUNDS;
    for (int i = 0; i < BOUNDS && usable; i++) {
        char *end;
        c.bound[i] = strtod(argv[1 + FILES + i], &end);
        usable = *end == '\0' && c.bound[i] >= 0;
    }
    if (!usable) {
        fprintf(stderr, "usage: compare_greedy HAVE.h5 EXACT.h5 ROUNDED.h5 GAP ROW TIMES SHARE BIAS\n");
        return 2;
    }
    if (!read_all(&c, argv + 1)) {
        fprintf(stderr, "compare_greedy: the files cannot be compared\n");
        return 2;
    }
    measure(&c);
    for (hsize_t i = 0; i < c.logits[EXACT].rows; i++)
        compare_row(&c, i);
    bool near = within(&c);
    for (int i = 0; i < FILES; i++) {
        free(c.logits[i].values);
        free(c.away[i]);
    }
    free(c.moved);
    return !near ? 1 : c.left ? 3 : 0;
}
