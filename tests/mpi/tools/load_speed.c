/* How fast a rank's share of a model comes off the disk, without the device that would take it:
 *
 *     mpirun -n N load_speed MODEL.h5 [SHARDS]
 *
 * Every rank reads, checks and packs its part for a GPU, as loading does, into the memory that would be copied from, and drops it there. SHARDS
 * (default: N) cuts the model for so many ranks, of which the first N load. Drop the file from the page cache before, and compare with `dd`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "io/base/clock.h"
#include "io/base/memory/large.h"
#include "kernels/cuda/layout/pack.h"
#include "ranks/load/shard.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "ranks/plan.h"

struct slip_executor {
    const slip_program *program;
    slip_cuda_matrix *matrices;
};

static slip_status place(slip_executor *e, int32_t index, const slip_weight *form)
{
    if (e->program->tensors[index].vector)
        return SLIP_OK;
    return slip_cuda_matrix_plan(form->dtype, form->experts, form->rows, form->columns, form->scale_skew,
                                 e->program->tensors[index].experts.first < 0 ? SLIP_USE_LINEAR : SLIP_USE_DOWN, &e->matrices[index]);
}

static size_t packed_bytes(const slip_executor *e, int32_t index)
{
    return (size_t)e->matrices[index].expert_bytes;
}

static void pack(slip_executor *e, int32_t index, const slip_weight *piece, int64_t from, int64_t to, unsigned char *packed)
{
    (void)to;
    if (!e->program->tensors[index].vector)
        slip_cuda_matrix_pack(piece, from, &e->matrices[index], packed);
}

static slip_status store(slip_executor *e, int32_t index, int64_t first, int64_t count, const unsigned char *packed)
{
    (void)e, (void)index, (void)first, (void)count, (void)packed;
    return SLIP_OK;
}

static slip_status alloc_packed(slip_executor *e, size_t bytes, unsigned char **packed)
{
    (void)e;
    *packed = slip_large_alloc(bytes);
    return *packed ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
}

static void free_packed(slip_executor *e, unsigned char *packed)
{
    (void)e;
    free(packed);
}

static const slip_executor_kind nothing = {
    .place = place, .packed_bytes = packed_bytes, .pack = pack, .store = store, .alloc_packed = alloc_packed, .free_packed = free_packed};

static void tell(slip_comm *comm, const slip_source *source, double bytes, double seconds)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("rank %d: %.3f GB in %.2f s, %.3f GB/s; %d threads beside the main one; CPU %.2f s user, %.2f s system; peak memory %.1f MB\n",
           slip_comm_rank(comm), bytes * 1e-9, seconds, bytes * 1e-9 / seconds, source->threads,
           (double)used.ru_utime.tv_sec + 1e-6 * (double)used.ru_utime.tv_usec,
           (double)used.ru_stime.tv_sec + 1e-6 * (double)used.ru_stime.tv_usec, (double)used.ru_maxrss * 1.024e-3);
}

static slip_status load(slip_comm *comm, const slip_source *source, int32_t shards)
{
    slip_placement placement;
    slip_program program = {0};
    slip_executor executor = {&program, NULL};
    slip_status status =
        slip_placement_make(&source->model, shards, slip_plan_slices(&source->model, shards), slip_comm_rank(comm), &placement);
    if (status == SLIP_OK)
        status = slip_program_target(&source->model, &placement, &program);
    executor.matrices = calloc((size_t)program.tensor_count + 1, sizeof *executor.matrices);
    double begin = slip_now_s();
    if (status == SLIP_OK && executor.matrices)
        status = slip_shard_load(source, &program, &nothing, &executor);
    if (status == SLIP_OK)
        tell(comm, source, (double)slip_shard_bytes(source, &program), slip_now_s() - begin);
    free(executor.matrices);
    slip_program_free(&program);
    return status;
}

int main(int argc, char **argv)
{
    slip_comm *comm;
    slip_source source = {0};
    slip_status status = argc < 2 ? SLIP_ERR_INPUT : slip_comm_start(&argc, &argv, &comm);
    if (status != SLIP_OK)
        return slip_exit_status(status);
    status = slip_source_open(comm, argv[1], &source);
    if (status == SLIP_OK)
        status = slip_comm_agree(comm, load(comm, &source, argc > 2 ? atoi(argv[2]) : slip_comm_ranks(comm)));
    if (status != SLIP_OK)
        fprintf(stderr, "load_speed: %s\n", slip_cause());
    slip_source_close(&source);
    slip_comm_finish(comm);
    return slip_exit_status(status);
}
