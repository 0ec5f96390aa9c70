#include "ranks/load/fetch.h"

#include <stdlib.h>
#include <unistd.h>

/* Packed weights are taken, or why not; nothing where nobody ever made any. */
static void say(const slip_packed_shard *shard, bool found)
{
    slip_progress *progress = shard->source->progress;
    const char *part = shard->name.draft ? "draft" : "target";
    char *folder = NULL;
    if (!progress || !progress->stream || slip_packed_folder(shard->source->path, &folder) != SLIP_OK)
        return;
    if (access(folder, F_OK) == 0) {
        slip_progress_clear(progress);
        if (found)
            fprintf(progress->stream, "# packed           the %s is copied from %s\n", part, folder);
        else
            fprintf(progress->stream, "# packed           %s; the %s is loaded from %s\n", slip_cause(), part, shard->source->path);
    }
    free(folder);
}

static slip_status find(slip_comm *comm, const slip_packed_shard *shard, slip_packed *packed)
{
    slip_status status = slip_packed_find(shard, packed);
    if (comm)
        status = slip_comm_agree(comm, status);
    if (status == SLIP_OK || status == SLIP_ERR_INPUT)
        say(shard, status == SLIP_OK);
    if (status == SLIP_OK)
        return status;
    slip_packed_close(packed);
    if (status != SLIP_ERR_INPUT)
        return status;
    slip_clear();
    return SLIP_OK;
}

slip_status slip_shard_fetch(slip_comm *comm, const slip_packed_shard *shard)
{
    slip_packed packed = {0};
    bool keeps = shard->kind->packed_layout && shard->source->path;
    slip_status status = keeps ? find(comm, shard, &packed) : SLIP_OK;
    if (status == SLIP_OK)
        status = packed.open ? slip_packed_load(&packed, shard)
                             : slip_shard_load(shard->source, shard->program, shard->kind, shard->executor);
    slip_packed_close(&packed);
    return status;
}
