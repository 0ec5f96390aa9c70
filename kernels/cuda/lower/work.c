#include "kernels/cuda/lower/work.h"

#include <stdlib.h>

#include "kernels/cuda/layout/cache.h"
#include "kernels/cuda/layout/mail.h"
#include "kernels/cuda/lower/lower.h"

void slip_cuda_note_uses(const slip_program *program, bool *is_table, slip_cuda_use *use)
{
    for (int32_t i = 0; i < program->op_count; i++) {
        const slip_op *op = &program->ops[i];
        if (op->kind == SLIP_OP_EMBED)
            is_table[op->weight[0]] = true;
        if (op->kind != SLIP_OP_EXPERTS)
            continue;
        use[op->weight[0]] = SLIP_USE_GATE_UP;
        use[op->weight[1]] = SLIP_USE_DOWN;
    }
}

/* What the program is lowered with. */
typedef struct {
    slip_cuda_tensor *tensors; /* [tensor_count] */
    bool *is_table;
    slip_cuda_use *use;
    slip_cuda_cache caches[SLIP_MAX_LAYERS];
} shapes;

static bool alike(const shapes *s, const slip_weight *forms, int32_t i, int32_t j)
{
    return forms[i].dtype == forms[j].dtype && forms[i].experts == forms[j].experts && forms[i].rows == forms[j].rows &&
           forms[i].columns == forms[j].columns && forms[i].scale_skew == forms[j].scale_skew && s->use[i] == s->use[j];
}

/* Layers are alike, and a plan takes long: the last one of the same form is used again. */
static slip_status plan_matrix(const slip_weight *forms, int32_t i, shapes *s)
{
    const slip_weight *form = &forms[i];
    for (int32_t j = i - 1; j >= 0; j--)
        if (s->tensors[j].matrix.rows > 0 && alike(s, forms, i, j)) {
            s->tensors[i].matrix = s->tensors[j].matrix;
            return SLIP_OK;
        }
    return slip_cuda_matrix_plan(form->dtype, form->experts, form->rows, form->columns, form->scale_skew, s->use[i], &s->tensors[i].matrix);
}

static slip_status plan_matrices(const slip_program *program, const slip_weight *forms, shapes *s)
{
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < program->tensor_count && status == SLIP_OK; i++)
        if (!program->tensors[i].vector && !s->is_table[i])
            status = plan_matrix(forms, i, s);
    return status;
}

/* Buffers, by lowering into a block without memory. */
static slip_status count_buffers(const slip_program *program, const slip_limits *limits, const shapes *s, int32_t ranks, size_t *bytes)
{
    const slip_cuda_source source = {
        .program = program,
        .limits = limits,
        .tensors = s->tensors,
        .caches = s->caches,
        .taps = {.width = (int32_t)program->width[SLIP_BUFFER_TAPS]},
        .sms = SLIP_ARCH_SMS,
        .ranks = ranks,
    };
    slip_cuda_block block = {0};
    slip_cuda_list list;
    slip_status status = slip_cuda_lower(&source, &block, &list);
    if (status == SLIP_OK)
        free(list.ops);
    *bytes = block.used;
    return status;
}

/* The target's: its draft has none of its own. */
static size_t taps_and_arena(const slip_program *program, const slip_limits *limits, int32_t ranks)
{
    size_t bytes = (size_t)slip_cache_slots(program->tap_window, limits) * (size_t)program->width[SLIP_BUFFER_TAPS] * sizeof(float);
    if (ranks > 1 && ranks <= SLIP_EXCHANGE_RANKS)
        bytes += slip_exchange_plan(ranks, limits->rows, (int)program->width[SLIP_BUFFER_X], slip_mail_bytes(ranks),
                                    slip_exchange_one_shot_bytes(ranks))
                     .bytes;
    return bytes;
}

uint64_t slip_cuda_work_bytes(const slip_program *program, const slip_limits *limits, const slip_weight *forms, int32_t ranks)
{
    size_t bytes = 0, count = (size_t)program->tensor_count + 1;
    shapes s = {calloc(count, sizeof *s.tensors), calloc(count, sizeof *s.is_table), calloc(count, sizeof *s.use), {{0}}};
    slip_status status = s.tensors && s.is_table && s.use ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (int32_t i = 0; i < program->cache_count; i++)
        s.caches[i] = slip_cuda_cache_of(&program->cache[i], limits);
    if (status == SLIP_OK) {
        slip_cuda_note_uses(program, s.is_table, s.use);
        status = plan_matrices(program, forms, &s);
    }
    if (status == SLIP_OK)
        status = count_buffers(program, limits, &s, ranks, &bytes);
    if (status == SLIP_OK && program->phase_count[SLIP_PHASE_INJECT] == 0)
        bytes += taps_and_arena(program, limits, ranks);
    free(s.tensors);
    free(s.is_table);
    free(s.use);
    if (status == SLIP_OK)
        return bytes;
    slip_clear(); /* create() and prepare() will say why */
    return 0;
}
