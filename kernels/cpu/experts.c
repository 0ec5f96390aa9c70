/* The router and the experts. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/state.h"

/* What an expert is picked by. */
static float key_of(const float *score, const float *bias, int32_t expert)
{
    return bias ? score[expert] + bias[expert] : score[expert];
}

/* Keep the k best, the lower expert among equals, in picked[0 .. k). */
static void pick(const float *score, const float *bias, int32_t experts, int32_t k, int32_t *picked)
{
    int32_t count = 0;
    for (int32_t e = 0; e < experts; e++) {
        int32_t at = count;
        while (at > 0 && key_of(score, bias, e) > key_of(score, bias, picked[at - 1]))
            at--;
        if (at >= k)
            continue;
        count += count < k;
        memmove(picked + at + 1, picked + at, (size_t)(count - 1 - at) * sizeof *picked);
        picked[at] = e;
    }
}

static void sort_ascending(int32_t *ids, int32_t count)
{
    for (int32_t i = 1; i < count; i++)
        for (int32_t j = i; j > 0 && ids[j - 1] > ids[j]; j--) {
            int32_t id = ids[j];
            ids[j] = ids[j - 1];
            ids[j - 1] = id;
        }
}

static void sigmoid(float *score, int32_t count)
{
    for (int32_t e = 0; e < count; e++)
        score[e] = 1.0f / (1.0f + expf(-score[e]));
}

static void softmax(float *score, int32_t count)
{
    float most = score[0], sum = 0;
    for (int32_t e = 1; e < count; e++)
        most = score[e] > most ? score[e] : most;
    for (int32_t e = 0; e < count; e++)
        sum += score[e] = expf(score[e] - most);
    for (int32_t e = 0; e < count; e++)
        score[e] /= sum;
}

/* Scores of the program's kind, picked with the bias and weighted without it: with sigmoid DeepSeek-V3's noaux_tc without groups. */
static void route_row(const slip_program *program, const float *bias, float *score, int64_t *picks, float *route)
{
    int32_t picked[SLIP_MAX_TOP_K + 1] = {0};
    (program->scoring == SLIP_SCORING_SOFTMAX ? softmax : sigmoid)(score, program->experts);
    pick(score, bias, program->experts, program->top_k, picked);
    sort_ascending(picked, program->top_k);
    float sum = 1e-20f;
    for (int32_t k = 0; k < program->top_k; k++)
        sum += score[picked[k]];
    for (int32_t k = 0; k < program->top_k; k++) {
        float weight = program->norm_top_k ? score[picked[k]] / sum : score[picked[k]];
        picks[picked[k]]++;
        route[k] = (float)picked[k];
        route[program->top_k + k] = weight * program->routed_scale;
    }
}

slip_status slip_cpu_route(slip_executor *executor, const slip_op *op)
{
    const slip_matrix *router = &executor->weights[op->weight[0]];
    const float *bias = op->weight[1] == SLIP_NO_WEIGHT ? NULL : executor->vectors[op->weight[1]];
    const slip_program *program = executor->program;
    int32_t rows = executor->step->row_count;
    executor->cost.weight_bytes += slip_matrix_bytes(router);
    for (int32_t i = 0; i < rows; i++) {
        executor->x_rows[i] = slip_cpu_row(executor, op->in, i);
        executor->y_rows[i] = executor->router + (int64_t)i * program->experts;
    }
    slip_cpu_round_rows(executor, router, rows);
    executor->math->linear(router, 0, executor->x_rows, rows, executor->y_rows);
    for (int32_t i = 0; i < rows; i++)
        route_row(program, bias, executor->y_rows[i], executor->picks + (int64_t)op->layer * program->experts,
                  slip_cpu_row(executor, op->out, i));
    return SLIP_OK;
}

/* The rows that picked `expert`, with their weights, into x_rows, sum_rows, gain and y_rows. */
static int32_t gather_rows(slip_executor *executor, const slip_op *op, int64_t expert)
{
    const slip_program *program = executor->program;
    int64_t width = program->width[SLIP_BUFFER_PARTIAL];
    int32_t count = 0;
    for (int32_t i = 0; i < executor->step->row_count; i++) {
        const float *route = slip_cpu_row(executor, SLIP_BUFFER_ROUTE, i);
        for (int32_t k = 0; k < program->top_k; k++)
            if ((int64_t)route[k] == expert) {
                executor->x_rows[count] = slip_cpu_row(executor, op->in, i);
                executor->y_rows[count] = slip_cpu_row(executor, SLIP_BUFFER_GATE_UP, count);
                executor->sum_rows[count] = executor->partial + i * width;
                executor->gain[count++] = route[program->top_k + k];
            }
    }
    return count;
}

/* Experts in ascending order, whatever else is in the step: each row's sum has one order. */
slip_status slip_cpu_experts(slip_executor *executor, const slip_op *op)
{
    const slip_matrix *gate_up = &executor->weights[op->weight[0]], *down = &executor->weights[op->weight[1]];
    const slip_tensor *tensor = &executor->program->tensors[op->weight[0]];
    int64_t width = executor->program->width[SLIP_BUFFER_PARTIAL], columns = gate_up->rows / 2;
    memset(executor->partial, 0, (size_t)(executor->step->row_count * width) * sizeof(double));
    for (int64_t e = 0; e < tensor->experts.count; e++) {
        int32_t count = gather_rows(executor, op, tensor->experts.first + e);
        if (count == 0 || columns == 0)
            continue;
        executor->cost.weight_bytes += slip_matrix_bytes(gate_up) + slip_matrix_bytes(down);
        slip_cpu_round_rows(executor, gate_up, count);
        executor->math->linear(gate_up, e, executor->x_rows, count, executor->y_rows);
        for (int32_t i = 0; i < count; i++) {
            float *act = slip_cpu_row(executor, SLIP_BUFFER_ACT, i);
            executor->math->swiglu(executor->y_rows[i], executor->y_rows[i] + columns, columns, act);
            executor->x_rows[i] = act;
        }
        slip_cpu_round_rows(executor, down, count);
        executor->math->linear_partial(down, e, executor->x_rows, executor->gain, count, executor->sum_rows);
    }
    return SLIP_OK;
}
