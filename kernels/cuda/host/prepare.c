/* After all weights are loaded: lower the program to the device's op list and allocate its buffers. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/host/state.h"

static void count_bytes(slip_executor *e)
{
    uint64_t layers = 0, sum = 0;
    for (int phase = 0; phase < SLIP_PHASES; phase++)
        for (int32_t i = 0; i < e->list.phase_count[phase]; i++) {
            const slip_cuda_op *op = &e->list.ops[e->list.phase_first[phase] + i];
            if (op->kind == SLIP_CUDA_LINEAR)
                e->dense_bytes[phase] += (uint64_t)op->product.matrix.expert_bytes;
            if (op->kind == SLIP_CUDA_MOE_GATE_UP || op->kind == SLIP_CUDA_MOE_DOWN)
                sum += (uint64_t)op->product.matrix.expert_bytes;
            layers += op->kind == SLIP_CUDA_MOE_DOWN;
        }
    e->expert_bytes = layers ? sum / layers : 0;
}

static slip_status lower(slip_executor *e)
{
    slip_cuda_source source = {
        .program = e->program,
        .limits = &e->limits,
        .tensors = e->weights.tensors,
        .caches = e->caches,
        .taps = e->taps,
        .logits = e->device_logits,
        .histograms = e->device_histograms,
        .likeliest = e->device_likeliest,
        .adjusting = e->device_adjusting,
        .sms = slip_cuda_engine_sms(e->engine),
        .absent_peers = e->options.absent_peers,
        .ranks = e->comm ? slip_comm_ranks(e->comm) : 0,
        .rank = e->comm ? slip_comm_rank(e->comm) : 0,
        .gathered = e->comm && e->options.launch,
        .watched = e->options.watch || e->options.watched,
    };
    for (int r = 0; r < SLIP_MAX_ROPES; r++)
        source.inverse_frequency[r] = e->inverse_frequency[r];
    slip_cuda_block block = {0};
    void *memory;
    slip_status status = slip_cuda_lower(&source, &block, &e->list);
    if (status != SLIP_OK)
        return status;
    free(e->list.ops);
    e->list.ops = NULL;
    status = slip_cuda_engine_alloc(e->engine, block.used, &memory);
    block = (slip_cuda_block){memory, 0};
    if (status == SLIP_OK)
        status = slip_cuda_lower(&source, &block, &e->list);
    if (status == SLIP_OK)
        status = slip_cuda_engine_add(e->engine, e->list.ops, e->list.count, &e->first_op);
    if (status == SLIP_OK)
        count_bytes(e);
    return status;
}

/* A step names its ops by their places in the list: these must be the same on all ranks. */
typedef struct {
    int32_t first_op, count, phase_first[SLIP_PHASES], phase_count[SLIP_PHASES], whole_first[SLIP_PHASES], whole_count[SLIP_PHASES],
        exchanges[SLIP_PHASES], again, sample;
} outline;

static slip_status check_outline(const slip_executor *e)
{
    outline ours = {.first_op = e->first_op, .count = e->list.count, .again = e->list.again, .sample = e->list.sample}, theirs;
    memcpy(ours.phase_first, e->list.phase_first, sizeof ours.phase_first);
    memcpy(ours.phase_count, e->list.phase_count, sizeof ours.phase_count);
    memcpy(ours.whole_first, e->list.whole_first, sizeof ours.whole_first);
    memcpy(ours.whole_count, e->list.whole_count, sizeof ours.whole_count);
    memcpy(ours.exchanges, e->list.exchanges, sizeof ours.exchanges);
    theirs = ours;
    slip_status status = slip_comm_broadcast(e->comm, &theirs, sizeof theirs);
    if (status == SLIP_OK && memcmp(&ours, &theirs, sizeof ours) != 0)
        return slip_fail(SLIP_ERR_FAILED,
                         "the program has %d ops here, the first of them op %d of the GPU's list, and on rank 0 %d and op %d", ours.count,
                         ours.first_op, theirs.count, theirs.first_op);
    return status;
}

slip_status slip_cuda_prepare(slip_executor *e)
{
    slip_status status = lower(e);
    if (!e->comm)
        return status;
    status = slip_comm_agree(e->comm, status);
    return status == SLIP_OK ? check_outline(e) : status;
}
