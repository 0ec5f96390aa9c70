/* The serving core: first come, first served; text as it comes and as a whole; ends that the model did not find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/serve.h"
#include "folder.h"
#include "tiny_checkpoint.h"
#include "tiny_random.h"

enum { SLOTS = 2, CONTEXT = 80, PROMPT = 5, TEXT = 4096, MANY = 40, VOCABULARY = 4096 };

typedef struct {
    slip_rank *rank;
    slip_decoder *decoder;
    slip_serve *serve;
} machine;

static slip_tokenizer *tokenizer;

static void machine_make_with(const slip_executor_kind *kind, const tiny_checkpoint *checkpoint, machine *m)
{
    const slip_model *model = &checkpoint->source.model;
    const slip_decoder_options decoding = {.sequences = SLOTS, .chunk = 64};
    slip_limits limits = slip_decoder_limits(model, &decoding, CONTEXT);
    const slip_rank_options options = {.kind = kind, .slices = 1, .limits = limits};
    assert_int_equal(slip_rank_create(checkpoint->comm, &checkpoint->source, &options, &m->rank), SLIP_OK);
    assert_int_equal(slip_decoder_create(m->rank, NULL, model, &limits, &decoding, NULL, &m->decoder), SLIP_OK);
    assert_int_equal(slip_serve_create(m->decoder, tokenizer, &m->serve), SLIP_OK);
}

static void machine_make(const tiny_checkpoint *checkpoint, machine *m)
{
    machine_make_with(&slip_executor_cpu, checkpoint, m);
}

static void machine_free(machine *m)
{
    slip_serve_free(m->serve);
    slip_decoder_free(m->decoder);
    assert_int_equal(slip_rank_end(m->rank), SLIP_OK);
    slip_rank_free(m->rank);
}

/* ---- a sink that remembers ---- */

typedef struct {
    char shown[TEXT], whole[TEXT];
    size_t shown_size, whole_size;
    int32_t tokens[CONTEXT], count;
    const char *reason;
    char error[160];
    int ends, place; /* how often it ended, and as which of all */
    int fail_after;  /* calls of text() until one fails; 0: none does */
    machine *cancels_in;
    uint64_t ticket;
} heard;

static int ended;

static slip_status text(void *context, const char *bytes, size_t size)
{
    heard *h = context;
    assert_true(size > 0 && h->ends == 0 && h->shown_size + size <= TEXT);
    memcpy(h->shown + h->shown_size, bytes, size);
    h->shown_size += size;
    if (h->fail_after > 0 && --h->fail_after == 0)
        return slip_fail(SLIP_ERR_FAILED, "the reader is gone");
    return h->cancels_in ? slip_serve_cancel(h->cancels_in->serve, h->ticket) : SLIP_OK;
}

static slip_status end(void *context, const slip_completion *c)
{
    heard *h = context;
    assert_true(c->text_size <= TEXT && c->completion_tokens <= CONTEXT);
    memcpy(h->whole, c->text, c->text_size);
    h->whole_size = c->text_size;
    h->count = c->completion_tokens;
    if (h->count > 0)
        memcpy(h->tokens, c->tokens, (size_t)h->count * sizeof *h->tokens);
    h->reason = c->finish_reason;
    snprintf(h->error, sizeof h->error, "%s", c->error ? c->error : "");
    h->ends++;
    h->place = ended++;
    assert_int_equal(c->prompt_tokens, PROMPT);
    assert_true(c->time_to_first_token_ms >= 0 && c->total_ms >= c->time_to_first_token_ms);
    return SLIP_OK;
}

static int32_t prompts[MANY][PROMPT];

/* The n-th request: all are alike but for their prompts and seeds. */
static slip_serve_request request_of(const tiny_checkpoint *checkpoint, int n, int32_t tokens, heard *h)
{
    for (int t = 0; t < PROMPT; t++)
        prompts[n][t] = (int32_t)tiny_below((uint64_t)n, (uint64_t)t, (uint32_t)checkpoint->source.model.vocabulary);
    *h = (heard){0};
    return (slip_serve_request){
        .query = {.prompt = prompts[n],
                  .prompt_count = PROMPT,
                  .max_tokens = tokens,
                  .ignore_eos = true,
                  .sampling = {.seed = (uint64_t)n, .temperature = 1, .top_p = 1}},
        .sink = {text, end, h},
    };
}

static uint64_t submit(machine *m, const slip_serve_request *request)
{
    uint64_t ticket;
    assert_int_equal(slip_serve_submit(m->serve, request, &ticket), SLIP_OK);
    return ticket;
}

static void run(machine *m)
{
    while (slip_serve_busy(m->serve))
        assert_int_equal(slip_serve_step(m->serve), SLIP_OK);
}

static void assert_whole(const heard *h, const char *reason)
{
    assert_int_equal(h->ends, 1);
    assert_string_equal(h->reason, reason);
    assert_int_equal(h->shown_size, h->whole_size);
    assert_memory_equal(h->shown, h->whole, h->whole_size);
}

/* ---- tests ---- */

/* More than there are slots, in the order of their submission; each answer as if it were alone. */
static void test_first_come_first_served(void **state)
{
    static heard together[MANY], alone;
    machine m;
    uint64_t tokens = 0;
    machine_make(*state, &m);
    ended = 0;
    for (int n = 0; n < MANY; n++) {
        slip_serve_request request = request_of(*state, n, 6, &together[n]);
        assert_int_equal(slip_serve_has_room(m.serve), n < SLOTS);
        submit(&m, &request);
    }
    run(&m);
    assert_true(slip_serve_has_room(m.serve));
    for (int n = 0; n < MANY; n++) {
        assert_int_equal(together[n].place, n);
        assert_int_equal(together[n].count, 6);
        assert_whole(&together[n], "length");
        slip_serve_request request = request_of(*state, n, 6, &alone);
        submit(&m, &request);
        run(&m);
        assert_memory_equal(alone.tokens, together[n].tokens, 6 * sizeof *alone.tokens);
        assert_int_equal(alone.whole_size, together[n].whole_size);
        assert_memory_equal(alone.whole, together[n].whole, alone.whole_size);
        tokens += 12;
    }
    assert_int_equal(slip_serve_tokens(m.serve), tokens);
    machine_free(&m);
}

/* A long request does not keep later ones from the other slot, and one that comes while others run is taken up. */
static void test_at_any_time(void **state)
{
    static heard h[4];
    machine m;
    machine_make(*state, &m);
    ended = 0;
    for (int n = 0; n < 3; n++) {
        slip_serve_request request = request_of(*state, n, n == 0 ? 30 : 4, &h[n]);
        submit(&m, &request);
        assert_int_equal(slip_serve_step(m.serve), SLIP_OK);
    }
    while (h[2].ends == 0)
        assert_int_equal(slip_serve_step(m.serve), SLIP_OK);
    slip_serve_request late = request_of(*state, 3, 4, &h[3]);
    assert_true(slip_serve_has_room(m.serve));
    submit(&m, &late);
    run(&m);
    assert_true(h[1].place == 0 && h[2].place == 1 && h[3].place == 2 && h[0].place == 3);
    assert_int_equal(slip_serve_step(m.serve), SLIP_OK); /* nothing to do */
    machine_free(&m);
}

/* Nothing of a stop string is shown, however it is cut into tokens, and the tokens behind it do not count. */
static void test_stop_string(void **state)
{
    static heard whole, stopped;
    machine m;
    machine_make(*state, &m);
    slip_serve_request request = request_of(*state, 7, 40, &whole);
    submit(&m, &request);
    run(&m);
    assert_true(whole.whole_size > 12);
    for (size_t at = 1; at + 3 < whole.whole_size && at < 12; at++) {
        char stop[4] = "", *stops[] = {stop};
        memcpy(stop, whole.whole + at, 3);
        size_t first = (size_t)((char *)memmem(whole.whole, whole.whole_size, stop, 3) - whole.whole);
        if (memchr(stop, 0, 3))
            continue;
        request = request_of(*state, 7, 40, &stopped);
        request.stops = stops;
        request.stop_count = 1;
        submit(&m, &request);
        run(&m);
        assert_whole(&stopped, "stop");
        assert_int_equal(stopped.whole_size, first);
        assert_memory_equal(stopped.whole, whole.whole, first);
        assert_true(stopped.count < whole.count);
    }
    machine_free(&m);
}

static void test_cancel(void **state)
{
    static heard h[5], again;
    uint64_t ticket[5];
    machine m;
    machine_make(*state, &m);
    ended = 0;
    for (int n = 0; n < 5; n++) {
        slip_serve_request request = request_of(*state, n, 8, &h[n]);
        ticket[n] = submit(&m, &request);
    }
    assert_int_equal(slip_serve_step(m.serve), SLIP_OK);
    assert_int_equal(slip_serve_step(m.serve), SLIP_OK);
    assert_int_equal(slip_serve_cancel(m.serve, ticket[0]), SLIP_OK); /* it runs */
    assert_int_equal(slip_serve_cancel(m.serve, ticket[3]), SLIP_OK); /* it waits */
    assert_int_equal(slip_serve_cancel(m.serve, ticket[3]), SLIP_OK); /* it has ended */
    assert_true(h[0].ends == 1 && !h[0].reason && h[0].count == 2);
    assert_true(h[3].ends == 1 && !h[3].reason && h[3].count == 0 && h[3].whole_size == 0);
    run(&m);
    assert_true(h[1].count == 8 && h[2].count == 8 && h[4].count == 8 && h[3].ends == 1);
    slip_serve_request request = request_of(*state, 2, 8, &again); /* what was cancelled left no trace */
    submit(&m, &request);
    run(&m);
    assert_memory_equal(again.tokens, h[2].tokens, 8 * sizeof *again.tokens);
    machine_free(&m);
}

static void test_cancel_all(void **state)
{
    static heard h[5];
    machine m;
    machine_make(*state, &m);
    for (int n = 0; n < 5; n++) {
        slip_serve_request request = request_of(*state, n, 8, &h[n]);
        submit(&m, &request);
    }
    assert_int_equal(slip_serve_step(m.serve), SLIP_OK);
    assert_int_equal(slip_serve_cancel_all(m.serve), SLIP_OK);
    assert_false(slip_serve_busy(m.serve));
    for (int n = 0; n < 5; n++)
        assert_true(h[n].ends == 1 && !h[n].reason && h[n].count == (n < SLOTS));
    machine_free(&m);
}

/* A sink that fails ends the step with its status; one may cancel its own request. */
static void test_sinks_that_do_something(void **state)
{
    static heard failing, cancelling;
    machine m;
    machine_make(*state, &m);
    slip_serve_request request = request_of(*state, 1, 20, &failing);
    failing.fail_after = 2;
    uint64_t ticket = submit(&m, &request);
    slip_status status = SLIP_OK;
    while (slip_serve_busy(m.serve) && status == SLIP_OK)
        status = slip_serve_step(m.serve);
    assert_int_equal(status, SLIP_ERR_FAILED);
    assert_string_equal(slip_cause(), "the reader is gone");
    slip_clear();
    assert_int_equal(slip_serve_cancel(m.serve, ticket), SLIP_OK);
    request = request_of(*state, 2, 20, &cancelling);
    cancelling.cancels_in = &m;
    cancelling.ticket = submit(&m, &request);
    run(&m);
    assert_true(cancelling.ends == 1 && !cancelling.reason && cancelling.count < 20);
    machine_free(&m);
}

/* The CPU's candidates, but that from its fourth token on a request of this seed has a logit that is not finite. */
enum { BROKEN_SEED = 4 };

static void broken_candidates(slip_executor *executor, const slip_step *step, slip_candidate *out)
{
    slip_executor_cpu.candidates(executor, step, out);
    for (int32_t s = 0, row = 0; s < step->span_count; s++)
        for (int32_t i = step->span[s].count - step->span[s].logit_rows; i < step->span[s].count; i++, row++)
            if (step->span[s].sampling.seed == BROKEN_SEED && step->span[s].position + i + 1 >= PROMPT + 3)
                out[row].score = i % 2 ? (float)NAN : -INFINITY;
}

/* Such a request ends with the step's number, and no other one notices. */
static void test_logits_that_are_not_finite(void **state)
{
    static heard broken[6], whole[6];
    slip_executor_kind kind = slip_executor_cpu;
    kind.candidates = broken_candidates;
    for (int pass = 0; pass < 2; pass++) {
        machine m;
        machine_make_with(pass ? &kind : &slip_executor_cpu, *state, &m);
        for (int n = 0; n < 6; n++) {
            slip_serve_request request = request_of(*state, n, 8, pass ? &broken[n] : &whole[n]);
            submit(&m, &request);
        }
        run(&m);
        machine_free(&m);
    }
    for (int n = 0; n < 6; n++) {
        if (n == BROKEN_SEED)
            continue;
        assert_whole(&broken[n], "length");
        assert_memory_equal(broken[n].tokens, whole[n].tokens, 8 * sizeof *broken[n].tokens);
    }
    const heard *h = &broken[BROKEN_SEED];
    assert_true(h->ends == 1 && !h->reason && h->count == 3);
    assert_memory_equal(h->tokens, whole[BROKEN_SEED].tokens, 3 * sizeof *h->tokens);
    assert_non_null(strstr(h->error, "not finite: step "));
    assert_non_null(strstr(h->error, "after 5 tokens of the prompt and 3 of the answer"));
    assert_string_equal(broken[0].error, "");
}

static int open_all(void **state)
{
    size_t size;
    char *json = folder_read("tests/golden/tokenizer/gpt2.json", &size);
    slip_status status = slip_tokenizer_parse(json, size, "gpt2.json", VOCABULARY, &tokenizer);
    free(json);
    return status == SLIP_OK ? tiny_checkpoint_open(state, "hf-hybrid-f32") : -1;
}

static int close_all(void **state)
{
    slip_tokenizer_free(tokenizer);
    return tiny_checkpoint_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_at_any_time),
        cmocka_unit_test(test_stop_string),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_all),
        cmocka_unit_test(test_sinks_that_do_something),
        cmocka_unit_test(test_logits_that_are_not_finite),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
