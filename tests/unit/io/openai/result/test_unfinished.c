/* Answers that were in flight: what a run leaves beside its results, and what the next one makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "result_file.h"

static const int32_t ids[] = {5, 0, 2147483647, 7};

/* An answer after so many tokens. */
static slip_answer so_far(const char *text, int32_t tokens)
{
    slip_answer answer = say(text);
    answer.finish_reason = NULL;
    answer.completion_tokens = tokens;
    answer.ids = ids;
    return answer;
}

static char *unfinished_path(void)
{
    static char name[128];
    snprintf(name, sizeof name, "%s.unfinished", path);
    return name;
}

static bool is_there(void)
{
    return access(unfinished_path(), F_OK) == 0;
}

static void give_up(slip_results *results, int request, const slip_answer *answer)
{
    assert_int_equal(slip_results_give_up(results, &requests[request], answer, "interrupted", "by a signal"), SLIP_OK);
}

/* A run that had answered request 1 and was in the middle of 0 and 3. */
static void leave_two(void)
{
    const slip_answer first = so_far("a\n\xc3\xa9", 4), second = so_far("b", 1), answered = say("Hello");
    slip_results *results = open_results(false);
    assert_int_equal(slip_results_answer(results, &requests[1], &answered), SLIP_OK);
    give_up(results, 0, &first);
    give_up(results, 3, &second);
    assert_false(is_there());
    assert_int_equal(slip_results_save(results), SLIP_OK);
    assert_true(is_there());
    assert_int_equal(slip_results_close(results), SLIP_OK);
}

static void assert_begun(const slip_results *results, int request, const slip_answer *wanted)
{
    slip_begun begun;
    assert_int_equal(slip_results_begun(results, &requests[request], &begun), SLIP_OK);
    assert_int_equal(begun.count, wanted != NULL);
    if (wanted != NULL) {
        const slip_answer *read = begun.choices;
        assert_null(read->finish_reason);
        assert_int_equal(read->completion_tokens, wanted->completion_tokens);
        assert_memory_equal(read->ids, wanted->ids, (size_t)wanted->completion_tokens * sizeof *ids);
        assert_int_equal(read->text_size, wanted->text_size);
        assert_memory_equal(read->text, wanted->text, wanted->text_size);
        assert_true(read->spec_steps == wanted->spec_steps && read->accepted_draft_tokens == wanted->accepted_draft_tokens);
        assert_true(read->draft_tokens == wanted->draft_tokens && read->total_ms == wanted->total_ms);
        assert_true(read->time_to_first_token_ms == wanted->time_to_first_token_ms);
    }
    slip_begun_free(&begun);
}

/* They are there for the next run, which takes them away as it answers; as many lines as requests come out of each. */
static void test_goes_on(void **state)
{
    (void)state;
    const slip_answer first = so_far("a\n\xc3\xa9", 4), second = so_far("b", 1), further = so_far("bcd", 3), whole = say("whole");
    leave_two();
    slip_results *results = open_results(true);
    assert_int_equal(slip_results_resumed(results)->begun, 2);
    assert_begun(results, 0, &first);
    assert_begun(results, 1, NULL);
    assert_begun(results, 3, &second);
    assert_int_equal(slip_results_answer(results, &requests[0], &whole), SLIP_OK);
    give_up(results, 3, &further);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    results = open_results(true);
    assert_int_equal(slip_results_resumed(results)->begun, 1);
    assert_begun(results, 0, NULL);
    assert_begun(results, 3, &further);
    assert_int_equal(slip_results_answer(results, &requests[3], &whole), SLIP_OK);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    assert_false(is_there());
}

/* A run that is killed leaves the file as it found it: what it had answered is not begun again. */
static void test_answered_since(void **state)
{
    (void)state;
    const slip_answer second = so_far("b", 1), whole = say("whole");
    size_t size;
    leave_two();
    slip_results *results = open_results(true);
    assert_int_equal(slip_results_answer(results, &requests[0], &whole), SLIP_OK);
    char *text = read_all(&size); /* as a killed run leaves it */
    assert_int_equal(slip_results_close(results), SLIP_OK);
    unlink(path);
    unlink(unfinished_path());
    leave_two();
    write_all(text, size);
    free(text);
    results = open_results(true);
    assert_int_equal(slip_results_resumed(results)->begun, 1);
    assert_begun(results, 0, NULL);
    assert_begun(results, 3, &second);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    unlink(unfinished_path());
}

/* Nothing had come yet: there is nothing to go on with. */
static void test_nothing_to_keep(void **state)
{
    (void)state;
    const slip_answer none = so_far("", 0);
    slip_results *results = open_results(false);
    give_up(results, 0, &none);
    assert_int_equal(slip_results_close(results), SLIP_OK);
    assert_false(is_there());
}

/* The bytes of the file, [*size]. */
static char *read_unfinished(size_t *size)
{
    FILE *file = fopen(unfinished_path(), "r");
    assert_non_null(file);
    char *text = calloc(1, 1 << 16);
    *size = fread(text, 1, (1 << 16) - 1, file);
    fclose(file);
    return text;
}

static void write_unfinished(const char *text, size_t size)
{
    FILE *file = fopen(unfinished_path(), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

/* A line that was cut or changed anywhere counts as damaged: its request begins again, the other one goes on. */
static void test_damaged(void **state)
{
    (void)state;
    const slip_answer first = so_far("a\n\xc3\xa9", 4);
    size_t size;
    leave_two();
    char *text = read_unfinished(&size);
    size_t one = (size_t)(strchr(text, '\n') + 1 - text);
    for (size_t at = one + 1; at + 1 < size; at += 3) {
        bool cut = at % 2 == 0;
        text[at] ^= !cut;
        write_unfinished(text, cut ? at : size);
        text[at] ^= !cut;
        bool prefix = !cut && at - one < strlen("{\"crc32c\":\"");
        slip_results *results = NULL;
        slip_clear();
        assert_int_equal(slip_results_open(path, true, RUN, input, &results), prefix ? SLIP_ERR_INPUT : SLIP_OK);
        if (prefix)
            continue;
        assert_true(slip_results_resumed(results)->damaged == 1 && slip_results_resumed(results)->first_damaged == 2);
        assert_begun(results, 0, &first);
        assert_begun(results, 3, NULL);
        assert_int_equal(slip_results_close(results), SLIP_OK);
    }
    unlink(unfinished_path());
    free(text);
}

static void assert_refused(bool resume, uint64_t run, const char *why)
{
    slip_results *results = NULL;
    slip_clear();
    assert_int_equal(slip_results_open(path, resume, run, input, &results), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), unfinished_path()));
    assert_non_null(strstr(slip_cause(), why));
    assert_true(is_there());
}

static void test_refused(void **state)
{
    (void)state;
    leave_two();
    unlink(path); /* else the results would be refused */
    assert_refused(false, RUN, "--resume");
    assert_refused(true, RUN + 1, "run_hash");
    change_input("{\"custom_id\":\"r0\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"model\":\"m\",\"prompt\":\"x\"}}\n");
    assert_refused(true, RUN, "line 2 is of a request that is not in the input");
    write_unfinished("somebody's notes\n", 17);
    assert_refused(true, RUN, "line 1 is not what slipstream batch leaves there");
    unlink(unfinished_path());
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_answered_since, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_to_keep, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_damaged, results_setup, results_teardown),
        cmocka_unit_test_setup_teardown(test_refused, results_setup, results_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
