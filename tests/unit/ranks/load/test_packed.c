/* convert --for-gpus against packing afresh: what is copied from a shard's file is, byte for byte, what loading the model would have packed;
 * a file of another model, cut or version is passed over with a line that says why; damage is named. */
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
#include "io/base/clock.h"
#include "io/checkpoint/checksum.h"
#include "jobs/convert/convert.h"
#include "ranks/load/fetch.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_checkpoint.h"

enum { TENSORS = 256 };
static const int thread_counts[] = {0, 1, 3};

/* A shard on the packer, and the memory that its device would have. */
typedef struct {
    slip_source source;
    slip_program program;
    slip_packed_shard shard;
    unsigned char *memory[TENSORS];
    int64_t stored[TENSORS];
} machine;

static slip_status keep(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    machine *m = context;
    assert_int_equal(m->stored[index], first); /* in order, each byte once */
    m->stored[index] += bytes;
    memcpy(m->memory[index] + first, packed, (size_t)bytes);
    return SLIP_OK;
}

static int64_t bytes_of(const machine *m, int32_t tensor)
{
    slip_dataset dataset;
    slip_packed_dataset(&m->shard, tensor, &dataset);
    return dataset.bytes;
}

static machine *start(slip_comm *comm, const char *path, slip_packed_name name, int32_t slices, int threads)
{
    machine *m = calloc(1, sizeof *m);
    slip_placement placement;
    slip_packer_sink sink = {keep, m, false};
    assert_non_null(m);
    assert_int_equal(slip_source_open(comm, path, &m->source), SLIP_OK);
    m->source.threads = threads;
    m->shard = (slip_packed_shard){&m->source, &m->program, &slip_executor_packer, NULL, name};
    if (name.draft) {
        slip_placement_draft(&m->source.model, name.shards, name.shard, &placement);
        assert_int_equal(slip_program_draft(&m->source.model, &placement, &m->program), SLIP_OK);
    } else {
        assert_int_equal(slip_placement_make(&m->source.model, name.shards, slices, name.shard, &placement), SLIP_OK);
        assert_int_equal(slip_program_target(&m->source.model, &placement, &m->program), SLIP_OK);
    }
    assert_true(m->program.tensor_count <= TENSORS);
    assert_int_equal(slip_packer_create(&m->program, &sink, &m->shard.executor), SLIP_OK);
    assert_int_equal(slip_shard_place(&m->source, &m->program, m->shard.kind, m->shard.executor), SLIP_OK);
    for (int32_t i = 0; i < m->program.tensor_count; i++)
        m->memory[i] = calloc((size_t)bytes_of(m, i) + 1, 1);
    return m;
}

static void stop(machine *m)
{
    for (int32_t i = 0; i < m->program.tensor_count; i++)
        free(m->memory[i]);
    m->shard.kind->destroy(m->shard.executor);
    slip_program_free(&m->program);
    slip_source_close(&m->source);
    free(m);
}

static machine *pack_afresh(slip_comm *comm, const char *path, slip_packed_name name, int32_t slices)
{
    machine *m = start(comm, path, name, slices, 0);
    assert_int_equal(slip_shard_load(&m->source, &m->program, m->shard.kind, m->shard.executor), SLIP_OK);
    return m;
}

static void check_same(const machine *a, const machine *b)
{
    assert_int_equal(a->program.tensor_count, b->program.tensor_count);
    for (int32_t i = 0; i < a->program.tensor_count; i++) {
        assert_int_equal(a->stored[i], bytes_of(a, i));
        assert_int_equal(b->stored[i], a->stored[i]);
        assert_memory_equal(a->memory[i], b->memory[i], (size_t)a->stored[i]);
    }
}

/* ---- what is copied ---- */

static void check_shard(slip_comm *comm, const char *path, slip_packed_name name, int32_t slices)
{
    machine *fresh = pack_afresh(comm, path, name, slices);
    for (size_t t = 0; t < sizeof thread_counts / sizeof *thread_counts; t++) {
        machine *copied = start(comm, path, name, slices, thread_counts[t]);
        slip_packed packed;
        if (slip_packed_find(&copied->shard, &packed) != SLIP_OK)
            fail_msg("%s", slip_cause());
        assert_int_equal(slip_packed_load(&packed, &copied->shard), SLIP_OK);
        check_same(fresh, copied);
        slip_packed_close(&packed);
        stop(copied);
    }
    stop(fresh);
}

static slip_status convert(slip_comm *comm, const char *from, const char *to, int32_t gpus, int32_t slices)
{
    slip_convert_options options = {
        .source_folder = from, .out_path = to, .for_gpus = gpus, .expert_slices = slices, .quiet = true, .comm = comm};
    return slip_convert_run(&options);
}

static void check_layout(slip_comm *comm, const char *fixture, int32_t gpus, int32_t slices, bool drafter)
{
    folder *at = folder_make();
    char from[128], model[256];
    snprintf(from, sizeof from, "tests/golden/forward/fixtures/%s", fixture);
    snprintf(model, sizeof model, "%s", folder_join(at, "model.h5"));
    if (convert(comm, from, model, gpus, slices) != SLIP_OK)
        fail_msg("%s", slip_cause());
    for (int32_t shard = 0; shard < gpus; shard++) {
        check_shard(comm, model, (slip_packed_name){false, shard, gpus}, slices);
        if (drafter)
            check_shard(comm, model, (slip_packed_name){true, shard, gpus}, slices);
    }
    folder_remove(at);
}

static void test_layouts(void **state)
{
    check_layout(*state, "pro-release", 1, 1, false); /* fp8 qkv in chunks, mxfp4 experts */
    check_layout(*state, "v2.5-fused-fp8", 1, 1, true);
    check_layout(*state, "hf-odd-f32", 1, 1, false);
    check_layout(*state, "pro-split-bf16", 2, 1, true);
    check_layout(*state, "hf-192-128-bf16", 2, 2, false); /* experts cut over both */
}

/* ---- what is passed over, and what is refused ---- */

typedef struct {
    folder *at;
    slip_comm *comm;
    char model[256], file[320];
    FILE *said;
} scene;

static const slip_packed_name first_of_two = {false, 0, 2};

static scene make_scene(slip_comm *comm)
{
    scene s = {.at = folder_make(), .comm = comm, .said = tmpfile()};
    snprintf(s.model, sizeof s.model, "%s", folder_join(s.at, "model.h5"));
    snprintf(s.file, sizeof s.file, "%s.gpu/target-0-of-2.h5", s.model);
    assert_non_null(s.said);
    if (convert(comm, "tests/golden/forward/fixtures/hf-192-128-bf16", s.model, 2, 1) != SLIP_OK)
        fail_msg("%s", slip_cause());
    return s;
}

static void drop_scene(scene *s)
{
    fclose(s->said);
    folder_remove(s->at);
}

/* The weights are right, from wherever they came, and the line that was said of it has these words. */
static void check_fetched(scene *s, int32_t slices, const char *words)
{
    char line[1024] = "";
    slip_progress progress;
    machine *fresh = pack_afresh(s->comm, s->model, first_of_two, slices), *m = start(s->comm, s->model, first_of_two, slices, 1);
    slip_progress_start(&progress, s->said, 0, 0, slip_now_s());
    m->source.progress = &progress;
    rewind(s->said);
    assert_int_equal(ftruncate(fileno(s->said), 0), 0);
    assert_int_equal(slip_shard_fetch(s->comm, &m->shard), SLIP_OK);
    assert_string_equal(slip_cause(), "");
    check_same(fresh, m);
    rewind(s->said);
    int lines = 0, right = 0;
    while (fgets(line, sizeof line, s->said) != NULL) {
        bool ours = strncmp(line, "# packed ", 9) == 0; /* not of progress */
        lines += ours;
        right += ours && words != NULL && strstr(line, words) != NULL;
    }
    assert_int_equal(lines, words != NULL);
    assert_int_equal(right, lines);
    stop(m);
    stop(fresh);
}

static void test_stale(void **state)
{
    scene s = make_scene(*state);
    char path[400];
    check_fetched(&s, 1, "the target is copied from ");
    check_fetched(&s, 2, "the model was cut in another way: see --expert-slices; the target is loaded from ");
    snprintf(path, sizeof path, "%s.kept", s.file);
    assert_int_equal(rename(s.file, path), 0);
    check_fetched(&s, 1, "target-0-of-2.h5: cannot be opened: No such file or directory; the target is loaded from ");
    assert_int_equal(rename(path, s.file), 0);
    assert_int_equal(truncate(s.file, 5000), 0);
    check_fetched(&s, 1, "; the target is loaded from ");
    assert_int_equal(unlink(s.model), 0); /* the next model of that name, with other values */
    assert_int_equal(convert(s.comm, "tests/golden/forward/fixtures/v2.5-fused-fp8", s.model, 0, 0), SLIP_OK);
    assert_int_equal(unlink(s.file), 0);
    snprintf(path, sizeof path, "%s.gpu/target-1-of-2.h5", s.model);
    assert_int_equal(rename(path, s.file), 0);
    machine *m = start(s.comm, s.model, (slip_packed_name){false, 0, 1}, 1, 0);
    m->shard.name = first_of_two;
    slip_packed packed;
    assert_int_equal(slip_packed_find(&m->shard, &packed), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "packed from another model, or from an earlier state of it"));
    slip_clear();
    stop(m);
    drop_scene(&s);
}

/* Nobody ever packed it: nothing is said. */
static void test_never_packed(void **state)
{
    scene s = make_scene(*state);
    char path[400], command[820];
    snprintf(path, sizeof path, "%s.gpu", s.model);
    snprintf(command, sizeof command, "%s/other", s.at->path);
    assert_int_equal(rename(path, command), 0);
    check_fetched(&s, 1, NULL);
    drop_scene(&s);
}

/* Every field of the label counts, and is named. */
static void test_label(void **state)
{
    scene s = make_scene(*state);
    machine *m = start(s.comm, s.model, first_of_two, 1, 0);
    slip_packed_label label;
    slip_checkpoint table;
    char wanted[64];
    assert_int_equal(slip_packed_label_make(&m->shard, &label), SLIP_OK);
#define CHECK(field, reason) \
    label.field[0] ^= 1; \
    assert_int_equal(slip_packed_open(s.file, &label, &table), SLIP_ERR_INPUT); \
    snprintf(wanted, sizeof wanted, ": " #field " is \""); \
    assert_non_null(strstr(slip_cause(), wanted)); \
    assert_non_null(strstr(slip_cause(), reason)); \
    slip_clear(); \
    label.field[0] ^= 1;
    SLIP_PACKED_LABEL(CHECK)
#undef CHECK
    assert_int_equal(slip_packed_open(s.file, &label, &table), SLIP_OK);
    slip_checkpoint_free(&table);
    stop(m);
    drop_scene(&s);
}

static void flip(const char *path, int64_t at)
{
    unsigned char byte;
    int file = open(path, O_RDWR);
    assert_int_equal(pread(file, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    close(file);
}

/* A flipped bit of any tensor is named; nothing of the model is read instead. */
static void test_damage(void **state)
{
    scene s = make_scene(*state);
    machine *m = start(s.comm, s.model, first_of_two, 1, 1);
    slip_packed packed;
    assert_int_equal(slip_packed_find(&m->shard, &packed), SLIP_OK);
    for (int32_t i = 0; i < packed.table.dataset_count; i += 5) {
        const slip_dataset *dataset = &packed.table.datasets[i];
        char wanted[512];
        machine *damaged = start(s.comm, s.model, first_of_two, 1, 1);
        flip(s.file, dataset->offset + dataset->bytes - 1);
        assert_int_equal(slip_shard_fetch(s.comm, &damaged->shard), SLIP_ERR_INPUT);
        snprintf(wanted, sizeof wanted, "target-0-of-2.h5: /%s: damaged: its bytes ", dataset->name);
        if (strstr(slip_cause(), wanted) == NULL)
            fail_msg("%s", slip_cause());
        slip_clear();
        flip(s.file, dataset->offset + dataset->bytes - 1);
        stop(damaged);
    }
    slip_packed_close(&packed);
    stop(m);
    drop_scene(&s);
}

/* ---- packing again ---- */

static void check_bytes(const char *path, const char *bytes, size_t size)
{
    size_t now;
    char *found = folder_read(path, &now);
    assert_int_equal(now, size);
    assert_memory_equal(found, bytes, size);
    free(found);
}

static ino_t inode(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

/* What is there and right stays; what is missing, torn or of another cut is made again, to the same bytes. */
static void test_again(void **state)
{
    scene s = make_scene(*state);
    char other[400], partial[400];
    size_t size;
    char *bytes = folder_read(s.file, &size);
    snprintf(other, sizeof other, "%s.gpu/target-1-of-2.h5", s.model);
    snprintf(partial, sizeof partial, "%s.partial", s.file);
    ino_t kept = inode(other);
    assert_int_equal(truncate(s.file, 5000), 0);
    folder_write(s.at, "model.h5.gpu/target-0-of-2.h5.partial", "torn", 4);
    assert_int_equal(convert(s.comm, s.model, s.model, 2, 1), SLIP_OK);
    assert_int_equal(inode(other), kept);
    assert_int_not_equal(access(partial, F_OK), 0);
    check_bytes(s.file, bytes, size);
    assert_int_equal(convert(s.comm, s.model, s.model, 2, 2), SLIP_OK);
    check_fetched(&s, 2, "the target is copied from ");
    assert_int_equal(convert(s.comm, s.model, s.model, 2, 1), SLIP_OK);
    check_bytes(s.file, bytes, size);
    assert_int_equal(convert(s.comm, "tests/golden/forward/fixtures/hf-192-128-bf16", s.model, 2, 1), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "exists already; to pack it as it is: slipstream convert "));
    slip_clear();
    free(bytes);
    drop_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layouts), cmocka_unit_test(test_stale),  cmocka_unit_test(test_never_packed),
                                       cmocka_unit_test(test_label),   cmocka_unit_test(test_damage), cmocka_unit_test(test_again)};
    return cmocka_run_group_tests(tests, tiny_comm_start, tiny_comm_finish);
}
