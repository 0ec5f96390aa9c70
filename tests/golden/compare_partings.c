/* compare_partings HAVE.h5 WANT.h5 MODEL.h5 PART TIE [TOKEN...]: where two executors' values of a token part, and whether a near-tie
 * between experts is why. HAVE and WANT are `score --trace-ops` of one text; MODEL is the checkpoint: the trace has the router's picks,
 * and its scores (sigmoid + bias, what picks) are computed here from each executor's own input to the router.
 *
 * A token parts at the first op where its row is off by more than PART of its size, or where it picks other experts. It may do so
 *   - at a ROUTE, where WANT's own scores of the experts exchanged lie within TIE: a near-tie that rounding turned;
 *   - at an ATTEND, where an earlier token has parted before it: it reads that token's keys and values. Already READ counts as parting
 *     there, and more than twice PART is too much.
 * Anything else is a fault, of any token; so are picks that are not the best of HAVE's own scores, within OWN, and partings of more than
 * MOST of the tokens. Each TOKEN (counted from 0), where the answers differ, must have parted. Exit status: 0 every parting has its
 * reason; 1 not; 2 could not compare.
 */
#include <hdf5.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "matrix.h"

enum { PATH = 256, NOWHERE = 1 << 30 };
static const double OWN = 2e-3;  /* the GPU's router sums in another order, over activations of 16 bits */
static const double READ = 0.05; /* twice what rounding does to a row without any near-tie */
static const double MOST = 0.15; /* of the tokens may part, for whatever reason: twice what rounding does */

typedef struct {
    int op; /* where it parted; NOWHERE */
    char why[PATH];
} parting;

/* The router of a layer. */
typedef struct {
    int layer;     /* -1: none yet */
    matrix weight; /* [experts, hidden] */
    float *bias;   /* [experts] */
} router;

typedef struct {
    hid_t have, want, model;
    double part, tie;
    parting *tokens;
    hsize_t count, room;
    router router;
    matrix h[2]; /* HAVE's and WANT's latest H: the router's input */
    long faults, turned, carried;
    double worst, widest; /* of rows that have not parted; of near-ties */
} comparison;

static void fault(comparison *c, hsize_t token, const char *op, const char *what)
{
    if (c->faults++ < 8)
        printf("token %llu, %s: %s\n", (unsigned long long)token, op, what);
}

/* ---- the router ---- */

/* bf16 matrices are stored as 16-bit integers. */
static bool read_router(comparison *c, int layer)
{
    char name[PATH];
    router *r = &c->router;
    if (r->layer == layer)
        return true;
    free(r->weight.values);
    free(r->bias);
    *r = (router){.layer = layer};
    snprintf(name, sizeof name, "/target/layers/%d/router", layer);
    if (!read_matrix(c->model, name, &r->weight))
        return false;
    hid_t set = H5Dopen2(c->model, name, H5P_DEFAULT), type = H5Dget_type(set);
    if (H5Tget_size(type) == 2)
        for (hsize_t i = 0; i < r->weight.rows * r->weight.columns; i++) {
            uint32_t bits = (uint32_t)r->weight.values[i] << 16;
            memcpy(&r->weight.values[i], &bits, sizeof bits);
        }
    H5Tclose(type);
    H5Dclose(set);
    snprintf(name, sizeof name, "/target/layers/%d/router_bias", layer);
    set = H5Dopen2(c->model, name, H5P_DEFAULT);
    r->bias = malloc(r->weight.rows * sizeof *r->bias + 1);
    bool ok = set >= 0 && r->bias && H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, r->bias) >= 0;
    if (set >= 0)
        H5Dclose(set);
    return ok;
}

static double score(const router *r, const float *h, hsize_t expert)
{
    const float *weight = r->weight.values + expert * r->weight.columns;
    double logit = 0;
    for (hsize_t i = 0; i < r->weight.columns; i++)
        logit += (double)h[i] * weight[i];
    return 1 / (1 + exp(-logit)) + r->bias[expert];
}

static bool picked(const float *picks, hsize_t count, hsize_t expert)
{
    for (hsize_t i = 0; i < count; i++)
        if ((hsize_t)picks[i] == expert)
            return true;
    return false;
}

/* An expert that goes and one that comes, and by how much the first has the higher score. */
typedef struct {
    hsize_t goes, comes;
    double gap;
} exchange;

/* By `h`: the best of the experts that `from` has, or that `to` lacks if `from` is NULL, against the worst of those that only `to` has. */
static exchange widest_exchange(const router *r, const float *h, const float *from, const float *to, hsize_t count)
{
    exchange x = {0};
    double most = -INFINITY, least = INFINITY;
    for (hsize_t e = 0; e < r->weight.rows; e++) {
        bool out = picked(to, count, e), in = from ? picked(from, count, e) : !out;
        double s = in != out ? score(r, h, e) : 0;
        if (in && !out && s > most) {
            most = s;
            x.goes = e;
        }
        if (out && !in && s < least) {
            least = s;
            x.comes = e;
        }
    }
    x.gap = most - least;
    return x;
}

static void part_at_route(comparison *c, int op, const char *name, hsize_t row, const float *have, const float *want, hsize_t k)
{
    const float *have_h = c->h[0].values + row * c->h[0].columns, *want_h = c->h[1].values + row * c->h[1].columns;
    hsize_t token = c->count + row;
    parting *p = &c->tokens[token];
    char what[PATH];
    exchange x = widest_exchange(&c->router, have_h, NULL, have, k);
    if (!(x.gap <= OWN)) {
        snprintf(what, sizeof what, "picks expert %d, and by its own input expert %d is better by %.4f", (int)x.comes, (int)x.goes, x.gap);
        fault(c, token, name, what);
    }
    if (p->op != NOWHERE || memcmp(have, want, k * sizeof *have) == 0)
        return;
    x = widest_exchange(&c->router, want_h, want, have, k);
    p->op = op;
    snprintf(p->why, sizeof p->why, "expert %d for %d, scores %.4f apart", (int)x.comes, (int)x.goes, x.gap);
    c->turned++;
    c->widest = x.gap > c->widest ? x.gap : c->widest;
    if (!(x.gap <= c->tie))
        fault(c, token, name, p->why);
}

/* ---- all other ops ---- */

/* The last token before this one that has parted before op `op`; false: there is none. */
static bool earlier_parted(const comparison *c, hsize_t token, int op, hsize_t *which)
{
    for (hsize_t t = token; t-- > 0;)
        if (c->tokens[t].op < op) {
            *which = t;
            return true;
        }
    return false;
}

static void part_at_op(comparison *c, int op, const char *name, hsize_t row, double error)
{
    hsize_t token = c->count + row, which = 0;
    parting *p = &c->tokens[token];
    bool reads = strstr(name, "_ATTEND_") != NULL && earlier_parted(c, token, op, &which);
    reads = reads && error <= 2 * c->part;
    if (error <= (reads ? READ : c->part)) {
        c->worst = error > c->worst ? error : c->worst;
        return;
    }
    p->op = op;
    if (reads) {
        snprintf(p->why, sizeof p->why, "off by %.3f, behind token %llu (%.160s)", error, (unsigned long long)which, c->tokens[which].why);
        c->carried++;
        return;
    }
    snprintf(p->why, sizeof p->why, "off by %.3f, with no reason", error);
    fault(c, token, name, p->why);
}

static void compare_rows(comparison *c, int op, const char *name, const matrix *have, const matrix *want)
{
    bool route = strstr(name, "_ROUTE_") != NULL;
    hsize_t columns = want->columns, ids = route ? columns / 2 : 0; /* experts, then their weights */
    for (hsize_t row = 0; row < want->rows; row++) {
        const float *a = have->values + row * columns, *b = want->values + row * columns;
        if (route)
            part_at_route(c, op, name, row, a, b, ids);
        if (c->tokens[c->count + row].op == NOWHERE)
            part_at_op(c, op, name, row, relative_error(a + ids, b + ids, columns - ids));
    }
}

static bool grow(comparison *c, hsize_t rows)
{
    if (c->count + rows > c->room) {
        hsize_t room = 2 * (c->count + rows);
        parting *tokens = realloc(c->tokens, room * sizeof *tokens);
        if (!tokens)
            return false;
        c->tokens = tokens;
        c->room = room;
    }
    for (hsize_t i = 0; i < rows; i++)
        c->tokens[c->count + i] = (parting){.op = NOWHERE};
    return true;
}

/* "0011_ROUTE_1/ROUTE". False: it could not be compared. */
static bool compare_op(comparison *c, const char *path, const char *name, hsize_t *rows)
{
    matrix have = {0}, want = {0};
    const char *buffer = strrchr(path, '/') + 1;
    int layer = atoi(strrchr(name, '_') + 1);
    bool ok = read_matrix(c->have, path, &have) && read_matrix(c->want, path, &want) && have.rows == want.rows &&
              have.columns == want.columns;
    if (ok && *rows == 0)
        ok = grow(c, *rows = want.rows);
    ok = ok && want.rows == *rows;
    if (ok && strstr(name, "_ROUTE_"))
        ok = c->h[0].rows == *rows && read_router(c, layer) && c->router.weight.columns == c->h[0].columns;
    if (ok)
        compare_rows(c, atoi(name), name, &have, &want);
    else
        fprintf(stderr, "compare_partings: %s: not a matrix of one shape in both files, or its router is missing\n", path);
    bool keep = ok && strcmp(buffer, "H") == 0;
    matrix old[2] = {keep ? c->h[0] : have, keep ? c->h[1] : want};
    if (keep) {
        c->h[0] = have;
        c->h[1] = want;
    }
    free(old[0].values);
    free(old[1].values);
    return ok;
}

/* The links below `path`, in order of their names. */
static int links(hid_t file, const char *path, char (**names)[PATH])
{
    H5G_info_t info;
    hid_t group = H5Gopen2(file, path, H5P_DEFAULT);
    *names = NULL;
    if (group < 0 || H5Gget_info(group, &info) < 0 || !(*names = calloc(info.nlinks + 1, sizeof **names)))
        return -1;
    for (hsize_t i = 0; i < info.nlinks; i++)
        H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, (*names)[i], PATH, H5P_DEFAULT);
    H5Gclose(group);
    return (int)info.nlinks;
}

/* The ops that both files have, in the order in which they ran. */
static bool compare_step(comparison *c, const char *step)
{
    char(*ops)[PATH], (*buffers)[PATH];
    hsize_t rows = 0;
    int count = links(c->want, step, &ops);
    bool ok = count > 0;
    for (int i = 0; i < count && ok; i++) {
        char op[PATH], path[2 * PATH];
        snprintf(op, sizeof op, "%.32s/%.64s", step, ops[i]);
        int many = links(c->want, op, &buffers);
        for (int j = 0; j < many && ok; j++) {
            snprintf(path, sizeof path, "%s/%.64s", op, buffers[j]);
            if (H5Lexists(c->have, op, H5P_DEFAULT) > 0 && H5Lexists(c->have, path, H5P_DEFAULT) > 0)
                ok = compare_op(c, path, ops[i], &rows);
        }
        free(buffers);
    }
    c->count += rows;
    free(ops);
    return ok;
}

static bool compare_all(comparison *c)
{
    char step[PATH];
    for (int i = 1;; i++) {
        snprintf(step, sizeof step, "/steps/%d", i);
        if (H5Lexists(c->want, step, H5P_DEFAULT) <= 0)
            return i > 1;
        if (H5Lexists(c->have, step, H5P_DEFAULT) <= 0 || !compare_step(c, step))
            return false;
    }
}

/* False: one of them is no token, or has not parted. */
static bool explain(comparison *c, int count, char **words)
{
    bool ok = true;
    for (int i = 0; i < count; i++) {
        hsize_t token = strtoull(words[i], NULL, 10);
        bool parted = token < c->count && c->tokens[token].op != NOWHERE;
        printf("token %s: %s, op %d: %s\n", words[i], parted ? "parts" : "FAIL, has not parted", parted ? c->tokens[token].op : -1,
               parted ? c->tokens[token].why : "all values agree but the answer's");
        ok = ok && parted;
    }
    return ok;
}

int main(int argc, char **argv)
{
    comparison c = {.router.layer = -1};
    if (argc < 6 || (c.part = strtod(argv[4], NULL)) <= 0 || (c.tie = strtod(argv[5], NULL)) <= 0) {
        fprintf(stderr, "usage: compare_partings HAVE.h5 WANT.h5 MODEL.h5 PART TIE [TOKEN...]\n");
        return 2;
    }
    c.have = H5Fopen(argv[1], H5F_ACC_RDONLY, H5P_DEFAULT);
    c.want = H5Fopen(argv[2], H5F_ACC_RDONLY, H5P_DEFAULT);
    c.model = H5Fopen(argv[3], H5F_ACC_RDONLY, H5P_DEFAULT);
    bool compared = c.have >= 0 && c.want >= 0 && c.model >= 0 && compare_all(&c);
    if (!compared) {
        fprintf(stderr, "compare_partings: the files cannot be compared\n");
        return 2;
    }
    bool explained = explain(&c, argc - 6, argv + 6);
    printf("%llu tokens: %ld part at a near-tie of experts (widest %.4f), %ld behind them, %ld with no reason; the others' worst row is "
           "off by %.3f\n",
           (unsigned long long)c.count, c.turned, c.widest, c.carried, c.faults, c.worst);
    H5Fclose(c.have);
    H5Fclose(c.want);
    H5Fclose(c.model);
    return explained && c.faults == 0 && (double)(c.turned + c.carried) <= MOST * (double)c.count ? 0 : 1;
}
