/* Placement: everything is owned exactly once, K/V heads follow their query heads, and shares differ by one unit at most. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ranks/model/placement.h"
#include "ranks/model/family.h"
#include "ranks/plan.h"

enum { RANKS = 9 };

static void shape(int which, slip_model *model)
{
    if (which == 0)
        slip_shape_make("flash", model);
    else if (which == 1)
        slip_shape_make("pro", model);
    else { /* odd sizes, more ranks than pieces of some */
        slip_shape_make("flash", model);
        model->vocabulary = 101;
        model->dense_intermediate = 104;
        model->moe_intermediate = 96;
        model->experts = 7;
        model->top_k = 2;
        model->global = (slip_attention){.heads = 6, .kv_heads = 3, .head_dim = 24, .v_head_dim = 16};
        model->sliding = (slip_attention){.heads = 8, .kv_heads = 2, .head_dim = 24, .v_head_dim = 16};
    }
}

/* The ranges of n owners tile [0, total) in order, cut at multiples of `unit`, and differ by at most a unit. */
static void assert_tiles(const slip_range *ranges, int n, int64_t total, int64_t unit)
{
    int64_t next = 0, least = INT64_MAX, most = 0;
    for (int i = 0; i < n; i++) {
        if (ranges[i].count > 0) {
            assert_int_equal(ranges[i].first, next);
            assert_int_equal(ranges[i].first % unit, 0);
        }
        assert_true(ranges[i].count >= 0);
        next += ranges[i].count;
        least = ranges[i].count < least ? ranges[i].count : least;
        most = ranges[i].count > most ? ranges[i].count : most;
    }
    assert_int_equal(next, total);
    assert_true(most - least <= unit);
}

static void test_pieces(void **state)
{
    (void)state;
    static const int64_t totals[] = {0, 1, 31, 32, 33, 100, 2048, 152576}, units[] = {1, 3, 32};
    for (size_t t = 0; t < sizeof totals / sizeof *totals; t++)
        for (size_t u = 0; u < sizeof units / sizeof *units; u++)
            for (int n = 1; n <= 40; n++) {
                slip_range ranges[40];
                for (int i = 0; i < n; i++)
                    ranges[i] = slip_placement_piece(totals[t], units[u], n, i);
                assert_tiles(ranges, n, totals[t], units[u]);
            }
}

static void make_all(const slip_model *model, int32_t ranks, int32_t slices, slip_placement *p)
{
    for (int32_t rank = 0; rank < ranks; rank++) {
        assert_int_equal(slip_placement_make(model, ranks, slices, rank, &p[rank]), SLIP_OK);
        assert_true(p[rank].ranks == ranks && p[rank].rank == rank && p[rank].slices == slices);
    }
}

static void check_heads(const slip_attention *attention, const slip_placement *p, int32_t ranks, int kind)
{
    slip_range q[RANKS];
    int64_t group = attention->heads / attention->kv_heads;
    for (int32_t rank = 0; rank < ranks; rank++) {
        slip_range kv = p[rank].kv_heads[kind];
        q[rank] = p[rank].q_heads[kind];
        for (int64_t h = q[rank].first; h < q[rank].first + q[rank].count; h++)
            assert_true(h / group >= kv.first && h / group < kv.first + kv.count);
        if (q[rank].count == 0)
            assert_int_equal(kv.count, 0);
        else /* and none that is not needed */
            assert_int_equal(kv.count, (q[rank].first + q[rank].count - 1) / group - q[rank].first / group + 1);
        if (attention->kv_heads >= ranks)
            assert_int_equal(q[rank].count, kv.count * group);
    }
    assert_tiles(q, ranks, attention->heads, attention->kv_heads >= ranks ? group : 1);
}

/* Every (expert, column) has one owner. */
static void check_experts(const slip_model *model, const slip_placement *p, int32_t ranks, int32_t slices)
{
    slip_range groups[RANKS], columns[RANKS];
    for (int32_t rank = 0; rank < ranks; rank++) {
        groups[rank / slices] = p[rank].experts;
        columns[rank % slices] = p[rank].expert_columns;
    }
    for (int32_t rank = 0; rank < ranks; rank++) {
        assert_memory_equal(&p[rank].experts, &groups[rank / slices], sizeof(slip_range));
        assert_memory_equal(&p[rank].expert_columns, &columns[rank % slices], sizeof(slip_range));
    }
    assert_tiles(groups, ranks / slices, model->experts, 1);
    assert_tiles(columns, slices, model->moe_intermediate, SLIP_MXFP4_BLOCK);
}

static void check_ranks(const slip_model *model, int32_t ranks, int32_t slices)
{
    slip_placement p[RANKS];
    slip_range vocabulary[RANKS], dense[RANKS];
    make_all(model, ranks, slices, p);
    for (int32_t rank = 0; rank < ranks; rank++) {
        vocabulary[rank] = p[rank].vocabulary;
        dense[rank] = p[rank].dense;
    }
    assert_tiles(vocabulary, ranks, model->vocabulary, 1);
    assert_tiles(dense, ranks, model->dense_intermediate, SLIP_MXFP4_BLOCK);
    check_heads(&model->global, p, ranks, 0);
    check_heads(&model->sliding, p, ranks, 1);
    check_experts(model, p, ranks, slices);
}

static void test_everything_once(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        slip_model model;
        shape(which, &model);
        for (int32_t ranks = 1; ranks <= RANKS; ranks++)
            for (int32_t slices = 1; slices <= ranks; slices++)
                if (slip_placement_allows(&model, ranks, slices))
                    check_ranks(&model, ranks, slices);
    }
}

static void test_what_slices_are_allowed(void **state)
{
    (void)state;
    slip_model model;
    slip_placement p;
    shape(2, &model); /* 96 columns: three slices of 32 */
    for (int32_t ranks = 1; ranks <= RANKS; ranks++)
        for (int32_t slices = -1; slices <= RANKS + 1; slices++) {
            bool want = slices >= 1 && slices <= 3 && ranks % slices == 0;
            assert_true(slip_placement_allows(&model, ranks, slices) == want);
        }
    slip_clear();
    assert_int_equal(slip_placement_make(&model, 4, 3, 0, &p), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "--expert-slices 3"));
    slip_clear();
    assert_int_equal(slip_placement_make(&model, 9, 9, 0, &p), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "--expert-slices 9: an expert has")); /* 9 divides 9: the width is why */
    slip_clear();
}

static void test_planned_slices(void **state)
{
    (void)state;
    slip_model model;
    slip_placement p;
    for (int which = 0; which < 3; which++)
        for (int32_t ranks = 1; ranks <= RANKS; ranks++) {
            shape(which, &model);
            int32_t slices = slip_plan_slices(&model, ranks);
            assert_true(slip_placement_allows(&model, ranks, slices));
            assert_int_equal(slip_placement_make(&model, ranks, slices, ranks - 1, &p), SLIP_OK);
        }
}

static void test_draft_is_whole(void **state)
{
    (void)state;
    slip_model model;
    slip_placement p;
    slip_shape_make("pro", &model);
    slip_placement_draft(&model, 1, 0, &p);
    assert_true(p.ranks == 1 && p.rank == 0 && p.slices == 1);
    assert_true(p.q_heads[0].count == 128 && p.kv_heads[0].count == 8 && p.q_heads[1].count == 128);
    assert_true(p.vocabulary.first == 0 && p.vocabulary.count == model.vocabulary);
    assert_true(p.dense.first == 0 && p.dense.count == model.draft.intermediate);
    assert_true(p.taps.first == 0 && p.taps.count == (int64_t)model.draft.taps * model.hidden);
}

/* Cut, everything of the draft has one owner too. */
static void test_draft_is_cut(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        slip_model model;
        shape(which, &model);
        if (which == 2) { /* odd sizes here as well */
            model.draft.attention.heads = 6;
            model.draft.attention.kv_heads = 3;
            model.draft.intermediate = 136;
            model.hidden = 88;
        }
        for (int32_t ranks = 1; ranks <= RANKS; ranks++) {
            slip_placement p[RANKS];
            slip_range vocabulary[RANKS], dense[RANKS], taps[RANKS];
            for (int32_t rank = 0; rank < ranks; rank++) {
                slip_placement_draft(&model, ranks, rank, &p[rank]);
                assert_true(p[rank].ranks == ranks && p[rank].rank == rank);
                vocabulary[rank] = p[rank].vocabulary;
                dense[rank] = p[rank].dense;
                taps[rank] = p[rank].taps;
            }
            assert_tiles(vocabulary, ranks, model.vocabulary, 1);
            assert_tiles(dense, ranks, model.draft.intermediate, SLIP_MXFP4_BLOCK);
            assert_tiles(taps, ranks, (int64_t)model.draft.taps * model.hidden, SLIP_MXFP4_BLOCK);
            check_heads(&model.draft.attention, p, ranks, 0);
            check_heads(&model.draft.attention, p, ranks, 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_everything_once), cmocka_unit_test(test_what_slices_are_allowed),
        cmocka_unit_test(test_planned_slices), cmocka_unit_test(test_draft_is_whole),  cmocka_unit_test(test_draft_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
