#include "ranks/load/packed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/file/file.h"
#include "io/base/hash/hash.h"
#include "io/base/pool/pool.h"
#include "io/checkpoint/checksum.h"
#include "ranks/load/piece.h"

enum {
    READ = 8 << 20,  /* whole blocks of checksums */
    MOST_CHECKS = 2, /* threads: one checks faster than most disks read */
};
_Static_assert(READ % SLIP_CHECKSUM_BLOCK == 0, "a read begins and ends with a block");

/* ---- what a shard is ---- */

/* Which rows, columns and experts of which weights. */
static uint64_t hash_cut(const slip_program *program)
{
    uint64_t hash = SLIP_HASH_START;
    for (int32_t i = 0; i < program->tensor_count; i++) {
        const slip_tensor *tensor = &program->tensors[i];
        int64_t cut[] = {tensor->experts.first, tensor->experts.count, tensor->columns.first, tensor->columns.count, tensor->parts};
        hash = slip_hash_field(hash, cut, sizeof cut);
        for (int32_t p = 0; p < tensor->parts; p++) {
            const slip_part *part = &program->parts[tensor->first_part + p];
            hash = slip_hash_field(slip_hash_text(hash, part->weight.name), &part->rows, sizeof part->rows);
        }
    }
    return hash;
}

slip_status slip_packed_label_make(const slip_packed_shard *shard, slip_packed_label *label)
{
    const slip_checkpoint *table = &shard->source->table;
    uint64_t layout = 0, model = SLIP_HASH_START;
    if (table->checksums == NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: has no checksums: slipstream convert makes a copy that has", shard->source->path);
    slip_status status = shard->kind->packed_layout(shard->executor, &layout);
    model = slip_hash_field(model, table->checksums, (size_t)table->checksum_count * sizeof *table->checksums);
    snprintf(label->model, sizeof label->model, "%016" PRIx64, model);
    snprintf(label->shard, sizeof label->shard, "%s %d of %d", shard->name.draft ? "draft" : "target", shard->name.shard,
             shard->name.shards);
    snprintf(label->cut, sizeof label->cut, "%016" PRIx64, hash_cut(shard->program));
    snprintf(label->layout, sizeof label->layout, "%016" PRIx64, layout);
    return status;
}

void slip_packed_dataset(const slip_packed_shard *shard, int32_t index, slip_dataset *dataset)
{
    const slip_tensor *tensor = &shard->program->tensors[index];
    int64_t experts = tensor->experts.first < 0 ? 1 : tensor->experts.count;
    int64_t bytes = (int64_t)shard->kind->packed_bytes(shard->executor, index);
    *dataset = (slip_dataset){.dims = 2, .shape = {experts, bytes}, .bytes = experts * bytes};
    snprintf(dataset->name, sizeof dataset->name, SLIP_PACKED_GROUP "/%.*s", (int)(sizeof dataset->name - sizeof SLIP_PACKED_GROUP - 1),
             shard->program->parts[tensor->first_part].weight.name);
}

/* ---- its file ---- */

static slip_status check_datasets(const slip_packed *packed, const slip_packed_shard *shard)
{
    int32_t wanted = 0;
    for (int32_t i = 0; i < shard->program->tensor_count; i++) {
        slip_dataset dataset;
        slip_packed_dataset(shard, i, &dataset);
        if (dataset.bytes == 0)
            continue;
        const slip_dataset *found = slip_checkpoint_find(&packed->table, dataset.name);
        if (found == NULL)
            return slip_fail(SLIP_ERR_INPUT, "%s: dataset /%s is missing", packed->path, dataset.name);
        if (found->bytes != dataset.bytes)
            return slip_fail(SLIP_ERR_INPUT, "%s: /%s: %lld bytes, not %lld", packed->path, dataset.name, (long long)found->bytes,
                             (long long)dataset.bytes);
        wanted++;
    }
    if (wanted != packed->table.dataset_count)
        return slip_fail(SLIP_ERR_INPUT, "%s: holds %d datasets, not %d", packed->path, packed->table.dataset_count, wanted);
    return SLIP_OK;
}

slip_status slip_packed_find(const slip_packed_shard *shard, slip_packed *packed)
{
    slip_packed_label label;
    slip_packed found = {.file = -1};
    int64_t size;
    slip_status status = slip_packed_path(shard->source->path, &shard->name, &found.path);
    if (status == SLIP_OK)
        status = slip_file_open(found.path, &found.file, &size);
    if (status == SLIP_OK)
        status = slip_packed_label_make(shard, &label);
    if (status == SLIP_OK)
        status = slip_packed_open(found.path, &label, &found.table);
    if (status == SLIP_OK)
        status = check_datasets(&found, shard);
    found.open = true;
    if (status == SLIP_OK)
        *packed = found;
    else
        slip_packed_close(&found);
    return status;
}

void slip_packed_close(slip_packed *packed)
{
    if (packed->open && packed->file >= 0)
        close(packed->file);
    slip_checkpoint_free(&packed->table);
    free(packed->path);
    *packed = (slip_packed){0};
}

/* ---- to the executor ---- */

typedef struct copying copying;

/* A read on its way. */
typedef struct {
    slip_pool_job job;
    slip_pool_open_jobs open;
    copying *copying;
    unsigned char *data;         /* [READ], the executor's */
    const slip_dataset *dataset; /* NULL: nothing is on its way */
    int32_t index;               /* of the tensor */
    int64_t first, bytes;        /* of it */
    int64_t damaged;             /* as slip_checksum_find_damage() */
} read_job;

struct copying {
    const slip_packed *packed;
    const slip_packed_shard *shard;
    slip_pool *pool;
    read_job reads[MOST_CHECKS + 2];
    int32_t read_count, next;
    int64_t done, total;
};

/* In any thread. */
static void check(void *context)
{
    read_job *r = context;
    r->damaged = slip_checksum_find_damage(&r->copying->packed->table, r->dataset, r->first, r->bytes, r->data);
}

/* Its buffer is free again, and what was in it is stored. */
static slip_status retire(copying *c, read_job *r)
{
    slip_pool_wait(c->pool, &r->open, "checking", c->packed->path);
    const slip_dataset *dataset = r->dataset;
    r->dataset = NULL;
    if (dataset == NULL)
        return SLIP_OK;
    if (r->damaged >= 0)
        return slip_checksum_damaged(c->packed->path, dataset, r->damaged);
    slip_status status = c->shard->kind->store(c->shard->executor, r->index, r->first, r->bytes, r->data);
    c->done += r->bytes;
    slip_progress_bytes(c->shard->source->progress, "loading", c->done, c->total, slip_now_s());
    return status;
}

static slip_status read_next(copying *c, int32_t index, const slip_dataset *dataset, int64_t first)
{
    read_job *r = &c->reads[c->next++ % c->read_count];
    int64_t left = dataset->bytes - first, bytes = left < READ ? left : READ, ahead = left - bytes;
    slip_status status = retire(c, r);
    if (status == SLIP_OK && ahead > 0)
        slip_file_ask_ahead(c->packed->file, c->packed->path, ahead < READ ? ahead : READ, dataset->offset + first + bytes);
    if (status == SLIP_OK)
        status = slip_file_read_at(c->packed->file, c->packed->path, r->data, bytes, dataset->offset + first);
    if (status != SLIP_OK)
        return status;
    r->dataset = dataset;
    r->index = index;
    r->first = first;
    r->bytes = bytes;
    slip_pool_submit(c->pool, &r->job);
    return SLIP_OK;
}

static slip_status copy(copying *c)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < c->shard->program->tensor_count && status == SLIP_OK; i++) {
        slip_dataset wanted;
        slip_packed_dataset(c->shard, i, &wanted);
        const slip_dataset *dataset = wanted.bytes > 0 ? slip_checkpoint_find(&c->packed->table, wanted.name) : NULL;
        for (int64_t first = 0; first < wanted.bytes && status == SLIP_OK; first += READ)
            status = read_next(c, i, dataset, first);
    }
    for (int32_t i = 0; i < c->read_count && status == SLIP_OK; i++)
        status = retire(c, &c->reads[c->next++ % c->read_count]);
    return status;
}

static slip_status make_reads(copying *c)
{
    slip_status status = SLIP_OK;
    int threads = slip_pool_threads(c->pool), count = threads > 0 ? threads + 2 : 1;
    for (int32_t i = 0; i < count && status == SLIP_OK; i++) {
        read_job *r = &c->reads[i];
        *r = (read_job){.job = {check, r, &r->open, NULL}, .copying = c, .damaged = -1};
        status = c->shard->kind->alloc_packed(c->shard->executor, READ, &r->data);
        c->read_count += status == SLIP_OK;
    }
    return status;
}

slip_status slip_packed_load(const slip_packed *packed, const slip_packed_shard *shard)
{
    copying c = {.packed = packed, .shard = shard};
    int threads = shard->source->threads;
    for (int32_t i = 0; i < packed->table.dataset_count; i++)
        c.total += packed->table.datasets[i].bytes;
    slip_status status = slip_pool_create(threads < MOST_CHECKS ? threads : MOST_CHECKS, &c.pool);
    if (status != SLIP_OK)
        return status;
    status = make_reads(&c);
    if (status == SLIP_OK)
        status = copy(&c);
    for (int32_t i = 0; i < c.read_count; i++) {
        slip_pool_wait(c.pool, &c.reads[i].open, "checking", packed->path);
        shard->kind->free_packed(shard->executor, c.reads[i].data);
    }
    slip_pool_free(c.pool);
    return status;
}
