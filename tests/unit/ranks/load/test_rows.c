/* Weights that are not stacked and larger than a piece come in pieces of their rows: what a GPU is sent is, byte for byte, the weight packed
 * whole, with any number of threads, and no piece is larger than it may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "io/checkpoint/checksum.h"
#include "kernels/cuda/layout/pack.h"
#include "ranks/load/loader.h"

enum { PIECE = 64 << 20, ROWS = 8210, COLUMNS = 4096, PART_ROWS = 4300, PART_COLUMNS = 8192, FIRST_ROW = 130 };
enum { PART_BYTES = PART_ROWS * PART_COLUMNS, GRID_COLUMNS = PART_COLUMNS / 128, GRID_BYTES = (PART_ROWS + 127) / 128 * GRID_COLUMNS * 4 };
enum { FILE_BYTES = 2 * PART_BYTES + 2 * GRID_BYTES };
_Static_assert(2L * ROWS * COLUMNS > PIECE && 2L * ROWS * COLUMNS < FILE_BYTES, "the same bytes are a bf16 weight");

/* Three tensors of one file: its bytes as a bf16 matrix, the same as an embedding, and as two parts of an f8e4m3 matrix, of the first part not
 * all rows. */
typedef struct {
    folder *at;
    unsigned char *data;
    slip_dataset datasets[5];
    slip_part parts[4];
    slip_tensor tensors[3];
    slip_op op;
    slip_program program;
    slip_source source;
    uint32_t *checksums;
    unsigned char *sent[3];
    int64_t sent_bytes[3];
} scene;

static void add_dataset(scene *s, int index, const char *name, slip_dtype dtype, int64_t rows, int64_t columns, int64_t offset,
                        int64_t bytes)
{
    slip_dataset *d = &s->datasets[index];
    *d = (slip_dataset){.dtype = (int32_t)dtype, .dims = 2, .shape = {rows, columns}, .offset = offset, .bytes = bytes};
    d->first_block = index > 0 ? d[-1].first_block + slip_checksum_blocks(d[-1].bytes) : 0;
    snprintf(d->name, sizeof d->name, "%s", name);
    slip_checksum_make(s->data + offset, bytes, s->checksums + d->first_block);
}

static slip_part part(const char *name, int64_t rows, int64_t columns, slip_range range)
{
    slip_part made = {{.experts = -1, .rows = rows, .columns = columns, .chunks = 1}, range};
    snprintf(made.weight.name, sizeof made.weight.name, "%s", name);
    return made;
}

static scene *make_scene(void)
{
    static const slip_range none = {-1, 0};
    scene *s = calloc(1, sizeof *s);
    s->at = folder_make();
    s->data = calloc(1, FILE_BYTES);
    for (int64_t i = 0; i < FILE_BYTES; i += 61)
        s->data[i] = (unsigned char)(i / 61 * 7 + 1);
    folder_write(s->at, "large", s->data, FILE_BYTES);
    s->checksums = calloc((size_t)(2 * slip_checksum_blocks(FILE_BYTES) + 5), sizeof *s->checksums);
    add_dataset(s, 0, "a", SLIP_BF16, ROWS, COLUMNS, 0, 2L * ROWS * COLUMNS);
    add_dataset(s, 1, "b", SLIP_F8E4M3, PART_ROWS, PART_COLUMNS, 0, PART_BYTES);
    add_dataset(s, 2, "b_scale", SLIP_F32, GRID_BYTES / 4 / GRID_COLUMNS, GRID_COLUMNS, 2L * PART_BYTES, GRID_BYTES);
    add_dataset(s, 3, "c", SLIP_F8E4M3, PART_ROWS, PART_COLUMNS, PART_BYTES, PART_BYTES);
    add_dataset(s, 4, "c_scale", SLIP_F32, GRID_BYTES / 4 / GRID_COLUMNS, GRID_COLUMNS, 2L * PART_BYTES + GRID_BYTES, GRID_BYTES);
    s->parts[0] = s->parts[1] = part("a", ROWS, COLUMNS, (slip_range){0, ROWS});
    s->parts[2] = part("b", PART_ROWS, PART_COLUMNS, (slip_range){FIRST_ROW, PART_ROWS - FIRST_ROW});
    s->parts[3] = part("c", PART_ROWS, PART_COLUMNS, (slip_range){0, PART_ROWS});
    s->tensors[0] = (slip_tensor){.experts = none, .columns = {0, COLUMNS}, .rows = ROWS, .parts = 1};
    s->tensors[1] = (slip_tensor){.experts = none, .columns = {0, COLUMNS}, .rows = ROWS, .parts = 1, .first_part = 1};
    s->tensors[2] =
        (slip_tensor){.experts = none, .columns = {0, PART_COLUMNS}, .rows = 2 * PART_ROWS - FIRST_ROW, .parts = 2, .first_part = 2};
    s->op = (slip_op){.kind = SLIP_OP_EMBED, .weight = {1}};
    s->program = (slip_program){.tensors = s->tensors, .tensor_count = 3, .parts = s->parts, .part_count = 4, .ops = &s->op, .op_count = 1};
    s->source.path = folder_join(s->at, "large");
    s->source.table = (slip_checkpoint){.datasets = s->datasets, .dataset_count = 5, .checksums = s->checksums, .file_size = FILE_BYTES};
    assert_int_equal(slip_checkpoint_files_open(&s->source.table, s->source.path, &s->source.files), SLIP_OK);
    return s;
}

static void drop_scene(scene *s)
{
    slip_checkpoint_files_close(&s->source.files);
    folder_remove(s->at);
    free(s->checksums);
    free(s->data);
    free(s);
}

static bool any_order; /* a device; else a file */

static slip_status keep(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    scene *s = context;
    assert_true(any_order || s->sent_bytes[index] == first); /* in order, each byte once */
    if (s->sent[index] == NULL)
        s->sent[index] = malloc(FILE_BYTES + (FILE_BYTES >> 2));
    assert_true(first + bytes <= FILE_BYTES + (FILE_BYTES >> 2));
    memcpy(s->sent[index] + first, packed, (size_t)bytes);
    s->sent_bytes[index] += bytes;
    return SLIP_OK;
}

/* Tensor `index` in memory as one weight; the caller frees data and scale. */
static slip_weight whole(const scene *s, int32_t index)
{
    slip_weight w;
    assert_int_equal(slip_piece_form(&s->source, &s->program, &s->tensors[index], &w), SLIP_OK);
    w.data = malloc((size_t)w.rows * w.row_bytes);
    w.scale = w.dtype == SLIP_F8E4M3 ? malloc((size_t)(w.rows * w.scale_columns) * 4) : NULL;
    memcpy(w.data, s->data + (index == 2 ? FIRST_ROW * PART_COLUMNS : 0), (size_t)w.rows * w.row_bytes);
    for (int64_t row = 0; w.scale && row < w.rows; row++) {
        int64_t second = row + FIRST_ROW >= PART_ROWS, of_part = row + FIRST_ROW - second * PART_ROWS;
        const unsigned char *grid = s->data + 2L * PART_BYTES + second * GRID_BYTES;
        memcpy(w.scale + row * GRID_COLUMNS * 4, grid + of_part / 128 * GRID_COLUMNS * 4, GRID_COLUMNS * 4);
    }
    return w;
}

static void check_matrix(const scene *s, int32_t index)
{
    slip_cuda_matrix m;
    slip_weight w = whole(s, index);
    assert_int_equal(slip_cuda_matrix_plan(w.dtype, 1, w.rows, w.columns, 0, SLIP_USE_LINEAR, &m), SLIP_OK);
    assert_true(m.chunks > 1); /* or pieces would lie one behind the other */
    unsigned char *packed = malloc((size_t)m.expert_bytes);
    slip_cuda_matrix_pack(&w, 0, &m, packed);
    assert_int_equal(s->sent_bytes[index], m.expert_bytes);
    assert_memory_equal(s->sent[index], packed, (size_t)m.expert_bytes);
    free(packed);
    free(w.scale);
    free(w.data);
}

static void load(scene *s, int threads)
{
    slip_executor *packer;
    slip_packer_sink sink = {keep, s, any_order};
    s->source.threads = threads;
    assert_int_equal(slip_packer_create(&s->program, &sink, &packer), SLIP_OK);
    assert_int_equal(slip_shard_place(&s->source, &s->program, &slip_executor_packer, packer), SLIP_OK);
    if (slip_shard_load(&s->source, &s->program, &slip_executor_packer, packer) != SLIP_OK)
        fail_msg("%s", slip_cause());
    slip_executor_packer.destroy(packer);
}

static void test_rows(void **state)
{
    (void)state;
    static const int thread_counts[] = {0, 3};
    scene *s = make_scene();
    for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++) {
        any_order = t == 1;
        load(s, thread_counts[t]);
        check_matrix(s, 0);
        check_matrix(s, 2);
        assert_int_equal(s->sent_bytes[1], 2L * ROWS * COLUMNS);
        assert_memory_equal(s->sent[1], s->data, (size_t)s->sent_bytes[1]);
        for (int i = 0; i < 3; i++) {
            free(s->sent[i]);
            s->sent[i] = NULL;
            s->sent_bytes[i] = 0;
        }
    }
    drop_scene(s);
}

/* ---- how large a piece is ---- */

/* The packer, but for what pack() sees. */
static int64_t most_bytes;
static int64_t packs;

static void watch_pack(slip_executor *e, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    int64_t bytes = piece->rows * (int64_t)piece->row_bytes;
    most_bytes = bytes > most_bytes ? bytes : most_bytes;
    packs++;
    slip_executor_packer.pack(e, index, piece, from, to, packed);
}

static void test_bound(void **state)
{
    (void)state;
    any_order = false;
    scene *s = make_scene();
    slip_executor *packer;
    slip_packer_sink sink = {keep, s, false};
    slip_executor_kind watched = slip_executor_packer;
    watched.pack = watch_pack;
    assert_int_equal(slip_packer_create(&s->program, &sink, &packer), SLIP_OK);
    assert_int_equal(slip_shard_place(&s->source, &s->program, &watched, packer), SLIP_OK);
    assert_int_equal(slip_shard_load(&s->source, &s->program, &watched, packer), SLIP_OK);
    assert_true(packs >= 3 * 4 && most_bytes <= PIECE / 4);
    for (int i = 0; i < 3; i++)
        free(s->sent[i]);
    watched.destroy(packer);
    drop_scene(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_bound)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
