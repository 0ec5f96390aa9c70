#include "ranks/load/shard.h"

#include <stdlib.h>

#include "io/base/clock.h"
#include "io/base/hash/hash.h"
#include "ranks/load/loader.h"
#include "ranks/model/overlap.h"

/* Codes and scales; 0 for one that cannot be loaded. */
static uint64_t tensor_bytes(const slip_source *source, const slip_program *program, int32_t index)
{
    slip_weight form;
    if (slip_piece_form(source, program, &program->tensors[index], &form) != SLIP_OK)
        return 0;
    return (uint64_t)form.experts * slip_piece_expert_bytes(&form);
}

/* The biases of a router that picks of a pool. */
static slip_status load_biases(const slip_source *source, int32_t index, uint64_t seed, const slip_executor_kind *kind,
                               slip_executor *executor)
{
    const slip_model *model = &source->model;
    size_t bytes = (size_t)model->experts * sizeof(float);
    slip_weight biases = {
        .dtype = SLIP_F32, .experts = 1, .rows = 1, .columns = model->experts, .row_bytes = bytes, .data = malloc(bytes + 1)};
    slip_status status = biases.data ? kind->place(executor, index, &biases) : slip_fail(SLIP_ERR_FAILED, "out of memory");
    unsigned char *packed = status == SLIP_OK && kind->packed_bytes ? malloc(kind->packed_bytes(executor, index) + 1) : NULL;
    if (status == SLIP_OK && kind->packed_bytes && !packed)
        status = slip_fail(SLIP_ERR_FAILED, "out of memory");
    if (status == SLIP_OK) {
        int32_t pool = slip_overlap_pool(model->experts, model->top_k, model->draft.block, source->distinct_experts);
        slip_overlap_biases((float *)biases.data, model->experts, pool, seed);
        kind->pack(executor, index, &biases, 0, 0, packed);
        status = kind->store(executor, index, 0, kind->packed_bytes ? (int64_t)kind->packed_bytes(executor, index) : 0, packed);
    }
    free(packed);
    free(biases.data);
    return status;
}

static slip_status fill_tensor(const slip_source *source, const slip_program *program, int32_t index, const slip_executor_kind *kind,
                               slip_executor *executor)
{
    const slip_tensor *tensor = &program->tensors[index];
    const slip_weight_spec *first = &program->parts[tensor->first_part].weight;
    uint64_t seed = slip_hash_text(SLIP_HASH_START, first->name);
    if (source->distinct_experts && first->row->random.selects)
        return load_biases(source, index, seed, kind, executor);
    return kind->fill(executor, index, first->row->dtype, seed);
}

static slip_status load_tensor(const slip_source *source, slip_loader *loader, const slip_program *program, int32_t index)
{
    slip_weight form;
    slip_status status = slip_piece_form(source, program, &program->tensors[index], &form);
    return status == SLIP_OK ? slip_loader_tensor(loader, index, &form) : status;
}

/* Every tensor; `loader` is NULL for a shape. */
static slip_status load_all(const slip_source *source, const slip_program *program, const slip_executor_kind *kind, slip_executor *executor,
                            slip_loader *loader)
{
    slip_status status = SLIP_OK;
    int64_t done = 0, total = source->progress ? (int64_t)slip_shard_bytes(source, program) : 0;
    for (int32_t i = 0; i < program->tensor_count && status == SLIP_OK; i++) {
        status = loader ? load_tensor(source, loader, program, i) : fill_tensor(source, program, i, kind, executor);
        done += source->progress ? (int64_t)tensor_bytes(source, program, i) : 0;
        slip_progress_bytes(source->progress, "loading", done, total, slip_now_s());
    }
    return status == SLIP_OK && loader ? slip_loader_finish(loader) : status;
}

slip_status slip_shard_place(const slip_source *source, const slip_program *program, const slip_executor_kind *kind,
                             slip_executor *executor)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; source->path && i < program->tensor_count && status == SLIP_OK; i++) {
        slip_weight form;
        status = slip_piece_form(source, program, &program->tensors[i], &form);
        if (status == SLIP_OK)
            status = kind->place(executor, i, &form);
    }
    return status;
}

slip_status slip_shard_load(const slip_source *source, const slip_program *program, const slip_executor_kind *kind, slip_executor *executor)
{
    slip_loader *loader = NULL;
    slip_status status = source->path ? slip_loader_open(source, program, kind, executor, &loader) : SLIP_OK;
    if (status == SLIP_OK)
        status = load_all(source, program, kind, executor, loader);
    if (loader)
        slip_loader_free(loader);
    return status;
}

uint64_t slip_shard_bytes(const slip_source *source, const slip_program *program)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < program->tensor_count; i++)
        total += tensor_bytes(source, program, i);
    return total;
}
