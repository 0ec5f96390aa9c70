/* K/V by a request's own length: who waits for it, in which order, and that no token depends on where an extent lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "coordinator/serve/serve.h"
#include "decoder_machine.h"

/* Query 5 takes 70 + 30 tokens and a block: two pages. Queries 0 and 2 take one, a block included. */
enum { PAGE = SLIP_KV_PAGE, LONG = 5, SHORT = 0, SHORTER = 2, BLOCK = 8 };

/* The same text whatever an arena leaves room for at a time: extents lie elsewhere, and others have used them before. */
static void test_same_text_in_any_arena(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    static const setting settings[] = {
        {.sequences = 4, .chunk = 64, .kv_tokens = 2 * PAGE},
        {.draft = true, .sequences = 4, .chunk = 5, .kv_tokens = 3 * PAGE},
        {.draft = true, .sequences = 3, .chunk = 64, .kv_tokens = 5 * PAGE, .paced = true},
        {.draft = true, .sequences = QUERIES, .chunk = 64, .kv_tokens = 20 * PAGE, .ahead = true},
    };
    answer plain[QUERIES], other[QUERIES];
    run_setting(checkpoint, model, &(setting){.sequences = 1, .chunk = 64}, false, plain);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (int backwards = 0; backwards < 2; backwards++) {
            run_setting(checkpoint, model, &settings[i], backwards, other);
            assert_same(plain, other);
        }
}

static void admit(machine *m, const slip_query *query, int32_t slot, int64_t base)
{
    assert_int_equal(slip_decoder_vacancy(m->decoder, query), slot);
    assert_int_equal(slip_decoder_admit(m->decoder, slot, query), SLIP_OK);
    assert_int_equal(slip_decoder_sequence(m->decoder, slot)->base, base);
}

static void drop(machine *m, int32_t slot)
{
    slip_decoder_stop(m->decoder, slot, 0);
    slip_decoder_release(m->decoder, slot);
}

/* A slot is no use without K/V for the whole request, and what a request gives back another takes. */
static void test_slots_wait_for_extents(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    const slip_query longest = query_of(model, LONG), one = query_of(model, SHORT), two = query_of(model, SHORTER);
    machine m;
    machine_make(checkpoint, model, &(setting){.sequences = 4, .chunk = 64, .kv_tokens = 3 * PAGE}, &m);
    admit(&m, &one, 0, 0);
    admit(&m, &two, 1, PAGE);
    assert_int_equal(slip_decoder_vacancy(m.decoder, &longest), -1);
    admit(&m, &two, 2, 2 * PAGE);
    assert_int_equal(slip_decoder_vacancy(m.decoder, &one), -1); /* though a slot is free */
    drop(&m, 0);
    drop(&m, 2);
    assert_int_equal(slip_decoder_vacancy(m.decoder, &longest), -1); /* two pages, but apart */
    drop(&m, 1);
    admit(&m, &longest, 0, 0);
    admit(&m, &one, 1, 2 * PAGE);
    machine_free(&m);
}

static void test_room(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    machine m;
    machine_make(checkpoint, model, &(setting){.sequences = 4, .chunk = 64, .kv_tokens = PAGE}, &m);
    assert_int_equal(slip_decoder_room(m.decoder), PAGE - BLOCK);
    machine_free(&m);
    for (int64_t kv_tokens = 0; kv_tokens <= 100 * PAGE; kv_tokens += 100 * PAGE) { /* no more than all can use */
        machine_make(checkpoint, model, &(setting){.sequences = 4, .chunk = 64, .kv_tokens = kv_tokens}, &m);
        assert_int_equal(slip_decoder_room(m.decoder), CONTEXT);
        assert_int_equal(slip_rank_limits(m.rank)->kv_tokens, 4 * slip_kv_extent(CONTEXT + BLOCK));
        machine_free(&m);
    }
}

/* ---- the queue ---- */

enum { REQUESTS = 9 };

static uint64_t admissions[REQUESTS]; /* the number of each request's */
static int32_t ended;

static slip_status end(void *context, const slip_completion *completion)
{
    assert_non_null(completion->finish_reason);
    *(uint64_t *)context = completion->admission;
    ended++;
    return SLIP_OK;
}

/* Short requests behind a long one that waits do not pass it, even while there are slots and K/V for them. */
static void test_nobody_overtakes(void **state)
{
    const tiny_checkpoint *checkpoint = *state;
    const slip_model *model = &checkpoint->source.model;
    static const int order[REQUESTS] = {SHORT, SHORTER, LONG, SHORT, SHORTER, LONG, LONG, SHORT, SHORTER};
    slip_serve *serve;
    machine m;
    machine_make(checkpoint, model, &(setting){.sequences = 4, .chunk = 64, .kv_tokens = 3 * PAGE}, &m);
    assert_int_equal(slip_serve_create(m.decoder, NULL, &serve), SLIP_OK);
    ended = 0;
    for (int i = 0; i < REQUESTS; i++) {
        const slip_serve_request request = {.query = query_of(model, order[i]), .sink = {.end = end, .context = &admissions[i]}};
        assert_int_equal(slip_serve_submit(serve, &request, NULL), SLIP_OK);
    }
    assert_int_equal(slip_serve_step(serve), SLIP_OK);
    assert_int_equal(slip_decoder_sequence(m.decoder, 2)->phase, SLIP_FREE); /* the long one waits, and all behind it */
    while (slip_serve_busy(serve))
        assert_int_equal(slip_serve_step(serve), SLIP_OK);
    assert_int_equal(ended, REQUESTS);
    for (int i = 0; i < REQUESTS; i++)
        assert_int_equal(admissions[i], i + 1);
    slip_serve_free(serve);
    machine_free(&m);
}

static int open_fixture(void **state)
{
    ahead_make();
    return tiny_checkpoint_open(state, "pro-split-bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_text_in_any_arena),
        cmocka_unit_test(test_slots_wait_for_extents),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_nobody_overtakes),
    };
    return cmocka_run_group_tests(tests, open_fixture, tiny_checkpoint_close);
}
