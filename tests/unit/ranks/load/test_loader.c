/* The loader against a plain reading of the files: what an executor is given is this rank's part of the datasets, each expert once, with any
 * number of threads, cut in any way; and damage is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folder.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/layout.h"
#include "jobs/convert/convert.h"
#include "ranks/load/loader.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_checkpoint.h"

static const int thread_counts[] = {0, 1, 3};

/* ---- an executor that keeps what it is given, on its way to a device that is not there ---- */

typedef struct {
    slip_weight weight; /* all experts */
    int *packed;        /* [experts]: how often */
    int64_t stored;
} kept;

struct slip_executor {
    kept tensors[256];
};

static size_t scale_row_bytes(const slip_weight *w)
{
    return (size_t)w->scale_columns * (w->dtype == SLIP_F8E4M3 ? sizeof(float) : 1);
}

static size_t expert_bytes(const slip_weight *w)
{
    return (size_t)w->rows * (w->row_bytes + scale_row_bytes(w));
}

static slip_status place(slip_executor *e, int32_t index, const slip_weight *form)
{
    kept *k = &e->tensors[index];
    assert_true(index < 256 && k->packed == NULL);
    k->weight = *form;
    k->weight.data = malloc((size_t)form->experts * expert_bytes(form) + 1);
    k->packed = calloc((size_t)form->experts + 1, sizeof *k->packed);
    return SLIP_OK;
}

static size_t packed_bytes(const slip_executor *e, int32_t index, int64_t rows)
{
    slip_weight w = e->tensors[index].weight;
    w.rows = rows;
    return expert_bytes(&w);
}

/* Codes, then scales. */
static void pack(slip_executor *e, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    kept *k = &e->tensors[index];
    size_t codes = (size_t)piece->rows * piece->row_bytes, scales = (size_t)piece->rows * scale_row_bytes(piece);
    memcpy(packed, piece->data + (size_t)from * codes, codes);
    if (scales > 0)
        memcpy(packed + codes, piece->scale + (size_t)from * scales, scales);
    k->packed[to]++;
}

static slip_status store(slip_executor *e, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    kept *k = &e->tensors[index];
    memcpy(k->weight.data + first, packed, (size_t)bytes);
    k->stored += bytes;
    return SLIP_OK;
}

static slip_status alloc_packed(slip_executor *e, size_t bytes, unsigned char **packed)
{
    (void)e;
    *packed = malloc(bytes);
    return SLIP_OK;
}

static void free_packed(slip_executor *e, unsigned char *packed)
{
    (void)e;
    free(packed);
}

static const slip_executor_kind keeper = {
    .place = place, .packed_bytes = packed_bytes, .pack = pack, .store = store, .alloc_packed = alloc_packed, .free_packed = free_packed};

static void forget(slip_executor *e)
{
    for (int i = 0; i < 256; i++) {
        free(e->tensors[i].weight.data);
        free(e->tensors[i].packed);
    }
    free(e);
}

/* ---- published layouts, cut for ranks ---- */

static unsigned char *whole(const slip_source *source, const char *name, const slip_dataset **dataset)
{
    *dataset = slip_checkpoint_find(&source->table, name);
    assert_non_null(*dataset);
    unsigned char *data = malloc((size_t)(*dataset)->bytes);
    assert_int_equal(slip_checksum_read(&source->table, &source->files, *dataset, data), SLIP_OK);
    return data;
}

/* A row of the scales of one part: `at` is what the loader gave. */
static void check_scales(const slip_weight *w, const slip_tensor *tensor, const slip_part *part, const slip_dataset *scale,
                         const unsigned char *stored, int64_t expert, int64_t row, const unsigned char *at)
{
    int64_t columns = scale->shape[scale->dims - 1], chunk = part->weight.rows / part->weight.chunks;
    for (int64_t c = 0; c < w->columns; c += 32)
        if (w->dtype == SLIP_MXFP4) {
            assert_int_equal(at[c / 32], stored[(expert * part->weight.rows + row) * columns + (tensor->columns.first + c) / 32]);
        } else {
            int64_t grid_rows = part->weight.chunks * ((chunk + 127) / 128),
                    grid_row = row / chunk * ((chunk + 127) / 128) + row % chunk / 128;
            const unsigned char *want = stored + 4 * ((expert * grid_rows + grid_row) * columns + (tensor->columns.first + c) / 128);
            assert_memory_equal(at + 4 * ((w->scale_skew + c) / 128), want, 4);
        }
}

static void check_part(const slip_source *source, const slip_tensor *tensor, const slip_part *part, const kept *k, int64_t at)
{
    const slip_weight *w = &k->weight;
    const slip_dataset *dataset, *scale = NULL;
    unsigned char *codes = whole(source, part->weight.name, &dataset), *scales = NULL;
    char name[SLIP_WEIGHT_NAME];
    slip_layout_scale_name(part->weight.name, name);
    if (w->scale_columns > 0)
        scales = whole(source, name, &scale);
    int64_t row_bytes = slip_dtype_row_bytes(w->dtype, part->weight.columns), first = tensor->experts.first < 0 ? 0 : tensor->experts.first;
    for (int64_t e = 0; e < w->experts; e++)
        for (int64_t i = 0; i < part->rows.count; i++) {
            int64_t row = part->rows.first + i, stored = (first + e) * part->weight.rows + row;
            const unsigned char *expert = w->data + (size_t)e * expert_bytes(w);
            assert_memory_equal(expert + (size_t)(at + i) * w->row_bytes,
                                codes + stored * row_bytes + slip_dtype_row_bytes(w->dtype, tensor->columns.first), w->row_bytes);
            if (scales)
                check_scales(w, tensor, part, scale, scales, first + e, row,
                             expert + (size_t)w->rows * w->row_bytes + (size_t)(at + i) * scale_row_bytes(w));
        }
    free(codes);
    free(scales);
}

/* False: this rank's columns begin inside of a block of scales, which is refused. */
static bool check_rank(slip_source *source, int32_t ranks, int32_t slices, int32_t rank)
{
    slip_placement placement;
    slip_program program = {0};
    slip_executor *executor = calloc(1, sizeof *executor);
    assert_int_equal(slip_placement_make(&source->model, ranks, slices, rank, &placement), SLIP_OK);
    assert_int_equal(slip_program_target(&source->model, &placement, &program), SLIP_OK);
    slip_status status = slip_shard_place(source, &program, &keeper, executor);
    if (status == SLIP_OK)
        status = slip_shard_load(source, &program, &keeper, executor);
    if (status != SLIP_OK)
        assert_non_null(strstr(slip_cause(), "use fewer ranks"));
    for (int32_t i = 0; i < program.tensor_count && status == SLIP_OK; i++) {
        const slip_tensor *tensor = &program.tensors[i];
        const kept *k = &executor->tensors[i];
        assert_int_equal(k->stored, k->weight.experts * (int64_t)expert_bytes(&k->weight));
        for (int64_t e = 0; e < k->weight.experts; e++)
            assert_int_equal(k->packed[e], 1);
        int64_t at = 0;
        for (int32_t p = 0; p < tensor->parts; at += program.parts[tensor->first_part + p++].rows.count)
            check_part(source, tensor, &program.parts[tensor->first_part + p], k, at);
    }
    slip_clear();
    slip_program_free(&program);
    forget(executor);
    return status == SLIP_OK;
}

static void check_layout(slip_comm *comm, const char *name)
{
    slip_source source;
    folder *at = folder_make();
    char from[128], model[256];
    int checked = 0;
    snprintf(from, sizeof from, "tests/golden/forward/fixtures/%s", name);
    snprintf(model, sizeof model, "%s", folder_join(at, "model.h5"));
    slip_convert_options options = {.source_folder = from, .out_path = model, .experts = SLIP_CONVERT_KEEP};
    assert_int_equal(slip_convert_run(&options), SLIP_OK);
    assert_int_equal(slip_source_open(comm, model, &source), SLIP_OK);
    for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++)
        for (int32_t ranks = 1; ranks <= 4; ranks++)
            for (int32_t slices = 1; slices <= ranks; slices++)
                for (int32_t rank = 0; rank < ranks && slip_placement_allows(&source.model, ranks, slices); rank++) {
                    source.threads = thread_counts[t];
                    checked += check_rank(&source, ranks, slices, rank);
                }
    assert_true(checked >= 6);
    slip_source_close(&source);
    folder_remove(at);
}

static void test_layouts(void **state)
{
    check_layout(*state, "pro-release");     /* fp8 qkv in chunks, mxfp4 experts */
    check_layout(*state, "v2.5-fused-fp8");  /* fp8 experts */
    check_layout(*state, "hf-odd-f32");      /* f32, split q, k and v */
    check_layout(*state, "hf-192-128-bf16"); /* bf16 */
}

/* ---- one tensor of many pieces, each of several reads ---- */

enum { EXPERTS = 3, ROWS = 4099, WIDTH = 4096 }; /* gate | up: two parts of 16 MiB an expert, so that an expert is a piece */

typedef struct {
    folder *at;
    char path[256];
    unsigned char *data; /* [2][EXPERTS][ROWS][WIDTH], the file */
    slip_dataset datasets[2];
    slip_part parts[2];
    slip_tensor tensor;
    slip_program program;
    slip_source source;
    uint32_t *checksums;
} scene;

static scene *make_scene(void)
{
    scene *s = calloc(1, sizeof *s);
    int64_t bytes = (int64_t)EXPERTS * ROWS * WIDTH;
    s->at = folder_make();
    snprintf(s->path, sizeof s->path, "%s", folder_join(s->at, "large"));
    s->data = calloc(2, (size_t)bytes);
    for (int64_t i = 0; i < 2 * bytes; i += 509)
        s->data[i] = (unsigned char)(i / 509 * 7 + 1);
    folder_write(s->at, "large", s->data, (size_t)(2 * bytes));
    s->checksums = calloc((size_t)(2 * slip_checksum_blocks(bytes)), sizeof *s->checksums);
    for (int p = 0; p < 2; p++) {
        s->datasets[p] = (slip_dataset){.dtype = SLIP_BF16,
                                        .dims = 3,
                                        .shape = {EXPERTS, ROWS, WIDTH / 2},
                                        .offset = p * bytes,
                                        .bytes = bytes,
                                        .first_block = p * slip_checksum_blocks(bytes)};
        snprintf(s->datasets[p].name, sizeof s->datasets[p].name, "target/part%d", p);
        s->parts[p] = (slip_part){{.experts = EXPERTS, .rows = ROWS, .columns = WIDTH / 2, .chunks = 1}, {0, ROWS}};
        snprintf(s->parts[p].weight.name, sizeof s->parts[p].weight.name, "target/part%d", p);
        slip_checksum_make(s->data + p * bytes, bytes, s->checksums + s->datasets[p].first_block);
    }
    s->tensor = (slip_tensor){.experts = {0, EXPERTS}, .columns = {0, WIDTH / 2}, .rows = 2 * ROWS, .parts = 2};
    s->program = (slip_program){.tensors = &s->tensor, .tensor_count = 1, .parts = s->parts, .part_count = 2};
    s->source = (slip_source){.path = s->path,
                              .table = {.datasets = s->datasets, .dataset_count = 2, .checksums = s->checksums, .file_size = 2 * bytes}};
    assert_int_equal(slip_checkpoint_files_open(&s->source.table, s->path, &s->source.files), SLIP_OK);
    return s;
}

static void drop_scene(scene *s)
{
    slip_checkpoint_files_close(&s->source.files);
    free(s->checksums);
    folder_remove(s->at);
    free(s->data);
    free(s);
}

static slip_status load_scene(scene *s, int threads, slip_executor *executor)
{
    s->source.threads = threads;
    assert_int_equal(slip_shard_place(&s->source, &s->program, &keeper, executor), SLIP_OK);
    return slip_shard_load(&s->source, &s->program, &keeper, executor);
}

static void check_pieces(scene *s)
{
    for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++) {
        slip_executor *executor = calloc(1, sizeof *executor);
        assert_int_equal(load_scene(s, thread_counts[t], executor), SLIP_OK);
        const kept *k = &executor->tensors[0];
        assert_int_equal(k->stored, 2L * EXPERTS * ROWS * WIDTH);
        for (int64_t e = 0; e < EXPERTS; e++)
            for (int p = 0; p < 2; p++) /* parts follow one another in an expert here, experts in a part there */
                assert_memory_equal(k->weight.data + (2 * e + p) * ROWS * WIDTH, s->data + (p * EXPERTS + e) * ROWS * WIDTH, ROWS * WIDTH);
        forget(executor);
    }
}

static void check_refused(scene *s, const char *cause)
{
    for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++) {
        slip_executor *executor = calloc(1, sizeof *executor);
        slip_clear();
        assert_int_equal(load_scene(s, thread_counts[t], executor), SLIP_ERR_INPUT);
        if (!strstr(slip_cause(), cause))
            fail_msg("%s", slip_cause());
        forget(executor);
    }
    slip_clear();
}

static void flip(const scene *s, int64_t at)
{
    int file = open(s->path, O_WRONLY);
    unsigned char byte = s->data[at] ^ 1;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    close(file);
}

/* Two flipped bits: the first one that is read is told, the same one with any number of threads. A file that ends early is told as such, and
 * what is under way is given up. */
static void test_pieces(void **state)
{
    (void)state;
    scene *s = make_scene();
    char cause[512];
    check_pieces(s);
    flip(s, s->datasets[1].offset + 30 * SLIP_CHECKSUM_BLOCK + 5);
    flip(s, s->datasets[0].bytes - 3);
    snprintf(cause, sizeof cause, "%s: /target/part1: damaged: its bytes %d to %d, from byte %lld of the file on", s->path,
             30 * SLIP_CHECKSUM_BLOCK, 31 * SLIP_CHECKSUM_BLOCK - 1, (long long)s->datasets[1].offset + 30 * SLIP_CHECKSUM_BLOCK);
    check_refused(s, cause);
    s->source.table.checksums = NULL; /* of version 1: nobody sees it */
    assert_int_equal(truncate(s->path, s->datasets[0].bytes * 3 / 2), 0);
    snprintf(cause, sizeof cause, "%s: ends at byte %lld", s->path, (long long)s->datasets[0].bytes * 3 / 2);
    check_refused(s, cause);
    drop_scene(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layouts), cmocka_unit_test(test_pieces)};
    return cmocka_run_group_tests(tests, tiny_comm_start, tiny_comm_finish);
}
