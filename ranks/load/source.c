/* Opening a checkpoint on all ranks. */
#include <stdlib.h>
#include <string.h>

#include "io/base/activity/activity.h"
#include "ranks/load/shard.h"

typedef struct {
    uint64_t config, draft_config, settings; /* bytes with the NUL; 0: none */
    int64_t file_size, checksums;
    int32_t datasets, version, parts;
} table_sizes;

/* *bytes is malloc'ed where it is not there yet; 0 bytes stay NULL. */
static slip_status broadcast(slip_comm *comm, void **bytes, uint64_t size)
{
    if (size == 0)
        return SLIP_OK;
    if (slip_comm_rank(comm) != 0)
        *bytes = malloc(size);
    slip_status status = slip_comm_agree(comm, *bytes ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory"));
    return status != SLIP_OK ? status : slip_comm_broadcast(comm, *bytes, size);
}

static slip_status broadcast_text(slip_comm *comm, char **text, uint64_t size)
{
    void *bytes = *text;
    slip_status status = broadcast(comm, &bytes, size);
    *text = bytes;
    return status;
}

static slip_status broadcast_checksums(slip_comm *comm, slip_checkpoint *table)
{
    void *bytes = table->checksums;
    slip_status status = broadcast(comm, &bytes, (uint64_t)table->checksum_count * sizeof *table->checksums);
    table->checksums = bytes;
    return status;
}

static slip_status broadcast_parts(slip_comm *comm, slip_checkpoint *table)
{
    void *bytes = table->parts;
    slip_status status = broadcast(comm, &bytes, (uint64_t)table->part_count * sizeof *table->parts);
    table->parts = bytes;
    return status;
}

static slip_status broadcast_table(slip_comm *comm, slip_checkpoint *table)
{
    table_sizes sizes = {0};
    if (slip_comm_rank(comm) == 0) {
        sizes.config = strlen(table->config) + 1;
        sizes.draft_config = table->draft_config ? strlen(table->draft_config) + 1 : 0;
        sizes.settings = table->settings ? strlen(table->settings) + 1 : 0;
        sizes.file_size = table->file_size;
        sizes.checksums = table->checksum_count;
        sizes.version = table->version;
        sizes.datasets = table->dataset_count;
        sizes.parts = table->part_count;
    }
    slip_status status = slip_comm_broadcast(comm, &sizes, sizeof sizes);
    if (status != SLIP_OK)
        return status;
    table->file_size = sizes.file_size;
    table->dataset_count = sizes.datasets;
    table->checksum_count = sizes.checksums;
    table->version = sizes.version;
    table->part_count = sizes.parts;
    status = broadcast_text(comm, &table->config, sizes.config);
    if (status == SLIP_OK)
        status = broadcast_text(comm, &table->draft_config, sizes.draft_config);
    if (status == SLIP_OK)
        status = broadcast_text(comm, &table->settings, sizes.settings);
    if (status == SLIP_OK)
        status = broadcast_checksums(comm, table);
    if (status == SLIP_OK)
        status = broadcast_parts(comm, table);
    if (status != SLIP_OK)
        return status;
    if (slip_comm_rank(comm) != 0)
        table->datasets = calloc((size_t)sizes.datasets + 1, sizeof *table->datasets);
    status = slip_comm_agree(comm, table->datasets ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory"));
    return status != SLIP_OK ? status : slip_comm_broadcast(comm, table->datasets, (size_t)sizes.datasets * sizeof *table->datasets);
}

static slip_status open_here(slip_source *source)
{
    slip_status status = slip_checkpoint_files_open(&source->table, source->path, &source->files);
    return status == SLIP_OK ? slip_checkpoint_model(&source->table, source->path, &source->model) : status;
}

slip_status slip_source_open(slip_comm *comm, const char *path, slip_source *source)
{
    *source = (slip_source){.path = path, .threads = slip_comm_cpus(comm) - 1};
    slip_activity_phase("opening the model");
    slip_status status = SLIP_OK;
    if (slip_comm_rank(comm) == 0)
        status = slip_checkpoint_open(path, &source->table);
    status = slip_comm_agree(comm, status);
    if (status == SLIP_OK)
        status = broadcast_table(comm, &source->table);
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, open_here(source));
    if (status != SLIP_OK)
        slip_source_close(source);
    return status;
}

void slip_source_shape(const slip_model *model, slip_source *source)
{
    *source = (slip_source){.model = *model};
}

void slip_source_close(slip_source *source)
{
    slip_checkpoint_files_close(&source->files);
    slip_checkpoint_free(&source->table);
}
