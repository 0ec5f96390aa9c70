/* How fast a rank's share of a model comes off the disk, without the device that would take it:
 *
 *     mpirun -n N load_speed MODEL.h5 [SHARDS]
 *
 * Every rank reads, checks and packs its part for a GPU, as loading does, into the memory that would be copied from, and drops it there; or
 * copies what `convert --for-gpus SHARDS` has packed, where that is there. SHARDS (default: N) cuts the model for so many ranks, of which the
 * first N load. Drop the files from the page cache before, and compare with `dd`: tests/gpu/load_speed.sh does all that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "io/base/clock.h"
#include "ranks/load/fetch.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "ranks/plan.h"

static slip_status drop(void *context, int32_t index, int64_t first, int64_t bytes, const unsigned char *packed)
{
    (void)index, (void)first, (void)packed;
    *(double *)context += (double)bytes;
    return SLIP_OK;
}

static void tell(slip_comm *comm, const slip_source *source, double bytes, double seconds)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("rank %d: %.3f GB in %.2f s, %.3f GB/s; %d threads beside the main one; CPU %.2f s user, %.2f s system; peak memory %.1f MB\n",
           slip_comm_rank(comm), bytes * 1e-9, seconds, bytes * 1e-9 / seconds, source->threads,
           (double)used.ru_utime.tv_sec + 1e-6 * (double)used.ru_utime.tv_usec,
           (double)used.ru_stime.tv_sec + 1e-6 * (double)used.ru_stime.tv_usec, (double)used.ru_maxrss * 1.024e-3);
}

/* Lockstep. */
static slip_status load(slip_comm *comm, const slip_source *source, int32_t shards)
{
    slip_placement placement;
    slip_program program = {0};
    double bytes = 0;
    slip_packer_sink sink = {drop, &bytes, true};
    slip_packed_shard shard = {
        .source = source, .program = &program, .kind = &slip_executor_packer, .name = {false, slip_comm_rank(comm), shards}};
    slip_status status =
        slip_placement_make(&source->model, shards, slip_plan_slices(&source->model, shards), slip_comm_rank(comm), &placement);
    if (status == SLIP_OK)
        status = slip_program_target(&source->model, &placement, &program);
    if (status == SLIP_OK)
        status = slip_packer_create(&program, &sink, &shard.executor);
    if (status == SLIP_OK)
        status = slip_shard_place(source, &program, shard.kind, shard.executor);
    status = slip_comm_agree(comm, status);
    double begin = slip_now_s();
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, slip_shard_fetch(comm, &shard));
    if (status == SLIP_OK)
        tell(comm, source, bytes, slip_now_s() - begin);
    if (shard.executor)
        shard.kind->destroy(shard.executor);
    slip_program_free(&program);
    return status;
}

int main(int argc, char **argv)
{
    slip_comm *comm;
    slip_source source = {0};
    slip_progress progress;
    slip_status status = argc < 2 ? SLIP_ERR_INPUT : slip_comm_start(&argc, &argv, &comm);
    if (status != SLIP_OK)
        return slip_exit_status(status);
    status = slip_source_open(comm, argv[1], &source);
    slip_progress_start(&progress, slip_comm_rank(comm) == 0 ? stdout : NULL, 0, 0, slip_now_s());
    progress.terminal = false; /* what we print is read by a script */
    source.progress = &progress;
    if (status == SLIP_OK)
        status = load(comm, &source, argc > 2 ? atoi(argv[2]) : slip_comm_ranks(comm));
    if (status != SLIP_OK)
        fprintf(stderr, "load_speed: %s\n", slip_cause());
    slip_source_close(&source);
    slip_comm_finish(comm);
    return slip_exit_status(status);
}
