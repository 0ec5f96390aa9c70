/* Showing the ops' results to who asked for them: `--trace-ops`, and comparisons with other executors. */
#include "kernels/cpu/state.h"

/* Columns of its buffer that an op writes: a buffer is as wide as the widest op that uses it. */
static int64_t written(const slip_executor *executor, const slip_op *op)
{
    const slip_program *program = executor->program;
    const slip_cache *cache = &program->cache[op->layer < 0 ? 0 : op->layer];
    switch (op->kind) {
    case SLIP_OP_LINEAR: return executor->weights[op->weight[0]].rows;
    case SLIP_OP_ROPE_STORE:
        return (int64_t)cache->q_heads * cache->head_dim + (int64_t)cache->kv_heads * (cache->head_dim + cache->v_head_dim);
    case SLIP_OP_ATTEND: return (int64_t)cache->q_heads * cache->v_head_dim;
    case SLIP_OP_SWIGLU: return op->column;
    case SLIP_OP_TAP: return program->width[op->in];
    default: return program->width[op->out];
    }
}

/* Partial sums are f64; a row of them as f32. */
static const float *partial_row(slip_executor *executor, int32_t row)
{
    int64_t width = executor->program->width[SLIP_BUFFER_PARTIAL];
    for (int64_t c = 0; c < width; c++)
        executor->product[c] = (float)executor->partial[row * width + c];
    return executor->product;
}

void slip_cpu_watch(slip_executor *executor, const slip_op *op)
{
    int64_t count = written(executor, op), first = op->kind == SLIP_OP_TAP ? op->column : 0;
    int32_t index = (int32_t)(op - executor->program->ops);
    for (int32_t i = 0; i < slip_cpu_rows(executor, op); i++) {
        const float *row = op->out == SLIP_BUFFER_PARTIAL ? partial_row(executor, i) : slip_cpu_row(executor, op->out, i) + first;
        executor->options.watch(executor->options.watch_context, index, op->out, i, row, count);
    }
}
