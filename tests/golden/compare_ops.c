/* compare_ops HAVE.h5 WANT.h5 [--median] BOUND...: hold one executor's ops against another's, as `--trace-ops` wrote them.
 *
 * A bound is `--all X` or `--<OP NAME> X` (`--LINEAR 1e-3`; it wins over --all): the largest relative error allowed,
 * ||have - want|| / ||want|| over one op of one step; with --median, of the rows' errors the middle one: rows in which rounding
 * turned a tie between experts do not count then, as long as they are few. Ops that only one file has are counted and left out. In a ROUTE, rows that
 * pick other experts are counted: a tie that rounding turns is no error of the op, but what follows it in that row is another
 * computation. Prints a line an op kind. Exit status: 0 within all bounds; 1 not; 2 could not compare.
 */
#include <hdf5.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix.h"

enum { KINDS = 32, NAME = 256 };

typedef struct {
    char name[64];       /* of the op */
    double worst, bound; /* bound < 0: none given */
    char where[NAME];
    long compared, turned; /* datasets; ROUTE: rows with other experts */
} kind;

typedef struct {
    kind kinds[KINDS];
    int count;
    double all; /* < 0: none given */
    long missing;
    bool median, broken;
} report;

static void refuse(report *r, const char *path, const char *problem)
{
    fprintf(stderr, "compare_ops: %s: %s\n", path, problem);
    r->broken = true;
}

static kind *find_kind(report *r, const char *name)
{
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->kinds[i].name, name) == 0)
            return &r->kinds[i];
    if (r->count == KINDS)
        return NULL;
    kind *k = &r->kinds[r->count++];
    *k = (kind){.bound = -1};
    snprintf(k->name, sizeof k->name, "%s", name);
    return k;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_error(const matrix *have, const matrix *want)
{
    double *errors = malloc(want->rows * sizeof *errors + 1), error = INFINITY;
    for (hsize_t i = 0; errors && i < want->rows; i++)
        errors[i] = relative_error(have->values + i * want->columns, want->values + i * want->columns, want->columns);
    if (errors) {
        qsort(errors, want->rows, sizeof *errors, by_value);
        error = want->rows ? errors[want->rows / 2] : 0;
    }
    free(errors);
    return error;
}

/* ROUTE, [experts | weights]: rows that agree on the experts are moved to the front of both; returns how many do not. */
static long drop_turned(matrix *have, matrix *want)
{
    hsize_t kept = 0, ids = want->columns / 2, bytes = want->columns * sizeof(float);
    long turned = 0;
    for (hsize_t i = 0; i < want->rows; i++) {
        const float *a = have->values + i * want->columns, *b = want->values + i * want->columns;
        if (memcmp(a, b, ids * sizeof *a) != 0) {
            turned++;
            continue;
        }
        memmove(have->values + kept * want->columns, a, bytes);
        memmove(want->values + kept++ * want->columns, b, bytes);
    }
    want->rows = have->rows = kept;
    return turned;
}

static void compare_matrix(report *r, kind *k, const char *path, matrix *have, matrix *want)
{
    if (have->rows != want->rows || have->columns != want->columns) {
        char problem[128];
        snprintf(problem, sizeof problem, "%llu x %llu, expected %llu x %llu", (unsigned long long)have->rows,
                 (unsigned long long)have->columns, (unsigned long long)want->rows, (unsigned long long)want->columns);
        refuse(r, path, problem);
        return;
    }
    if (strcmp(k->name, "ROUTE") == 0)
        k->turned += drop_turned(have, want);
    double error = r->median ? median_error(have, want) : relative_error(have->values, want->values, want->rows * want->columns);
    k->compared++;
    if (error > k->worst || k->compared == 1) {
        k->worst = error;
        snprintf(k->where, sizeof k->where, "%s", path);
    }
}

static void compare_dataset(report *r, kind *k, hid_t have_file, hid_t want_file, const char *path)
{
    matrix have = {0}, want = {0};
    if (!read_matrix(have_file, path, &have) || !read_matrix(want_file, path, &want))
        refuse(r, path, "not a matrix of floats in both files");
    else
        compare_matrix(r, k, path, &have, &want);
    free(have.values);
    free(want.values);
}

/* "0007_ROPE_STORE_3" is of the kind ROPE_STORE. */
static kind *kind_of(report *r, const char *op)
{
    char name[64];
    const char *first = strchr(op, '_'), *last = strrchr(op, '_');
    if (!first || last <= first + 1)
        return NULL;
    snprintf(name, sizeof name, "%.*s", (int)(last - first - 1), first + 1);
    return find_kind(r, name);
}

/* Walk /steps/<step>/<op>/<buffer> of `want`: `depth` levels below `path`; `k` is known below the op. */
static void walk(report *r, hid_t have, hid_t want, const char *path, int depth, kind *k)
{
    H5G_info_t info;
    hid_t group = H5Gopen2(want, path, H5P_DEFAULT);
    if (group < 0 || H5Gget_info(group, &info) < 0) {
        refuse(r, path, "not a group");
        return;
    }
    for (hsize_t i = 0; i < info.nlinks; i++) {
        char name[64], below[NAME];
        if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0)
            continue;
        snprintf(below, sizeof below, "%s/%s", path, name);
        kind *at = depth == 1 ? kind_of(r, name) : k;
        if (H5Lexists(have, below, H5P_DEFAULT) <= 0)
            r->missing++;
        else if (depth < 2)
            walk(r, have, want, below, depth + 1, at);
        else if (at)
            compare_dataset(r, at, have, want, below);
    }
    H5Gclose(group);
}

static bool print_report(const report *r)
{
    bool within = true;
    long compared = 0;
    for (int i = 0; i < r->count; i++) {
        const kind *k = &r->kinds[i];
        double bound = k->bound >= 0 ? k->bound : r->all;
        if (k->compared == 0)
            continue;
        bool ok = bound < 0 || k->worst <= bound;
        compared += k->compared;
        within = within && ok;
        printf("%-4s  %-10s %6ld compared, worst %.2e at %s", ok ? "ok" : "FAIL", k->name, k->compared, k->worst, k->where);
        if (k->turned)
            printf("; %ld rows picked other experts", k->turned);
        putchar('\n');
    }
    printf("%ld compared, %ld not in both files\n", compared, r->missing);
    return within && compared > 0;
}

static bool read_bounds(report *r, int count, char **words)
{
    if (count == 0 || count % 2 != 0)
        return false;
    for (int i = 0; i < count; i += 2) {
        char *end;
        double bound = strtod(words[i + 1], &end);
        if (strncmp(words[i], "--", 2) != 0 || *end != '\0' || end == words[i + 1] || !(bound >= 0))
            return false;
        kind *k = strcmp(words[i], "--all") == 0 ? NULL : find_kind(r, words[i] + 2);
        if (k)
            k->bound = bound;
        else
            r->all = bound;
    }
    return true;
}

int main(int argc, char **argv)
{
    static report r = {.all = -1};
    r.median = argc > 3 && strcmp(argv[3], "--median") == 0;
    int first = r.median ? 4 : 3; /* of the bounds */
    if (argc < first || !read_bounds(&r, argc - first, argv + first)) {
        fprintf(stderr, "usage: compare_ops HAVE.h5 WANT.h5 [--median] --all BOUND | --OP_NAME BOUND ...\n");
        return 2;
    }
    hid_t have = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT), want = H5Fopen(argv[2], H5F_ACC_RDONLY, H5P_DEFAULT);
    if (have < 0 || want < 0) {
        refuse(&r, have < 0 ? argv[1] : argv[2], "cannot be opened");
        return 2;
    }
    walk(&r, have, want, "/steps", 0, NULL);
    walk(&r, have, want, "/draft", 0, NULL);
    bool within = print_report(&r);
    H5Fclose(have);
    H5Fclose(want);
    return r.broken ? 2 : within ? 0 : 1;
}
