/* compare_greedy HAVE.h5 EXACT.h5 ROUNDED.h5 GAP ROW TIMES SHARE BIAS: would greedy decoding go another way, and is rounding why? The files
 * hold /logits [tokens, vocabulary] of one text: HAVE of the executor in question, EXACT and ROUNDED (`--round-activations`) of the CPU.
 *
 * A row is explained here when
 *   - its most likely token is EXACT's, or EXACT's own logits of the two lie within GAP: a near-tie; or ROUNDED's margin between the
 *     two is HAVE's, within GAP: the CPU that rounds moves it as far;
 *   - and its logits are ROUNDED's, root mean square of the differences within ROW.
 * Others are printed, "explain TOKEN ...", for compare_partings to find what turned in them.
 *
 * The whole is held to EXACT, with ROUNDED's own distance from it as the yardstick: the median row and the 99th of 100 may be TIMES as
 * far as ROUNDED's; SHARE of the choices may differ; the log-probability of EXACT's choices may be off by BIAS on average.
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
    double *away[FILES]; /* [rows] rms from EXACT; of HAVE and ROUNDED */
    long differ, left;
    double widest, bias;
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

/* Comparisons are written so that what is not a number is never within a bound. */
static void compare_row(comparison *c, hsize_t row)
{
    hsize_t columns = c->logits[EXACT].columns;
    const float *have = c->logits[HAVE].values + row * columns, *exact = c->logits[EXACT].values + row * columns;
    const float *rounded = c->logits[ROUNDED].values + row * columns;
    hsize_t a = best(have, columns), b = best(exact, columns);
    double gap = (double)exact[b] - exact[a], moved = ((double)have[b] - have[a]) - ((double)rounded[b] - rounded[a]);
    double apart = rms(have, rounded, columns);
    c->away[HAVE][row] = rms(have, exact, columns);
    c->away[ROUNDED][row] = rms(rounded, exact, columns);
    c->bias += (log_probability(have, columns, b) - log_probability(exact, columns, b)) / (double)c->logits[EXACT].rows;
    c->differ += a != b;
    c->widest = gap > c->widest ? gap : c->widest;
    if ((gap <= c->bound[GAP] || fabs(moved) <= c->bound[GAP]) && apart <= c->bound[ROW])
        return;
    printf("explain %llu: choice %.4f apart, the row %.4f\n", (unsigned long long)row, gap, apart);
    c->left++;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool within(const comparison *c)
{
    hsize_t rows = c->logits[EXACT].rows, middle = rows / 2, last = rows * 99 / 100;
    for (int i = HAVE; i <= ROUNDED; i += ROUNDED - HAVE)
        qsort(c->away[i], rows, sizeof *c->away[i], by_value);
    const double *have = c->away[HAVE], *rounded = c->away[ROUNDED];
    double share = (double)c->differ / (double)rows;
    printf(
        "%ld of %llu choices differ, at most %.4f apart; rows are off by %.4f (median) and %.4f (99 %%), rounding alone by %.4f and %.4f; "
        "log-probability by %+.5f; %ld rows to explain\n",
        c->differ, (unsigned long long)rows, c->widest, have[middle], have[last], rounded[middle], rounded[last], c->bias, c->left);
    return have[middle] <= c->bound[TIMES] * rounded[middle] && have[last] <= c->bound[TIMES] * rounded[last] && share <= c->bound[SHARE] &&
           fabs(c->bias) <= c->bound[BIAS];
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
    return ok;
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
    for (hsize_t i = 0; i < c.logits[EXACT].rows; i++)
        compare_row(&c, i);
    bool near = within(&c);
    for (int i = 0; i < FILES; i++) {
        free(c.logits[i].values);
        free(c.away[i]);
    }
    return !near ? 1 : c.left ? 3 : 0;
}
