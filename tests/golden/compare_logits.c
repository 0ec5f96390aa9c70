/* compare_logits OUT.h5 EXPECTED.bin TOLERANCE: hold `slipstream score --logits` against golden logits.
 *
 * OUT.h5 has /logits, f32 [tokens, vocabulary]. EXPECTED.bin keeps some of the rows (forward/README.md):
 *   char magic[8] "SLIPGOLD", u32 version 1, u32 tokens, u32 vocabulary, u32 rows, u32 row[rows],
 *   f32 logits[rows][vocabulary], little-endian.
 * Prints one line: the largest absolute difference with where it is, and how many rows agree on the arg max.
 * Exit status: 0 when every difference is at most TOLERANCE and every arg max agrees; 1 when not; 2 when it could not
 * compare.
 */
#include <hdf5.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix.h"

typedef struct {
    uint32_t tokens, vocabulary, rows;
    uint32_t *row; /* [rows] */
    float *logits; /* [rows, vocabulary] */
} golden;

typedef struct {
    double difference;
    uint32_t token, column; /* where it is */
    uint32_t agreeing;      /* rows */
} verdict;

static bool refuse(const char *path, const char *problem)
{
    fprintf(stderr, "compare_logits: %s: %s\n", path, problem);
    return false;
}

static bool read_golden(FILE *file, const char *path, golden *out)
{
    char magic[8];
    uint32_t head[4];
    if (fread(magic, 1, sizeof magic, file) != sizeof magic || memcmp(magic, "SLIPGOLD", sizeof magic) != 0)
        return refuse(path, "not a file of golden logits");
    if (fread(head, sizeof *head, 4, file) != 4 || head[0] != 1)
        return refuse(path, "unknown version");
    golden g = {.tokens = head[1], .vocabulary = head[2], .rows = head[3]};
    size_t cells = (size_t)g.rows * g.vocabulary;
    g.row = malloc(g.rows * sizeof *g.row);
    g.logits = malloc(cells * sizeof *g.logits);
    bool whole = g.row != NULL && g.logits != NULL && fread(g.row, sizeof *g.row, g.rows, file) == g.rows &&
                 fread(g.logits, sizeof *g.logits, cells, file) == cells && fgetc(file) == EOF;
    for (uint32_t i = 0; whole && i < g.rows; i++)
        whole = g.row[i] < g.tokens;
    if (!whole) {
        free(g.row);
        free(g.logits);
        return refuse(path, "its size or its rows do not fit its header");
    }
    *out = g;
    return true;
}

/* /logits of the file, [tokens, vocabulary]; NULL (and a sentence) when it is not of that shape. */
static float *read_logits(const char *path, const golden *expected)
{
    matrix m = {0};
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    bool ok = file >= 0 && read_matrix(file, "/logits", &m);
    if (file >= 0)
        H5Fclose(file);
    if (ok && m.rows == expected->tokens && m.columns == expected->vocabulary)
        return m.values;
    if (!ok)
        refuse(path, "no two-dimensional /logits that can be read");
    else
        fprintf(stderr, "compare_logits: %s: /logits is %llu x %llu, expected %u x %u\n", path, (unsigned long long)m.rows,
                (unsigned long long)m.columns, expected->tokens, expected->vocabulary);
    free(m.values);
    return NULL;
}

static size_t arg_max(const float *row, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (row[i] > row[best])
            best = i;
    return best;
}

/* A NaN counts as an infinite difference. */
static verdict compare(const golden *expected, const float *logits)
{
    verdict v = {0};
    for (uint32_t i = 0; i < expected->rows; i++) {
        const float *want = expected->logits + (size_t)i * expected->vocabulary;
        const float *have = logits + (size_t)expected->row[i] * expected->vocabulary;
        for (uint32_t column = 0; column < expected->vocabulary; column++) {
            double difference = fabs((double)have[column] - want[column]);
            if (isnan(difference))
                difference = INFINITY;
            if (difference > v.difference)
                v = (verdict){difference, expected->row[i], column, v.agreeing};
        }
        v.agreeing += arg_max(want, expected->vocabulary) == arg_max(have, expected->vocabulary);
    }
    return v;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    double tolerance = argc == 4 ? strtod(argv[3], &end) : -1;
    if (argc != 4 || end == argv[3] || *end != '\0' || !(tolerance >= 0)) {
        fprintf(stderr, "usage: compare_logits OUT.h5 EXPECTED.bin TOLERANCE\n");
        return 2;
    }
    FILE *file = fopen(argv[2], "rb");
    golden expected;
    bool ready = file != NULL ? read_golden(file, argv[2], &expected) : refuse(argv[2], "cannot be opened");
    if (file != NULL)
        fclose(file);
    if (!ready)
        return 2;
    float *logits = read_logits(argv[1], &expected);
    bool same = false;
    if (logits != NULL) {
        verdict v = compare(&expected, logits);
        same = v.difference <= tolerance && v.agreeing == expected.rows;
        printf("max difference %.2e (token %u, column %u), arg max %u of %u\n", v.difference, v.token, v.column, v.agreeing, expected.rows);
    }
    int status = logits == NULL ? 2 : same ? 0 : 1;
    free(logits);
    free(expected.row);
    free(expected.logits);
    return status;
}
