/* slipstream score: how well the model predicts a text. Every token but the first is predicted from those before it.
 *
 * A text longer than the context is read in windows: each starts half a window after the last one and scores only tokens that
 * were not scored before, so that a scored token has at least half a window of context.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/json.h"
#include "io/base/file/file.h"
#include "io/base/file/stdout.h"
#include "io/base/file/unpack.h"
#include "io/report/logits.h"
#include "io/report/progress.h"
#include "io/report/summary.h"
#include "jobs/job.h"

enum { TEXT_MAX = 1 << 30 };

typedef struct {
    int32_t *ids;
    size_t count;
    size_t bytes;        /* of the text; 0 for ids */
    double bits;         /* sum of -log2 p */
    size_t scored;       /* tokens in that sum */
    slip_logits *logits; /* NULL without --logits */
    slip_progress progress;
} score;

/* -log2 of the probability of `token`, from one row of logits. */
static double bits_of(const float *logits, int32_t vocabulary, int32_t token)
{
    double top = logits[0], sum = 0;
    for (int32_t v = 1; v < vocabulary; v++)
        top = logits[v] > top ? logits[v] : top;
    for (int32_t v = 0; v < vocabulary; v++)
        sum += exp(logits[v] - top);
    return (log(sum) + top - logits[token]) / M_LN2;
}

static slip_status check_finite(const float *logits, int32_t vocabulary, uint64_t step, size_t token)
{
    for (int32_t v = 0; v < vocabulary; v++)
        if (!isfinite(logits[v]))
            return slip_fail(SLIP_ERR_FAILED,
                             "a logit is not finite: step %" PRIu64 ", behind token %zu of the text, vocabulary row %d: %g", step, token, v,
                             (double)logits[v]);
    return SLIP_OK;
}

/* Tokens [first, first + count) at positions from 0 on; those from `unscored` on are new. */
static slip_status score_window(slip_job *job, score *s, size_t first, size_t count, size_t unscored, slip_step *step)
{
    int32_t vocabulary = job->source.model.vocabulary;
    slip_runner *target = slip_rank_target(job->rank);
    for (size_t at = 0, chunk = (size_t)job->limits.span_rows; at < count; at += chunk) {
        int32_t rows = (int32_t)(count - at < chunk ? count - at : chunk);
        slip_outcome outcome;
        slip_status status = slip_job_heed_signals(job);
        if (status != SLIP_OK)
            return status;
        step->number++;
        step->want = SLIP_WANT_LOGITS;
        step->span_count = 1;
        step->row_count = step->logit_rows = rows;
        step->span[0] = (slip_span){.count = rows, .logit_rows = rows, .position = (int64_t)at};
        memcpy(step->token, s->ids + first + at, (size_t)rows * sizeof(int32_t));
        status = slip_runner_begin(target, SLIP_PHASE_RUN, step);
        if (status == SLIP_OK)
            status = slip_runner_wait(target, step, &outcome);
        for (int32_t i = 0; i < rows && status == SLIP_OK; i++)
            status = check_finite(outcome.logits + (size_t)i * (size_t)vocabulary, vocabulary, step->number, first + at + (size_t)i);
        if (status == SLIP_OK && s->logits)
            status = slip_logits_write(s->logits, first + at, rows, outcome.logits);
        if (status != SLIP_OK)
            return status;
        for (int32_t i = 0; i < rows; i++) {
            size_t next = first + at + (size_t)i + 1;
            if (next < unscored || next >= s->count || next >= first + count)
                continue;
            s->bits += bits_of(outcome.logits + (size_t)i * (size_t)vocabulary, vocabulary, s->ids[next]);
            s->scored++;
        }
        const slip_progress_counts counts = {
            .done = s->scored + 1, .tokens = (int64_t)s->scored + 1, .of_text = true}; /* windows overlap */
        slip_progress_update(&s->progress, &counts, slip_now_s());
    }
    return SLIP_OK;
}

static slip_status score_all(slip_job *job, score *s, size_t context)
{
    slip_step *step = calloc(1, sizeof *step);
    slip_status status = step ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
    size_t done = 1; /* the first token has nothing to be predicted from */
    slip_progress_start(&s->progress, job->options->quiet ? NULL : stderr, s->count, 0, slip_now_s());
    for (size_t first = 0; status == SLIP_OK; first += context - context / 2) {
        size_t count = s->count - first < context ? s->count - first : context;
        status = score_window(job, s, first, count, done, step);
        done = first + count;
        if (done >= s->count)
            break;
    }
    const slip_progress_counts counts = {.done = s->count, .tokens = (int64_t)s->count, .of_text = true};
    if (status == SLIP_OK)
        slip_progress_finish(&s->progress, &counts, slip_now_s());
    else
        slip_progress_clear(&s->progress);
    free(step);
    return status;
}

static slip_status read_ids(const char *path, int32_t vocabulary, score *s)
{
    json_error_t error;
    char *text = NULL;
    size_t size;
    slip_status status = slip_file_read(path, TEXT_MAX, &text, &size);
    if (status != SLIP_OK)
        return status;
    json_t *array = json_loadb(text, size, 0, &error);
    free(text);
    if (!array)
        return slip_json_refuse(path, "not a JSON array of token ids: ", &error);
    if (!json_is_array(array)) {
        json_decref(array);
        return slip_fail(SLIP_ERR_INPUT, "%s: not a JSON array of token ids", path);
    }
    s->count = json_array_size(array);
    s->ids = malloc(s->count * sizeof *s->ids + 1);
    if (!s->ids)
        status = slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (size_t i = 0; i < s->count && status == SLIP_OK; i++) {
        const json_t *id = json_array_get(array, i);
        if (!json_is_integer(id))
            status = slip_fail(SLIP_ERR_INPUT, "%s: element %zu is not an integer", path, i);
        else if (json_integer_value(id) < 0 || json_integer_value(id) >= vocabulary)
            status = slip_fail(SLIP_ERR_INPUT, "%s: element %zu, %lld, is not a token id from 0 to %d", path, i,
                               (long long)json_integer_value(id), vocabulary - 1);
        else
            s->ids[i] = (int32_t)json_integer_value(id);
    }
    json_decref(array);
    return status;
}

/* Any bytes have tokens, and a score that says nothing after hours. */
static slip_status check_text(const char *path, const char *text, size_t size)
{
    if (size == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: the file is empty", path);
    if (size > 2 && memcmp(text, "\x1f\x8b", 2) == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: is packed by gzip: gzip -dc makes it text", path);
    return slip_unpack_refuse_foreign(path, text, size);
}

static slip_status read_text(slip_job *job, score *s)
{
    char *text = NULL;
    slip_status status = slip_file_read(job->options->text, TEXT_MAX, &text, &s->bytes);
    if (status == SLIP_OK)
        status = check_text(job->options->text, text, s->bytes);
    if (status == SLIP_OK)
        status = slip_job_encode(job, text, s->bytes, 0, &s->ids, &s->count);
    free(text);
    return status;
}

static slip_status prepare(slip_job *job, score *s, int64_t *context)
{
    const slip_model *model = &job->source.model;
    slip_status status = job->options->ids ? read_ids(job->options->ids, model->vocabulary, s) : read_text(job, s);
    if (status != SLIP_OK)
        return status;
    const char *source = job->options->ids ? job->options->ids : job->options->text;
    if (s->count == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: no tokens", source);
    *context = slip_job_context(job, (int64_t)s->count);
    if (job->options->logits && (int64_t)s->count > *context)
        return slip_fail(SLIP_ERR_INPUT, "%s: %zu tokens do not fit the context of %lld, and --logits wants one window", source, s->count,
                         (long long)*context);
    if (*context < 2 && (int64_t)s->count > *context)
        return slip_fail(SLIP_ERR_INPUT, "--context %lld: at least 2 to score %zu tokens", (long long)*context, s->count);
    return job->options->logits ? slip_logits_create(job->options->logits, s->count, model->vocabulary, &s->logits) : SLIP_OK;
}

/* Without a scored token (a text of one) the averages are null. */
static json_t *ratio(double value, size_t count)
{
    return count ? json_real(value / (double)count) : json_null();
}

static slip_status report(const slip_job *job, const score *s, double seconds)
{
    if (!job->options->json) {
        printf("%zu tokens", s->count);
        if (s->scored)
            printf(", %.4f bits per token", s->bits / (double)s->scored);
        if (s->scored && s->bytes)
            printf(", %.4f bits per byte (%zu bytes)", s->bits / (double)s->bytes, s->bytes);
        putchar('\n');
        return slip_stdout_flush();
    }
    char emulated[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE];
    const slip_run_facts facts = slip_job_facts(job, emulated);
    json_t *object = slip_facts_json(&facts);
    json_t *rest = json_pack("{s:I,s:I,s:o,s:o,s:I,s:f}", "tokens", (json_int_t)s->count, "scored_tokens", (json_int_t)s->scored,
                             "bits_per_token", ratio(s->bits, s->scored), "bits_per_byte", ratio(s->bits, s->bytes), "bytes",
                             (json_int_t)s->bytes, "work_seconds", seconds);
    json_object_update(object, rest);
    json_decref(rest);
    return slip_summary_print(object);
}

slip_status slip_score(slip_job *job)
{
    score s = {0};
    int64_t context = 0;
    bool coordinator = slip_comm_rank(job->comm) == 0;
    slip_status status = slip_job_open(job);
    if (status != SLIP_OK)
        return status;
    if (coordinator)
        status = prepare(job, &s, &context);
    status = slip_job_start(job, status, 1, context, NULL);
    double start = slip_now_ms();
    if (coordinator && status == SLIP_OK)
        status = score_all(job, &s, (size_t)context);
    if (coordinator)
        status = slip_job_end(job, status);
    double seconds = (slip_now_ms() - start) * 1e-3;
    slip_status closed = slip_logits_close(s.logits);
    if (status == SLIP_OK)
        status = closed;
    job->requests = 1;
    if (coordinator && status == SLIP_OK)
        status = report(job, &s, seconds);
    free(s.ids);
    return status;
}
