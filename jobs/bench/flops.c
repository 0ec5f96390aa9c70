#include "jobs/bench/flops.h"

static double size_of(const slip_program *program, int32_t tensor)
{
    const slip_tensor *t = &program->tensors[tensor];
    return (double)t->rows * (double)t->columns.count;
}

/* Multiply-adds of an op on one row. */
static double row_work(const slip_program *program, const slip_op *op)
{
    switch (op->kind) {
    case SLIP_OP_LINEAR:
    case SLIP_OP_ROUTE: return size_of(program, op->weight[0]);
    case SLIP_OP_EXPERTS: {
        double share = (double)program->tensors[op->weight[0]].experts.count / program->experts;
        return (size_of(program, op->weight[0]) + size_of(program, op->weight[1])) * program->top_k * share;
    }
    default: return 0;
    }
}

/* Keys that the tokens of a prompt see, all together. */
static double keys_seen(int64_t tokens, int32_t window)
{
    double full = window && window < tokens ? window : (double)tokens;
    return full * (full + 1) / 2 + ((double)tokens - full) * full;
}

double slip_bench_flops(const slip_program *program, int64_t tokens)
{
    double work = 0;
    for (int32_t i = 0; i < program->phase_count[SLIP_PHASE_RUN]; i++) {
        const slip_op *op = &program->ops[program->phase_first[SLIP_PHASE_RUN] + i];
        work += row_work(program, op) * (op->logit_rows ? 1 : (double)tokens);
    }
    for (int32_t i = 0; i < program->cache_count; i++) {
        const slip_cache *cache = &program->cache[i];
        work += cache->q_heads * (double)(cache->head_dim + cache->v_head_dim) * keys_seen(tokens, cache->window);
    }
    return 2 * work;
}
