/* One rank's share of the tiny model on the CPU, and runs of it. Include after cmocka.h. */
#ifndef TESTS_UNIT_TINY_SHARE_H
#define TESTS_UNIT_TINY_SHARE_H

#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/state.h"
#include "ranks/model/sampling/sample.h"
#include "ranks/model/build.h"
#include "ranks/model/placement.h"
#include "tiny_checkpoint.h"
#include "tiny_model.h"
#include "tiny_random.h"

enum { LENGTH = 40, CONTEXT = 64, SEQUENCES = 3, V = TINY_VOCABULARY, RANKS = 5 };

static const slip_executor_kind *const cpu = &slip_executor_cpu;
static slip_step step;
static slip_comm *comm; /* a world of one: sums over ranks are made by hand */

typedef float logits_of[LENGTH][V]; /* of every position */

/* One rank's share of the tiny model. */
typedef struct {
    slip_model model;
    slip_placement placement;
    slip_program program;
    slip_executor *executor;
} share;

static inline void share_make_limits(share *s, int32_t hidden, const slip_limits *limits, int32_t ranks, int32_t slices, int32_t rank,
                                     const slip_executor_options *options)
{
    tiny_model_shape(hidden, &s->model);
    assert_int_equal(slip_placement_make(&s->model, ranks, slices, rank, &s->placement), SLIP_OK);
    assert_int_equal(slip_program_target(&s->model, &s->placement, &s->program), SLIP_OK);
    s->executor = tiny_model_executor(&s->program, limits, comm, options);
}

/* `span_rows`: what a ring holds beside its window. */
static inline void share_make_with(share *s, int32_t hidden, int32_t span_rows, int32_t ranks, int32_t slices, int32_t rank,
                                   const slip_executor_options *options)
{
    slip_limits limits = {.rows = 64,
                          .logit_rows = 64,
                          .sequences = SEQUENCES,
                          .span_rows = span_rows,
                          .context = CONTEXT,
                          .kv_tokens = SEQUENCES * TINY_EXTENT};
    share_make_limits(s, hidden, &limits, ranks, slices, rank, options);
}

static inline void share_make(share *s, int32_t hidden, int32_t span_rows, int32_t ranks, int32_t slices, int32_t rank)
{
    share_make_with(s, hidden, span_rows, ranks, slices, rank, NULL);
}

static inline void share_free(share *s)
{
    cpu->destroy(s->executor);
    slip_program_free(&s->program);
}

static inline void make_tokens(uint64_t key, int32_t *tokens, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        tokens[i] = (int32_t)tiny_below(key, (uint64_t)i, V);
}

static inline void run(share *s)
{
    slip_run_cost cost;
    assert_int_equal(slip_executor_run(cpu, s->executor, SLIP_PHASE_RUN, &step, &cost), SLIP_OK);
}

/* tokens[position .. position + count) of a sequence in one step; their logits go to their places. */
static inline void run_span(share *s, int32_t sequence, int32_t position, const int32_t *tokens, int32_t count, logits_of logits)
{
    tiny_step_start(&step);
    tiny_step_add(&step, sequence, position, tokens + position, count, count);
    run(s);
    for (int32_t i = 0; i < count; i++)
        memcpy(logits[position + i], cpu->row(s->executor, SLIP_BUFFER_LOGITS, i), sizeof logits[0]);
}

static inline void run_chunks(share *s, int32_t sequence, const int32_t *tokens, int32_t chunk, logits_of logits)
{
    for (int32_t at = 0; at < LENGTH; at += chunk)
        run_span(s, sequence, at, tokens, LENGTH - at < chunk ? LENGTH - at : chunk, logits);
}

static inline void assert_sane(const logits_of logits)
{
    float least = logits[0][0], most = least;
    for (int32_t i = 0; i < LENGTH; i++)
        for (int32_t v = 0; v < V; v++) {
            assert_true(logits[i][v] > -100 && logits[i][v] < 100);
            least = logits[i][v] < least ? logits[i][v] : least;
            most = logits[i][v] > most ? logits[i][v] : most;
        }
    assert_true(most - least > 1); /* not all alike: there is something to compare */
}

#endif
