/* The ops that treat every row alike. */
#include <stdio.h>
#include <string.h>

#include "kernels/cpu/round.h"
#include "kernels/cpu/state.h"

/* A row this rank does not own contributes zero: the sum over ranks is exact. */
slip_status slip_cpu_embed(slip_executor *executor, const slip_op *op)
{
    const slip_program *program = executor->program;
    int64_t hidden = program->width[SLIP_BUFFER_X];
    float *row = slip_cpu_row(executor, SLIP_BUFFER_X, 0); /* scratch: X is overwritten next */
    for (int32_t i = 0; i < executor->step->row_count; i++) {
        double *out = executor->partial + i * hidden;
        int64_t token = executor->step->token[i], local = token - program->vocabulary.first;
        const float *value = row;
        memset(out, 0, (size_t)hidden * sizeof *out);
        if (token == program->mask_token && op->weight[1] != SLIP_NO_WEIGHT)
            value = executor->vectors[op->weight[1]];
        else if (local >= 0 && local < program->vocabulary.count)
            slip_matrix_row(&executor->weights[op->weight[0]], local, row);
        else
            continue;
        for (int64_t c = 0; c < hidden; c++)
            out[c] = value[c];
    }
    return SLIP_OK;
}

slip_status slip_cpu_norm(slip_executor *executor, const slip_op *op)
{
    for (int32_t i = 0; i < slip_cpu_rows(executor, op); i++)
        executor->math->norm(slip_cpu_row(executor, op->in, i), executor->vectors[op->weight[0]], executor->program->width[op->out],
                             executor->program->norm_epsilon, slip_cpu_row(executor, op->out, i));
    return SLIP_OK;
}

void slip_cpu_round_rows(slip_executor *executor, const slip_matrix *weight, int32_t rows)
{
    if (!executor->options.round_activations)
        return;
    for (int32_t i = 0; i < rows; i++) {
        float *to = executor->rounded + i * executor->rounded_stride;
        slip_round_operand(weight->dtype, executor->x_rows[i], weight->columns, to);
        memset(to + weight->columns, 0, (size_t)(slip_padded(weight->columns) - weight->columns) * sizeof *to);
        executor->x_rows[i] = to;
    }
}

/* x_rows[0 .. rows) [columns, padded] as f64 into wide_rows. */
static void widen_rows(slip_executor *executor, int32_t rows, int64_t columns)
{
    for (int32_t i = 0; i < rows; i++) {
        double *to = executor->wide + i * executor->wide_stride;
        for (int64_t c = 0; c < slip_padded(columns); c++)
            to[c] = executor->x_rows[i][c];
        executor->wide_rows[i] = to;
    }
}

/* f32 straight into the rows of `y`. */
static void linear_rows(slip_executor *executor, const slip_matrix *weight, int32_t rows, float *y, int64_t stride)
{
    for (int32_t i = 0; i < rows; i++)
        executor->y_rows[i] = y + i * stride;
    executor->math->linear(weight, 0, executor->x_rows, rows, executor->y_rows);
}

/* A program on one rank owes no other rank the same sum: f32 will do. */
static void linear_alone(slip_executor *executor, const slip_matrix *weight, int32_t rows)
{
    int64_t width = executor->program->width[SLIP_BUFFER_PARTIAL];
    linear_rows(executor, weight, rows, executor->product, width);
    for (int64_t i = 0; i < rows * width; i++)
        executor->partial[i] = executor->product[i];
}

static void linear_partial(slip_executor *executor, const slip_matrix *weight, int32_t rows, bool cut_anywhere)
{
    int64_t width = executor->program->width[SLIP_BUFFER_PARTIAL];
    memset(executor->partial, 0, (size_t)(rows * width) * sizeof(double));
    for (int32_t i = 0; i < rows; i++) {
        executor->sum_rows[i] = executor->partial + i * width;
        executor->gain[i] = 1;
    }
    if (!cut_anywhere) {
        executor->math->linear_partial(weight, 0, executor->x_rows, executor->gain, rows, executor->sum_rows);
        return;
    }
    widen_rows(executor, rows, weight->columns);
    executor->math->linear_exact(weight, 0, executor->wide_rows, executor->gain, rows, executor->sum_rows);
}

slip_status slip_cpu_linear(slip_executor *executor, const slip_op *op)
{
    const slip_matrix *weight = &executor->weights[op->weight[0]];
    int32_t rows = slip_cpu_rows(executor, op);
    executor->cost.weight_bytes += slip_matrix_bytes(weight);
    for (int32_t i = 0; i < rows; i++)
        executor->x_rows[i] = slip_cpu_row(executor, op->in, i);
    slip_cpu_round_rows(executor, weight, rows);
    if (op->out != SLIP_BUFFER_PARTIAL)
        linear_rows(executor, weight, rows, executor->buffer[op->out], executor->stride[op->out]);
    else if (executor->comm == NULL)
        linear_alone(executor, weight, rows);
    else
        linear_partial(executor, weight, rows, op->cut_anywhere);
    return SLIP_OK;
}

slip_status slip_cpu_swiglu(slip_executor *executor, const slip_op *op)
{
    for (int32_t i = 0; i < executor->step->row_count; i++) {
        const float *gate = slip_cpu_row(executor, op->in, i);
        executor->math->swiglu(gate, gate + op->column, op->column, slip_cpu_row(executor, op->out, i));
    }
    return SLIP_OK;
}

slip_status slip_cpu_tap(slip_executor *executor, const slip_op *op)
{
    size_t bytes = (size_t)executor->program->width[op->in] * sizeof(float);
    for (int32_t i = 0; i < executor->step->row_count; i++)
        memcpy(slip_cpu_row(executor, op->out, i) + op->column, slip_cpu_row(executor, op->in, i), bytes);
    return SLIP_OK;
}

slip_status slip_cpu_select(slip_executor *executor, const slip_op *op)
{
    const slip_step *step = executor->step;
    size_t bytes = (size_t)executor->stride[op->in] * sizeof(float);
    int32_t out = 0;
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_span *span = &step->span[s];
        for (int32_t i = span->count - span->logit_rows; i < span->count; i++)
            memcpy(slip_cpu_row(executor, op->out, out++), slip_cpu_row(executor, op->in, span->row + i), bytes);
    }
    return SLIP_OK;
}

static void add_sum(const double *partial, int64_t count, bool add, float *out)
{
    for (int64_t c = 0; c < count; c++)
        out[c] = add ? out[c] + (float)partial[c] : (float)partial[c];
}

/* One exchange serves all rows when they lie without gaps, that is when `hidden` is a whole number of blocks. */
slip_status slip_cpu_allreduce(slip_executor *executor, const slip_op *op)
{
    int64_t width = executor->program->width[op->out], rows = executor->step->row_count;
    bool alone = executor->comm == NULL || slip_comm_ranks(executor->comm) == 1;
    char what[64];
    const char *of = executor->program->phase_count[SLIP_PHASE_INJECT] > 0 ? "draft step" : "step";
    if (op->layer < 0)
        snprintf(what, sizeof what, "all-reduce before the layers in %s %llu", of, (unsigned long long)executor->step->number);
    else
        snprintf(what, sizeof what, "all-reduce of layer %d in %s %llu", op->layer, of, (unsigned long long)executor->step->number);
    bool dense = executor->stride[op->out] == width;
    for (int64_t i = 0; i < rows; i += dense ? rows : 1) {
        size_t count = (size_t)(dense ? rows * width : width);
        const double *partial = executor->partial + i * width;
        float *out = slip_cpu_row(executor, op->out, i);
        if (alone) {
            add_sum(partial, (int64_t)count, op->add, out);
            continue;
        }
        slip_status status = slip_comm_sum(executor->comm, partial, count, op->add, out, what);
        if (status != SLIP_OK)
            return status;
    }
    return SLIP_OK;
}
