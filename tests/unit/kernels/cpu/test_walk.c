/* Drafts of a drafter with an in-block head: candidates by slices of the vocabulary, on any number of ranks, and the walk. The golden one is
 * coordinator/test_draft_golden.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tiny_share.h"

enum { TOKENS = 3000, MARKOV = 24, SLOTS = 3, BLOCKS = 2, ROWS = BLOCKS * SLOTS }; /* three runs of some slices, two of the others */

static float logits[ROWS][TOKENS];

/* A draft's share. Nothing runs: its logits are given. */
static void make(share *s, int32_t ranks, int32_t rank)
{
    const slip_limits limits = {
        .rows = 16, .logit_rows = 16, .sequences = 2, .span_rows = 16, .context = CONTEXT, .kv_tokens = 2 * TINY_EXTENT};
    tiny_model_shape(64, &s->model);
    s->model.vocabulary = s->model.draft.vocabulary = TOKENS;
    s->model.draft.markov = MARKOV;
    slip_placement_draft(&s->model, ranks, rank, &s->placement);
    assert_int_equal(slip_program_draft(&s->model, &s->placement, &s->program), SLIP_OK);
    s->executor = tiny_model_executor(&s->program, &limits, comm, NULL);
    for (int32_t row = 0; row < ROWS; row++)
        memcpy(cpu->row(s->executor, SLIP_BUFFER_LOGITS, row), logits[row] + s->program.vocabulary.first,
               (size_t)s->program.vocabulary.count * sizeof(float));
}

static void make_step(void)
{
    const int32_t block[SLOTS + 1] = {7, TOKENS - 1, TOKENS - 1, TOKENS - 1}, other[SLOTS + 1] = {2999, 0, 0, 0};
    tiny_step_start(&step);
    tiny_step_add(&step, 0, 9, block, SLOTS + 1, SLOTS);
    tiny_step_add(&step, 1, 40, other, SLOTS + 1, SLOTS)->sampling = (slip_sampling){.seed = 5, .temperature = 0.8, .top_p = 1};
}

static int make_logits(void **state)
{
    for (int32_t row = 0; row < ROWS; row++)
        for (int32_t v = 0; v < TOKENS; v++)
            logits[row][v] = (float)tiny_below(31, (uint64_t)row * TOKENS + (uint64_t)v, 4000) / 1000;
    return tiny_comm_start(state) != 0 || (comm = *state) == NULL;
}

/* Token by token. */
static void test_candidates(void **state)
{
    (void)state;
    share s;
    slip_candidate have[ROWS * SLIP_SLICES];
    make(&s, 1, 0);
    make_step();
    assert_int_equal(cpu->row_candidates(s.executor, &step), SLIP_SLICES);
    cpu->candidates(s.executor, &step, have);
    for (int32_t row = 0; row < ROWS; row++) {
        slip_candidate want[SLIP_SLICES];
        const slip_span *span = &step.span[row / SLOTS];
        for (int32_t i = 0; i < SLIP_SLICES; i++)
            want[i] = (slip_candidate){0, -1};
        for (int32_t v = 0; v < TOKENS; v++) {
            slip_candidate *best = &want[v / 8 % 128];
            *best =
                slip_candidate_better(*best, slip_sample_best(&logits[row][v], v, 1, &span->sampling, span->position + 1 + row % SLOTS));
        }
        assert_memory_equal(have + (size_t)row * SLIP_SLICES, want, sizeof want);
    }
    share_free(&s);
}

static void test_ranks(void **state)
{
    (void)state;
    slip_candidate whole[ROWS * SLIP_SLICES], met[ROWS * SLIP_SLICES], part[ROWS * SLIP_SLICES];
    make_step();
    for (int32_t ranks = 1; ranks <= 4; ranks++) {
        for (int32_t rank = 0; rank < ranks; rank++) {
            share s;
            make(&s, ranks, rank);
            cpu->candidates(s.executor, &step, part);
            for (size_t i = 0; i < ROWS * SLIP_SLICES; i++)
                met[i] = rank == 0 ? part[i] : slip_candidate_better(met[i], part[i]);
            share_free(&s);
        }
        if (ranks == 1)
            memcpy(whole, met, sizeof whole);
        assert_memory_equal(met, whole, sizeof whole);
    }
}

static void row_of(const share *s, int32_t tensor, int32_t token, float out[MARKOV])
{
    slip_matrix_row(&s->executor->weights[tensor], token, out);
}

/* The best of the candidates behind token `before`. */
static int32_t best_behind(const share *s, int32_t before, const slip_candidate *candidates)
{
    float previous[MARKOV], following[MARKOV];
    int32_t best = -1;
    double most = 0;
    row_of(s, s->program.walk.previous, before, previous);
    for (int32_t i = 0; i < SLIP_SLICES; i++) {
        double score = candidates[i].score;
        row_of(s, s->program.walk.following, candidates[i].token, following);
        for (int32_t c = 0; c < MARKOV; c++)
            score += (double)previous[c] * following[c];
        if (best < 0 || score > most) {
            most = score;
            best = candidates[i].token;
        }
    }
    return best;
}

static void test_walk(void **state)
{
    (void)state;
    share s;
    int32_t changed = 0;
    slip_candidate candidates[ROWS * SLIP_SLICES], drafts[ROWS];
    make(&s, 1, 0);
    make_step();
    cpu->candidates(s.executor, &step, candidates);
    assert_int_equal(cpu->walk(s.executor, &step, candidates, drafts), SLIP_OK);
    for (int32_t row = 0; row < ROWS; row++) {
        const slip_candidate *mine = candidates + (size_t)row * SLIP_SLICES;
        slip_candidate alone = mine[0];
        for (int32_t i = 1; i < SLIP_SLICES; i++)
            alone = slip_candidate_better(alone, mine[i]);
        const int32_t before = row % SLOTS == 0 ? step.token[step.span[row / SLOTS].row] : drafts[row - 1].token;
        assert_int_equal(drafts[row].token, best_behind(&s, before, mine));
        changed += drafts[row].token != alone.token;
    }
    assert_true(changed >= 2); /* else the head is too weak to be seen */
    share_free(&s);
}

/* Who walks has the whole head, the others nothing of it. */
static void test_tensors(void **state)
{
    (void)state;
    for (int32_t rank = 0; rank < 3; rank++) {
        share s;
        make(&s, 3, rank);
        const slip_walk *walk = &s.program.walk;
        assert_true(walk->slots == SLOTS && walk->rank == MARKOV);
        assert_int_equal(walk->previous == SLIP_NO_WEIGHT, rank > 0);
        assert_int_equal(walk->following == SLIP_NO_WEIGHT, rank > 0);
        if (rank == 0)
            assert_true(s.program.tensors[walk->following].rows == TOKENS && s.program.tensors[walk->following].columns.count == MARKOV);
        share_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_candidates), cmocka_unit_test(test_ranks), cmocka_unit_test(test_walk),
                                       cmocka_unit_test(test_tensors)};
    return cmocka_run_group_tests(tests, make_logits, tiny_comm_finish);
}
