#include "jobs/convert/for_gpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/file/file.h"
#include "io/base/file/lock.h"
#include "jobs/convert/write/output.h"
#include "kernels/executor.h"
#include "ranks/load/packed.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "ranks/plan.h"

static const double SHARD_SECONDS = 7200; /* ranks wait for each other after every shard, which a slow disk may take long for */
enum { SLACK = 8192 /* bytes that HDF5 may add to a dataset: its header, and an alignment */ };

typedef struct {
    const slip_convert_options *options;
    slip_source source;
    int32_t slices;
    char *folder;
    slip_progress progress;
    int64_t done, bytes; /* of this rank's shards */
} job;

/* One shard under way: its program, what packs it, and the file that it goes to. */
typedef struct {
    job *job;
    slip_program program;
    slip_packed_shard shard;
    slip_packed_label label;
    char *path;
    int64_t bytes;
    bool finished; /* by an earlier run */
    slip_checkpoint_writer *writer;
} packing;

static int32_t slices_of(const slip_convert_options *options, const slip_model *model)
{
    return options->expert_slices > 0 ? options->expert_slices : slip_plan_slices(model, options->for_gpus);
}

static slip_status make_program(const slip_model *model, int32_t slices, const slip_packed_name *name, slip_program *program)
{
    slip_placement placement;
    if (name->draft) {
        slip_placement_draft(model, name->shards, name->shard, &placement);
        return slip_program_draft(model, &placement, program);
    }
    slip_status status = slip_placement_make(model, name->shards, slices, name->shard, &placement);
    return status == SLIP_OK ? slip_program_target(model, &placement, program) : status;
}

/* A shard's program on a packer: all of its tensors are placed. The caller frees both, also after a failure. */
static slip_status place(const slip_source *source, int32_t slices, const slip_packed_name *name, const slip_packer_sink *sink,
                         slip_program *program, slip_executor **packer)
{
    slip_status status = make_program(&source->model, slices, name, program);
    if (status == SLIP_OK)
        status = slip_packer_create(program, sink, packer);
    return status == SLIP_OK ? slip_shard_place(source, program, &slip_executor_packer, *packer) : status;
}

/* Shard `number` of all: those of the target, then the draft's. */
static slip_packed_name name_of(int32_t number, int32_t shards)
{
    return (slip_packed_name){number >= shards, number % shards, shards};
}

static int32_t shard_count(int32_t shards, const slip_model *model)
{
    return shards * (model->has_draft ? 2 : 1);
}

/* ---- the check ---- */

/* Bytes of a shard's datasets. */
static int64_t packed_bytes(const slip_packed_shard *shard)
{
    int64_t bytes = 0;
    for (int32_t i = 0; i < shard->program->tensor_count; i++) {
        slip_dataset dataset;
        slip_packed_dataset(shard, i, &dataset);
        bytes += dataset.bytes;
    }
    return bytes;
}

/* And all that HDF5 may add. */
static int64_t file_bytes(const slip_packed_shard *shard)
{
    return packed_bytes(shard) + (int64_t)SLACK * (shard->program->tensor_count + 16);
}

static slip_status check_shard(const slip_source *source, int32_t slices, const slip_packed_name *name, int64_t *bytes)
{
    slip_program program = {0};
    slip_packer_sink none = {0};
    slip_packed_shard shard = {.source = source, .program = &program, .kind = &slip_executor_packer, .name = *name};
    slip_status status = place(source, slices, name, &none, &program, &shard.executor);
    if (status == SLIP_OK)
        status = shard.kind->prepare(shard.executor);
    if (status == SLIP_OK)
        *bytes += file_bytes(&shard);
    if (shard.executor)
        shard.kind->destroy(shard.executor);
    slip_program_free(&program);
    return status;
}

slip_status slip_convert_check_gpus(const slip_convert_options *options, const slip_model *model, const slip_checkpoint *table,
                                    int64_t *bytes)
{
    slip_source source = {.path = options->out_path, .table = *table, .model = *model}; /* a table of what will be there */
    int32_t gpus = options->for_gpus;
    slip_status status = SLIP_OK;
    *bytes = 0;
    for (int32_t i = 0; gpus > 0 && i < shard_count(gpus, model) && status == SLIP_OK; i++) {
        slip_packed_name name = name_of(i, gpus);
        status = check_shard(&source, slices_of(options, model), &name, bytes);
    }
    return status;
}

/* ---- one shard ---- */

static slip_status store(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    packing *p = context;
    job *j = p->job;
    slip_dataset dataset;
    slip_status status = SLIP_OK;
    if (bytes == 0)
        return SLIP_OK;
    if (first == 0) {
        slip_packed_dataset(&p->shard, index, &dataset);
        status = slip_checkpoint_begin(p->writer, &dataset);
    }
    if (status == SLIP_OK)
        status = slip_checkpoint_append(p->writer, packed, bytes);
    j->done += bytes;
    slip_progress_bytes(&j->progress, "packing", j->done, j->bytes, slip_now_s());
    return status;
}

/* Was it packed already, just as we would? */
static bool is_finished(const packing *p)
{
    slip_packed packed = {0};
    bool finished = slip_file_is_there(p->path) && slip_packed_find(&p->shard, &packed) == SLIP_OK;
    slip_packed_close(&packed);
    slip_clear();
    return finished;
}

/* All but the bytes. The caller ends it, also after a failure. */
static slip_status begin(job *j, const slip_packed_name *name, packing *p)
{
    slip_packer_sink sink = {store, p, false};
    *p = (packing){.job = j, .shard = {.source = &j->source, .program = &p->program, .kind = &slip_executor_packer, .name = *name}};
    slip_status status = slip_packed_path(j->options->out_path, name, &p->path);
    if (status == SLIP_OK)
        status = place(&j->source, j->slices, name, &sink, &p->program, &p->shard.executor);
    if (status == SLIP_OK)
        status = slip_packed_label_make(&p->shard, &p->label);
    p->bytes = status == SLIP_OK ? packed_bytes(&p->shard) : 0;
    p->finished = status == SLIP_OK && is_finished(p);
    return status;
}

static void end(packing *p)
{
    slip_checkpoint_writer_free(p->writer);
    if (p->shard.executor)
        p->shard.kind->destroy(p->shard.executor);
    slip_program_free(&p->program);
    free(p->path);
}

static slip_status pack(job *j, const slip_packed_name *name)
{
    packing p;
    slip_status status = begin(j, name, &p);
    if (status == SLIP_OK && !p.finished) {
        status = slip_checkpoint_create_packed(p.path, &p.label, &p.writer);
        if (status == SLIP_OK)
            status = slip_shard_load(&j->source, &p.program, p.shard.kind, p.shard.executor);
        if (status == SLIP_OK)
            status = slip_checkpoint_commit(p.writer);
    }
    end(&p);
    return status;
}

/* ---- all of them ---- */

/* Does the disk have room for what is not there yet? Counts what is ours to do, too. */
static slip_status measure(job *j)
{
    struct statvfs disk;
    int64_t all = 0;
    int32_t count = shard_count(j->options->for_gpus, &j->source.model);
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < count && status == SLIP_OK; i++) {
        packing p;
        slip_packed_name name = name_of(i, j->options->for_gpus);
        status = begin(j, &name, &p);
        int64_t bytes = p.finished ? 0 : p.bytes;
        all += p.finished || status != SLIP_OK ? 0 : file_bytes(&p.shard);
        j->bytes += i % slip_comm_ranks(j->options->comm) == slip_comm_rank(j->options->comm) ? bytes : 0;
        end(&p);
    }
    if (status == SLIP_OK && statvfs(j->folder, &disk) != 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: %s", j->folder, strerror(errno));
    if (status == SLIP_OK && disk.f_bavail < (uint64_t)all / disk.f_frsize)
        return slip_fail(SLIP_ERR_FAILED, "%s: needs %lld bytes, and its file system has %llu left", j->folder, (long long)all,
                         (unsigned long long)disk.f_bavail * disk.f_frsize);
    return status;
}

/* A shard a rank at a time. Ranks meet after each, so that a failure ends all of them soon. */
static slip_status pack_all(job *j)
{
    int ranks = slip_comm_ranks(j->options->comm);
    int32_t count = shard_count(j->options->for_gpus, &j->source.model);
    slip_status status = SLIP_OK;
    for (int32_t first = 0; first < count && status == SLIP_OK; first += ranks) {
        int32_t mine = first + slip_comm_rank(j->options->comm);
        slip_packed_name name = name_of(mine, j->options->for_gpus);
        status = slip_comm_agree(j->options->comm, mine < count ? pack(j, &name) : SLIP_OK);
    }
    return status;
}

static slip_status make_folder(const char *folder)
{
    if (mkdir(folder, 0777) == 0 || errno == EEXIST)
        return SLIP_OK;
    return slip_fail(slip_file_blame(errno), "%s: cannot be created: %s", folder, strerror(errno));
}

static slip_status pack_model(job *j)
{
    const slip_convert_options *options = j->options;
    bool speaks = slip_convert_speaks(options);
    slip_lock *lock = NULL;
    double started = slip_now_s();
    slip_status status = slip_packed_folder(options->out_path, &j->folder);
    if (status == SLIP_OK && speaks)
        status = slip_lock_take(j->folder, &lock);
    if (status == SLIP_OK && speaks)
        status = make_folder(j->folder);
    status = slip_comm_agree(options->comm, status);
    if (status == SLIP_OK)
        status = slip_comm_agree(options->comm, measure(j));
    slip_progress_start(&j->progress, speaks && !options->quiet ? stderr : NULL, 0, 0, slip_now_s());
    if (status == SLIP_OK)
        status = pack_all(j);
    slip_progress_clear(&j->progress);
    if (status == SLIP_OK && speaks && !options->quiet)
        fprintf(stderr, "packed for %d GPUs, experts cut in %d, in %.1f s -> %s\n", options->for_gpus, j->slices, slip_now_s() - started,
                j->folder);
    if (status != SLIP_OK && speaks)
        (void)rmdir(j->folder); /* where it is empty, nobody need hear of it */
    slip_lock_release(lock);
    return status;
}

/* For --json. */
static slip_status note(const job *j)
{
    json_t *object = j->options->json;
    if (object == NULL || (json_object_set_new(object, "for_gpus", json_integer(j->options->for_gpus)) == 0 &&
                           json_object_set_new(object, "expert_slices", json_integer(j->slices)) == 0))
        return SLIP_OK;
    return slip_fail(SLIP_ERR_FAILED, "out of memory for the figures");
}

slip_status slip_convert_for_gpus(const slip_convert_options *options)
{
    job j = {.options = options};
    slip_comm_set_deadline(options->comm, SHARD_SECONDS);
    slip_status status = slip_source_open(options->comm, options->out_path, &j.source);
    if (status != SLIP_OK)
        return status;
    j.slices = slices_of(options, &j.source.model);
    int64_t bytes;
    status = slip_comm_agree(options->comm, slip_convert_check_gpus(options, &j.source.model, &j.source.table, &bytes));
    if (status == SLIP_OK && !options->dry_run)
        status = pack_model(&j);
    else if (status == SLIP_OK && slip_convert_speaks(options) && !options->quiet)
        fprintf(stderr, "checked %s for %d GPUs, experts cut in %d: %.1f MB, which were not written\n", options->out_path,
                options->for_gpus, j.slices, (double)bytes * 1e-6);
    if (status == SLIP_OK)
        status = note(&j);
    slip_source_close(&j.source);
    free(j.folder);
    return status;
}
