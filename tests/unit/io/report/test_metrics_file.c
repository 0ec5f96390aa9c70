/* The file of metrics by Prometheus' rules: every sample belongs to a family with one HELP and one TYPE before it; names, labels and values
 * are well formed; counters end in _total. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/report/metrics_file.h"

static char path[64] = "/tmp/slipstream-metrics-XXXXXX";
static char text[1 << 14];

static void read_back(void)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    assert_true(size > 0 && text[size - 1] == '\n');
}

static const char *skip_name(const char *at)
{
    assert_true(isalpha((unsigned char)*at) || *at == '_');
    while (isalnum((unsigned char)*at) || *at == '_')
        at++;
    return at;
}

/* {name="value",...} */
static const char *skip_labels(const char *at)
{
    assert_int_equal(*at++, '{');
    while (*at != '}') {
        at = skip_name(at);
        assert_memory_equal(at, "=\"", 2);
        for (at += 2; *at != '"'; at++) {
            assert_true(*at != '\0' && *at != '\n');
            if (*at == '\\') {
                at++;
                assert_true(*at == '\\' || *at == '"' || *at == 'n');
            }
        }
        at += at[1] == ',' ? 2 : 1;
    }
    return at + 1;
}

/* Does the name of a sample belong to this family? */
static bool is_of(const char *name, size_t size, const char *family, const char *type)
{
    size_t base = strlen(family);
    if (size < base || strncmp(name, family, base) != 0)
        return false;
    if (size == base)
        return true;
    return strcmp(type, "summary") == 0 &&
           ((size == base + 4 && strncmp(name + base, "_sum", 4) == 0) || (size == base + 6 && strncmp(name + base, "_count", 6) == 0));
}

/* Check every line; returns how many samples there are. */
static int check_format(void)
{
    char family[64] = "", type[16] = "", seen[4096] = "", mark[80];
    int samples = 0;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %63s", family), 1);
            snprintf(mark, sizeof mark, " %s ", family);
            assert_null(strstr(seen, mark)); /* families come once */
            strcat(seen, mark);
            type[0] = '\0';
            continue;
        }
        if (strncmp(line, "# TYPE ", 7) == 0) {
            char typed[64];
            assert_int_equal(sscanf(line, "# TYPE %63s %15s", typed, type), 2);
            assert_string_equal(typed, family);
            assert_true(strcmp(type, "gauge") == 0 || strcmp(type, "counter") == 0 || strcmp(type, "summary") == 0);
            size_t size = strlen(family);
            assert_int_equal(strcmp(type, "counter") == 0, size > 6 && strcmp(family + size - 6, "_total") == 0);
            continue;
        }
        const char *end = skip_name(line);
        assert_true(type[0] != '\0' && is_of(line, (size_t)(end - line), family, type));
        if (*end == '{')
            end = skip_labels(end);
        assert_int_equal(*end++, ' ');
        char *rest;
        strtod(end, &rest);
        assert_true(rest > end && *rest == '\n');
        samples++;
    }
    return samples;
}

static double sample(const char *name)
{
    const char *found = strstr(text, name);
    assert_non_null(found);
    return strtod(found + strlen(name), NULL);
}

static void test_format(void **state)
{
    (void)state;
    struct stat info;
    slip_metrics_state s = {.device = "cpu",
                            .model = "a \"model\" \\ of\ntwo lines",
                            .ranks = 2,
                            .started_unix = 1795740133.25,
                            .running = true,
                            .requests = 10,
                            .answered = 4,
                            .refused = 1,
                            .failed = 2,
                            .in_flight = 3,
                            .tokens = 1152,
                            .acceptance_length = NAN,
                            .eta_seconds = NAN,
                            .tokens_per_second = 26.5,
                            .step = {.median = 0.25, .p99 = 0.5, .sum = 20, .count = 80}};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_false(slip_metrics_file_is(path));
    assert_int_equal(slip_metrics_file_write(path, &s), SLIP_OK);
    assert_true(slip_metrics_file_is(path));
    read_back();
    assert_int_equal(check_format(), 25);
    assert_true(sample("\nslipstream_requests_total{state=\"failed\"} ") == 2);
    assert_true(sample("\nslipstream_requests_expected ") == 10);
    assert_true(sample("\nslipstream_start_time_seconds ") == 1795740133.25);
    assert_true(sample("\nslipstream_step_seconds{quantile=\"0.99\"} ") == 0.5);
    assert_true(isnan(sample("\nslipstream_eta_seconds ")));
    assert_true(sample("\nslipstream_running ") == 1);
    assert_non_null(strstr(text, "model=\"a \\\"model\\\" \\\\ of\\ntwo lines\""));

    s.running = false;
    s.acceptance_length = 2.5;
    assert_int_equal(slip_metrics_file_write(path, &s), SLIP_OK);
    read_back();
    check_format();
    assert_true(sample("\nslipstream_running ") == 0);
    assert_true(sample("\nslipstream_eta_seconds ") == 0);
    assert_true(sample("\nslipstream_acceptance_length ") == 2.5);
    strcat(path, ".tmp");
    assert_int_not_equal(stat(path, &info), 0); /* nothing is left beside it */
    path[strlen(path) - 4] = '\0';
    unlink(path);
}

static void test_nowhere(void **state)
{
    (void)state;
    const slip_metrics_state s = {.device = "cpu", .model = "m"};
    assert_int_equal(slip_metrics_file_write("/no/such/folder/s.prom", &s), SLIP_ERR_INPUT);
    assert_non_null(strstr(slip_cause(), "/no/such/folder/s.prom"));
    slip_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_format), cmocka_unit_test(test_nowhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
