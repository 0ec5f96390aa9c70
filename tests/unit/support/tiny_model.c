#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ranks/model/family.h"
#include "tiny_random.h"
#include "tiny_weight.h"

void tiny_model_shape(int32_t hidden, slip_model *model)
{
    int32_t v_head_dim = hidden == 64 ? 32 : 20;
    *model = (slip_model){
        .family = slip_families[0],
        .name = "tiny",
        .hidden = hidden,
        .layers = 4,
        .vocabulary = TINY_VOCABULARY,
        .max_positions = 256,
        .norm_epsilon = 1e-5f,
        .value_scale = 0.7f,
        .global = {.heads = 6, .kv_heads = 3, .head_dim = 24, .v_head_dim = v_head_dim, .rotary_dim = 8, .rope_theta = 1e4},
        .sliding = {.heads = 8,
                    .kv_heads = 2,
                    .head_dim = 24,
                    .v_head_dim = v_head_dim,
                    .rotary_dim = 8,
                    .window = TINY_WINDOW,
                    .rope_theta = 1e3,
                    .sinks = true},
        .is_sliding = {false, true, true, false},
        .is_moe = {false, true, true, true},
        .dense_intermediate = 96,
        .moe_intermediate = 96,
        .experts = 6,
        .top_k = 2,
        .norm_top_k = true,
        .routed_scale = 1.3f,
        .qkv_chunks = hidden == 64,
        .has_draft = true,
        .draft = {.block = 4,
                  .layers = 2,
                  .intermediate = 40,
                  .taps = 2,
                  .tap_layer = {1, 3},
                  .mask_token = TINY_VOCABULARY - 1,
                  .mask_embedding = true,
                  .norm_epsilon = 1e-5f,
                  .value_scale = 0.6f,
                  .attention = {.heads = 4,
                                .kv_heads = 2,
                                .head_dim = 16,
                                .v_head_dim = 16,
                                .rotary_dim = 8,
                                .window = 5,
                                .rope_theta = 1e4,
                                .sinks = true}},
    };
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* FP8 for what feeds attention, BF16 for tables and o, F32 for the rest; experts MXFP4 where columns come in whole blocks. */
static slip_dtype dtype_of(const slip_program *program, const slip_tensor *tensor, const char *name)
{
    if (tensor->vector || ends_with(name, "router"))
        return SLIP_F32;
    if (strstr(name, "/experts/"))
        return program->width[SLIP_BUFFER_X] % 32 == 0 ? SLIP_MXFP4 : SLIP_F8E4M3;
    if (ends_with(name, "/q") || ends_with(name, "/qkv") || ends_with(name, "/fc"))
        return SLIP_F8E4M3;
    return ends_with(name, "/o") || ends_with(name, "embed") || ends_with(name, "head") ? SLIP_BF16 : SLIP_F32;
}

static uint64_t key_of(const char *name)
{
    uint64_t key = 0;
    for (; *name; name++)
        key = tiny_hash(key + (unsigned char)*name);
    return key;
}

static void load_tensor(const slip_program *program, int32_t index, slip_executor *executor)
{
    const slip_tensor *tensor = &program->tensors[index];
    const slip_part *parts = program->parts + tensor->first_part;
    int64_t experts = tensor->experts.first < 0 ? 1 : tensor->experts.count;
    int64_t first = tensor->experts.first < 0 ? 0 : tensor->experts.first;
    slip_weight weight = tiny_weight_make(dtype_of(program, tensor, parts[0].weight.name), experts, tensor->rows, tensor->columns);
    for (int64_t e = 0; e < experts; e++) {
        int64_t row = 0;
        for (int32_t p = 0; p < tensor->parts; p++)
            for (int64_t i = 0; i < parts[p].rows.count; i++) {
                tiny_origin origin = {.key = key_of(parts[p].weight.name),
                                      .expert = first + e,
                                      .row = parts[p].rows.first + i,
                                      .size = ends_with(parts[p].weight.name, "embed") ? 1.0f : 0.3f,
                                      .about_one = ends_with(parts[p].weight.name, "norm")};
                tiny_weight_row(&weight, e, row++, tensor->columns, &origin);
            }
        assert_int_equal(row, tensor->rows);
    }
    assert_int_equal(tiny_weight_load(executor, index, &weight), SLIP_OK);
    tiny_weight_free(&weight);
}

slip_executor *tiny_model_executor(const slip_program *program, const slip_limits *limits, slip_comm *comm,
                                   const slip_executor_options *options)
{
    slip_executor *executor;
    assert_int_equal(slip_executor_cpu.create(program, limits, comm, options, &executor), SLIP_OK);
    for (int32_t i = 0; i < program->tensor_count; i++)
        load_tensor(program, i, executor);
    return executor;
}

void tiny_step_start(slip_step *step)
{
    step->number++;
    step->want = SLIP_WANT_TOKENS;
    step->span_count = step->row_count = step->logit_rows = 0;
}

slip_span *tiny_step_add(slip_step *step, int32_t sequence, int64_t position, const int32_t *tokens, int32_t count, int32_t logit_rows)
{
    slip_span *span = &step->span[step->span_count++];
    *span = (slip_span){.sequence = sequence,
                        .row = step->row_count,
                        .count = count,
                        .logit_rows = logit_rows,
                        .position = position,
                        .base = (int64_t)sequence * TINY_EXTENT,
                        .sampling = {.top_p = 1}};
    memcpy(step->token + step->row_count, tokens, (size_t)count * sizeof *tokens);
    step->row_count += count;
    step->logit_rows += logit_rows;
    return span;
}
