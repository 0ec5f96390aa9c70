/* The trace of a step: read back by a JSON parser, every field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "folder.h"
#include "kernels/cuda/engine/profile.h"

enum { SMS = 3, RANK = 5 };
#define ORIGIN UINT64_C(1700000000123456789) /* of the GPU's clock: too large for a double */

typedef struct {
    slip_cuda_event events[SMS][SLIP_ROLES][SLIP_PROFILE_EVENTS];
    int32_t counts[SMS][SLIP_ROLES];
} recording;

static void name_op(void *context, int32_t op, char *text, size_t size)
{
    snprintf(text, size, "%s %d", (const char *)context, op);
}

static void record(recording *r, int sm, int role, slip_cuda_event event)
{
    r->events[sm][role][r->counts[sm][role]++] = event;
}

static slip_cuda_profile profile_of(recording *r)
{
    return (slip_cuda_profile){
        .rank = RANK, .sms = SMS, .events = &r->events[0][0][0], .counts = &r->counts[0][0], .name = name_op, .context = "linear"};
}

/* Write and parse; the caller drops it. */
static json_t *trace_of(recording *r)
{
    folder *f = folder_make();
    slip_cuda_profile profile = profile_of(r);
    assert_int_equal(slip_cuda_profile_write(folder_join(f, "trace.json"), &profile), SLIP_OK);
    json_error_t error;
    json_t *root = json_load_file(folder_join(f, "trace.json"), 0, &error);
    assert_non_null(root);
    folder_remove(f);
    return root;
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static json_int_t number(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static double real(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* The `index`-th event of this phase, and how many there are. */
static json_t *event_of(const json_t *root, const char *phase, size_t index, size_t *count)
{
    json_t *found = NULL, *event;
    size_t i;
    *count = 0;
    json_array_foreach (json_object_get(root, "traceEvents"), i, event) {
        assert_int_equal(number(event, "pid"), RANK);
        if (strcmp(text(event, "ph"), phase) == 0 && (*count)++ == index)
            found = event;
    }
    return found;
}

static void check_event(const json_t *root, size_t index, const char *name, const char *category, int thread, double at, double lasts)
{
    size_t count;
    json_t *event = event_of(root, "X", index, &count);
    assert_non_null(event);
    assert_string_equal(text(event, "name"), name);
    assert_string_equal(text(event, "cat"), category);
    assert_int_equal(number(event, "tid"), thread);
    assert_true(real(event, "ts") == at && real(event, "dur") == lasts);
}

static void test_fields(void **state)
{
    (void)state;
    recording *r = calloc(1, sizeof *r);
    assert_non_null(r);
    record(r, 0, SLIP_ROLE_CONSUMER, (slip_cuda_event){ORIGIN + 1500, ORIGIN + 4001, 7, 0});
    record(r, 0, SLIP_ROLE_CONSUMER, (slip_cuda_event){ORIGIN + 4001, ORIGIN + 4002, 7, 1});
    record(r, 2, SLIP_ROLE_PRODUCER, (slip_cuda_event){ORIGIN, ORIGIN + 1000000, 8, 0});
    record(r, 2, SLIP_ROLE_CONTROL, (slip_cuda_event){ORIGIN + 90, ORIGIN + 80, 9, 0}); /* a clock that went back */
    json_t *root = trace_of(r), *meta;
    size_t count;
    assert_string_equal(text(json_object_get(root, "otherData"), "origin_ns"), "1700000000123456789");
    check_event(root, 0, "linear 7", "op", 0 * 4 + SLIP_ROLE_CONSUMER, 1.5, 2.501);
    check_event(root, 1, "barrier", "barrier", 0 * 4 + SLIP_ROLE_CONSUMER, 4.001, 0.001);
    check_event(root, 2, "linear 8", "op", 2 * 4 + SLIP_ROLE_PRODUCER, 0, 1000);
    check_event(root, 3, "linear 9", "op", 2 * 4 + SLIP_ROLE_CONTROL, 0.09, 0);
    assert_int_equal(number(json_object_get(event_of(root, "X", 1, &count), "args"), "op"), 7);
    assert_int_equal(count, 4);
    meta = event_of(root, "M", 0, &count);
    assert_int_equal(count, 1 + 2 * 3); /* the process; a name and a place of each thread that did something */
    assert_string_equal(text(json_object_get(meta, "args"), "name"), "rank 5");
    meta = event_of(root, "M", 3, &count);
    assert_string_equal(text(meta, "name"), "thread_name");
    assert_string_equal(text(json_object_get(meta, "args"), "name"), "SM 2 producer");
    meta = event_of(root, "M", 4, &count);
    assert_string_equal(text(meta, "name"), "thread_sort_index");
    assert_int_equal(number(json_object_get(meta, "args"), "sort_index"), 2 * 4 + SLIP_ROLE_PRODUCER);
    json_decref(root);
    free(r);
}

/* Counters run on when there is no room; nothing at all is a trace too. */
static void test_counts(void **state)
{
    (void)state;
    recording *r = calloc(1, sizeof *r);
    assert_non_null(r);
    size_t count;
    json_t *root = trace_of(r);
    event_of(root, "X", 0, &count);
    assert_int_equal(count, 0);
    json_decref(root);
    r->counts[1][SLIP_ROLE_CONSUMER] = SLIP_PROFILE_EVENTS + 40;
    r->counts[2][SLIP_ROLE_CONSUMER] = -1;
    root = trace_of(r);
    event_of(root, "X", 0, &count);
    assert_int_equal(count, SLIP_PROFILE_EVENTS);
    json_decref(root);
    free(r);
}

static void test_failing_paths(void **state)
{
    (void)state;
    recording *r = calloc(1, sizeof *r);
    assert_non_null(r);
    slip_cuda_profile profile = profile_of(r);
    assert_int_equal(slip_cuda_profile_write("no/such/folder/x", &profile), SLIP_ERR_FAILED);
    assert_non_null(strstr(slip_cause(), "no/such/folder/x"));
    slip_clear();
    if (access("/dev/full", W_OK) == 0) { /* the disk fills up behind our back */
        assert_int_equal(slip_cuda_profile_write("/dev/full", &profile), SLIP_ERR_FAILED);
        assert_non_null(strstr(slip_cause(), "/dev/full"));
        slip_clear();
    }
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_failing_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
