#include "io/report/metrics_file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/version.h"

static const char first_line[] = "# HELP slipstream_build_info ";

static void head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP slipstream_%s %s\n# TYPE slipstream_%s %s\n", name, help, name, type);
}

/* A number as Prometheus reads it. */
static void value(FILE *out, double number)
{
    if (isnan(number))
        fputs(" NaN\n", out);
    else
        fprintf(out, " %.15g\n", number);
}

static void gauge(FILE *out, const char *name, const char *help, double number)
{
    head(out, name, "gauge", help);
    fprintf(out, "slipstream_%s", name);
    value(out, number);
}

static void counter(FILE *out, const char *name, const char *help, int64_t number)
{
    head(out, name, "counter", help);
    fprintf(out, "slipstream_%s %lld\n", name, (long long)number);
}

/* The value of a label: backslash, quote and line feed are escaped. */
static void label(FILE *out, const char *name, const char *text)
{
    fprintf(out, "%s=\"", name);
    for (const char *c = text; *c; c++) {
        if (*c == '\n')
            fputs("\\n", out);
        else if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void summary(FILE *out, const char *name, const char *help, const slip_metrics_times *times)
{
    head(out, name, "summary", help);
    fprintf(out, "slipstream_%s{quantile=\"0.5\"}", name);
    value(out, times->count > 0 ? times->median : NAN);
    fprintf(out, "slipstream_%s{quantile=\"0.99\"}", name);
    value(out, times->count > 0 ? times->p99 : NAN);
    fprintf(out, "slipstream_%s_sum", name);
    value(out, times->sum);
    fprintf(out, "slipstream_%s_count %lld\n", name, (long long)times->count);
}

static void put_run(FILE *out, const slip_metrics_state *state)
{
    head(out, "build_info", "gauge", "The program; the value is always 1.");
    fprintf(out, "slipstream_build_info{version=\"%s\",commit=\"%s\"} 1\n", slip_version(), slip_commit());
    head(out, "run_info", "gauge", "What runs on what; the value is always 1.");
    fputs("slipstream_run_info{", out);
    label(out, "model", state->model);
    label(out, ",device", state->device);
    fprintf(out, ",ranks=\"%d\"} 1\n", state->ranks);
    gauge(out, "running", "1 while the run goes on, 0 when it has ended.", state->running);
    gauge(out, "start_time_seconds", "When the run began, in seconds since 1970.", state->started_unix);
}

static void put_requests(FILE *out, const slip_metrics_state *state)
{
    head(out, "requests_total", "counter", "Requests that have ended, those of the runs that this one goes on with included.");
    fprintf(out, "slipstream_requests_total{state=\"answered\"} %lld\n", (long long)state->answered);
    fprintf(out, "slipstream_requests_total{state=\"refused\"} %lld\n", (long long)state->refused);
    fprintf(out, "slipstream_requests_total{state=\"failed\"} %lld\n", (long long)state->failed);
    gauge(out, "requests_expected", "Requests in the input.", (double)state->requests);
    gauge(out, "requests_in_flight", "Requests that are being answered.", (double)state->in_flight);
    gauge(out, "eta_seconds", "Seconds until the run ends at its pace so far.", state->running ? state->eta_seconds : 0);
}

static void put_decoding(FILE *out, const slip_metrics_state *state)
{
    counter(out, "generated_tokens_total", "Tokens generated.", state->tokens);
    counter(out, "prompt_tokens_total", "Tokens of the prompts taken up.", state->prompt_tokens);
    gauge(out, "tokens_per_second", "Tokens generated a second since the first step.", state->tokens_per_second);
    counter(out, "spec_steps_total", "Drafted blocks verified, of requests that have ended.", state->spec_steps);
    counter(out, "draft_tokens_total", "Drafted tokens in them.", state->draft_tokens);
    counter(out, "accepted_draft_tokens_total", "Drafted tokens accepted.", state->accepted_draft_tokens);
    gauge(out, "acceptance_length", "Mean tokens a drafted block commits, the bonus token included.", state->acceptance_length);
    summary(out, "step_seconds", "Time of steps that only verify, drafting included.", &state->step);
    summary(out, "time_to_first_token_seconds", "From admission to the first token.", &state->first_token);
}

static slip_status failed(const char *path)
{
    return slip_fail(slip_file_blame(errno), "%s: cannot be written: %s", path, strerror(errno));
}

static slip_status write_to(const char *path, const slip_metrics_state *state)
{
    FILE *out = fopen(path, "we");
    if (!out)
        return failed(path);
    put_run(out, state);
    put_requests(out, state);
    put_decoding(out, state);
    bool broken = fflush(out) != 0 || ferror(out);
    slip_status status = broken ? failed(path) : SLIP_OK;
    if (fclose(out) != 0 && status == SLIP_OK)
        status = failed(path);
    return status;
}

slip_status slip_metrics_file_write(const char *path, const slip_metrics_state *state)
{
    char *temporary;
    if (asprintf(&temporary, "%s.tmp", path) < 0)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_status status = write_to(temporary, state);
    if (status == SLIP_OK && rename(temporary, path) != 0)
        status = failed(path);
    if (status != SLIP_OK)
        unlink(temporary);
    free(temporary);
    return status;
}

bool slip_metrics_file_is(const char *path)
{
    char start[sizeof first_line] = "";
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return false;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t size = fread(start, 1, sizeof first_line - 1, file);
    fclose(file);
    return size == sizeof first_line - 1 && memcmp(start, first_line, size) == 0;
}
