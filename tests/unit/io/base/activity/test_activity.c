/* What a process says of itself: levels end with those above them, and a reader in another thread never sees half of a word. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "io/base/activity/activity.h"
#include "io/base/clock.h"

static void assert_text(const char *wanted)
{
    char text[SLIP_ACTIVITY_TEXT];
    slip_activity activity = slip_activity_now();
    slip_activity_describe(&activity, text);
    assert_string_equal(text, wanted);
}

static void test_levels(void **state)
{
    (void)state;
    slip_activity_phase("step %d", 17);
    assert_text("step 17");
    slip_activity_op(2, "EXPERTS");
    assert_text("step 17, layer 2 EXPERTS");
    slip_activity_wait(SLIP_WAIT_RANK, "waiting for", "rank 1 (node7)");
    assert_text("step 17, layer 2 EXPERTS, waiting for rank 1 (node7)");
    slip_activity_go_on();
    slip_activity_op(-1, "SAMPLE");
    assert_text("step 17, SAMPLE");
    slip_activity_wait(SLIP_WAIT_CALL, "writing", "out.jsonl");
    slip_activity_idle("nothing to do");
    assert_text("nothing to do");
    assert_int_equal(slip_activity_now().idle, 1);
    assert_int_equal(slip_activity_now().wait, SLIP_WAIT_NONE);
    slip_activity_phase("step 18");
    assert_int_equal(slip_activity_now().idle, 0);
}

/* A wait that is told again, with other names, lasts since the first time. */
static void test_since(void **state)
{
    (void)state;
    slip_activity_phase("step 1");
    slip_activity_wait(SLIP_WAIT_RANK, "waiting for", "rank 1, rank 2");
    double since_s = slip_activity_now().since_s;
    slip_activity_wait(SLIP_WAIT_RANK, "waiting for", "rank 2");
    assert_true(slip_activity_now().since_s == since_s);
    assert_text("step 1, waiting for rank 2");
    while (slip_now_s() <= since_s) /* a clock may stand still for some milliseconds */
        continue;
    slip_activity_go_on();
    assert_true(slip_activity_now().since_s > since_s);
}

static void test_long_names_are_cut(void **state)
{
    (void)state;
    char name[400];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    slip_activity_phase("%s", name);
    slip_activity_op(3, name);
    slip_activity_wait(SLIP_WAIT_CALL, "reading", name);
    slip_activity activity = slip_activity_now();
    assert_int_equal(strlen(activity.phase), sizeof activity.phase - 1);
    assert_int_equal(strlen(activity.wait_for), sizeof activity.wait_for - 1);
}

/* A writer that was stopped in mid-write: its half of a word is not read, now or later. */
static void test_a_stopped_writer_leaves_what_it_said(void **state)
{
    (void)state;
    slip_activity_slot stopped;
    memset(&stopped, 0, sizeof stopped);
    slip_activity_publish_in(&stopped);
    for (int i = 0; i < 2; i++) {
        slip_activity_phase("step %d", i);
        memset(stopped.words[(stopped.version + 1) % 2], 'x', sizeof stopped.words[0] / 2);
        slip_activity seen = slip_activity_read(&stopped);
        char said[16];
        snprintf(said, sizeof said, "step %d", i);
        assert_string_equal(seen.phase, said);
    }
    slip_activity_publish_in(NULL);
}

static slip_activity_slot shared;
static int done;

static void *read_all_the_time(void *torn)
{
    while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
        slip_activity seen = slip_activity_read(&shared);
        char digit = seen.phase[0];
        for (size_t i = 0; digit && i < 40; i++)
            *(int *)torn += seen.phase[i] != digit;
    }
    return NULL;
}

static void test_another_thread_reads_whole_words(void **state)
{
    (void)state;
    pthread_t reader;
    int torn = 0;
    slip_activity_publish_in(&shared);
    slip_activity_phase("%.40s", "0000000000000000000000000000000000000000");
    assert_int_equal(pthread_create(&reader, NULL, read_all_the_time, &torn), 0);
    for (int i = 0; i < 200000; i++) {
        char text[41];
        memset(text, '0' + i % 10, 40);
        text[40] = '\0';
        slip_activity_phase("%s", text);
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    pthread_join(reader, NULL);
    slip_activity_publish_in(NULL);
    assert_int_equal(torn, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_since),
        cmocka_unit_test(test_long_names_are_cut),
        cmocka_unit_test(test_a_stopped_writer_leaves_what_it_said),
        cmocka_unit_test(test_another_thread_reads_whole_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
