/* A rank's share of the tiny model as a list of device ops. Include after cmocka.h. */
#ifndef TESTS_UNIT_LOWERED_H
#define TESTS_UNIT_LOWERED_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/lower/lower.h"
#include "kernels/cuda/layout/pack.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_model.h"

enum { SEQUENCES = 3 };

/* A lowered program and what it borrows. */
typedef struct {
    slip_model model;
    slip_placement placement;
    slip_program program;
    slip_limits limits;
    slip_cuda_tensor *tensors;
    slip_cuda_cache caches[SLIP_MAX_LAYERS];
    slip_cuda_source source;
    slip_cuda_block block;
    slip_cuda_list list;
    float frequency[64], taps[256];
    slip_histogram histograms[24];
} lowered;

static inline void plan_tensors(lowered *l, slip_dtype dtype)
{
    l->tensors = calloc((size_t)l->program.tensor_count, sizeof *l->tensors);
    assert_non_null(l->tensors);
    for (int32_t i = 0; i < l->program.tensor_count; i++) {
        const slip_tensor *t = &l->program.tensors[i];
        l->tensors[i].vector = l->frequency;
        l->tensors[i].table = l->frequency;
        if (!t->vector)
            assert_int_equal(slip_cuda_matrix_plan(dtype, 1, t->rows, t->columns.count, 0,
                                                   t->experts.first >= 0 ? SLIP_USE_GATE_UP : SLIP_USE_LINEAR, &l->tensors[i].matrix),
                             SLIP_OK);
    }
}

/* Count, then lower into a block of so many bytes. */
static inline void lower(lowered *l)
{
    free(l->list.ops);
    free(l->block.base);
    l->block = (slip_cuda_block){0};
    assert_int_equal(slip_cuda_lower(&l->source, &l->block, &l->list), SLIP_OK);
    free(l->list.ops);
    size_t counted = l->block.used;
    l->block = (slip_cuda_block){calloc(1, counted), 0};
    assert_non_null(l->block.base);
    assert_int_equal(slip_cuda_lower(&l->source, &l->block, &l->list), SLIP_OK);
    assert_int_equal(l->block.used, counted);
}

/* The target whole, or rank `rank`'s share of a draft on `ranks` ranks, whose in-block head has rank `markov`. */
static inline void make_headed(lowered *l, bool draft, int32_t ranks, int32_t rank, slip_dtype dtype, int32_t markov)
{
    memset(l, 0, sizeof *l);
    tiny_model_shape(64, &l->model);
    l->model.draft.markov = markov;
    assert_int_equal(slip_placement_make(&l->model, 1, 1, 0, &l->placement), SLIP_OK);
    if (draft)
        slip_placement_draft(&l->model, ranks, rank, &l->placement);
    assert_int_equal(draft ? slip_program_draft(&l->model, &l->placement, &l->program)
                           : slip_program_target(&l->model, &l->placement, &l->program),
                     SLIP_OK);
    l->limits = (slip_limits){
        .rows = 24, .logit_rows = 24, .sequences = SEQUENCES, .span_rows = 8, .context = 40, .kv_tokens = SEQUENCES * TINY_EXTENT};
    plan_tensors(l, dtype);
    for (int32_t i = 0; i < l->program.cache_count; i++)
        l->caches[i] = (slip_cuda_cache){.slots = (int32_t)slip_ring_slots(l->program.cache[i].window, &l->limits),
                                         .k_width = 32,
                                         .v_width = 32,
                                         .split = 64,
                                         .shape = l->program.cache[i]};
    l->source = (slip_cuda_source){.program = &l->program,
                                   .limits = &l->limits,
                                   .tensors = l->tensors,
                                   .caches = l->caches,
                                   .taps = {l->taps, 0, 40, l->model.draft.taps * l->model.hidden},
                                   .histograms = draft ? NULL : l->histograms,
                                   .sms = 132,
                                   .ranks = ranks};
    for (int r = 0; r < SLIP_MAX_ROPES; r++)
        l->source.inverse_frequency[r] = l->frequency;
    lower(l);
}

static inline void make_share(lowered *l, bool draft, int32_t ranks, int32_t rank, slip_dtype dtype)
{
    make_headed(l, draft, ranks, rank, dtype, 0);
}

static inline void make(lowered *l, bool draft, slip_dtype dtype)
{
    make_share(l, draft, 1, 0, dtype);
}

static inline void unmake(lowered *l)
{
    free(l->list.ops);
    free(l->block.base);
    free(l->tensors);
    slip_program_free(&l->program);
}

#endif
