/* compare_greedy HAVE.h5 WANT.h5 GAP: would greedy decoding go another way? Both files hold /logits [tokens, vocabulary] of the same text.
 * Where the most likely tokens differ, WANT's own logits of the two must lie within GAP: a near-tie that rounding turned. Prints how many
 * differ and the widest gap. Exit status: 0 all are near-ties; 1 not; 2 could not compare.
 */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>

#include "matrix.h"

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

static hsize_t best(const float *logits, hsize_t count)
{
    hsize_t most = 0;
    for (hsize_t i = 1; i < count; i++)
        if (logits[i] > logits[most])
            most = i;
    return most;
}

int main(int argc, char **argv)
{
    matrix have = {0}, want = {0};
    char *end = NULL;
    double bound = argc == 4 ? strtod(argv[3], &end) : -1, widest = 0;
    if (argc != 4 || *end != '\0' || !(bound >= 0)) {
        fprintf(stderr, "usage: compare_greedy HAVE.h5 WANT.h5 GAP\n");
        return 2;
    }
    if (!read_logits(argv[1], &have) || !read_logits(argv[2], &want) || have.rows != want.rows || have.columns != want.columns || have.rows == 0) {
        fprintf(stderr, "compare_greedy: the files cannot be compared\n");
        return 2;
    }
    long differ = 0;
    hsize_t where = 0;
    for (hsize_t i = 0; i < want.rows; i++) {
        const float *mine = want.values + i * want.columns;
        hsize_t a = best(have.values + i * want.columns, want.columns), b = best(mine, want.columns);
        if (a == b)
            continue;
        differ++;
        double gap = (double)mine[b] - mine[a];
        if (gap > widest || gap != gap) {
            widest = gap;
            where = i;
        }
    }
    printf("%ld of %llu choices differ, the widest gap between the two is %.4f, after token %llu\n", differ, (unsigned long long)want.rows,
           widest, (unsigned long long)where);
    free(have.values);
    free(want.values);
    return widest <= bound ? 0 : 1;
}
