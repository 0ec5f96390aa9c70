#include "jobs/record/record.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "io/base/version.h"
#include "io/report/metrics_file.h"
#include "io/report/trace/trace.h"

static const double metrics_seconds = 5;

enum { HASH_TEXT = 24 };

static const char *hash_text(uint64_t hash, char text[static HASH_TEXT])
{
    snprintf(text, HASH_TEXT, "%016" PRIx64, hash);
    return text;
}

slip_status slip_record_open(slip_record *record, const char *trace, const char *metrics, uint64_t run_hash)
{
    char hash[HASH_TEXT];
    record->metrics = metrics;
    record->run_hash = run_hash;
    return trace ? slip_trace_open(trace, hash_text(run_hash, hash), &record->trace) : SLIP_OK;
}

/* ---- the trace ---- */

/* Words with a gap between them, as far as there is room. */
static void join(char *field, size_t size, const char *word)
{
    size_t used = strlen(field);
    if (used > 0 && used + 1 < size)
        field[used++] = ' ';
    slip_trace_text(field + used, size - used, word);
}

/* A host for each run of ranks on it. */
static void list_hosts(const slip_run_facts *facts, char *field, size_t size)
{
    for (int rank = 0; rank < facts->ranks; rank++) {
        const char *host = facts->host(facts->context, rank);
        if (rank == 0 || strcmp(host, facts->host(facts->context, rank - 1)) != 0)
            join(field, size, host);
    }
}

static slip_trace_run run_row(const slip_record *record, const slip_rank *rank)
{
    const slip_run_facts *facts = &record->facts;
    slip_trace_run row = {
        .started_unix = record->started_unix,
        .started_monotonic = slip_now_s() - facts->seconds,
        .requests = (int64_t)record->progress->total,
        .ranks = facts->ranks,
        .expert_slices = facts->expert_slices,
        .sequences = slip_rank_limits(rank)->sequences,
        .context = slip_rank_limits(rank)->context,
        .checksums = slip_rank_source(rank)->table.checksums ? slip_rank_source(rank)->table.checksum_count - 1 : 0,
    };
    hash_text(record->run_hash, row.run_hash);
    slip_trace_text(row.version, sizeof row.version, slip_version());
    slip_trace_text(row.commit, sizeof row.commit, slip_commit());
    slip_trace_text(row.device, sizeof row.device, facts->device);
    slip_trace_text(row.model, sizeof row.model, facts->model);
    list_hosts(facts, row.hosts, sizeof row.hosts);
    for (int i = 0; i < facts->argc; i++)
        join(row.argv, sizeof row.argv, facts->argv[i]);
    return row;
}

static slip_status begin_trace(slip_record *record, const slip_rank *rank)
{
    const slip_model *model = &slip_rank_source(rank)->model;
    slip_trace_run row = run_row(record, rank);
    const slip_runner *target = slip_rank_target(rank);
    const slip_executor_kind *kind = slip_runner_kind(target);
    slip_trace_experts experts = {.experts = model->experts};
    for (int32_t layer = 0; layer < model->layers; layer++)
        if (model->is_moe[layer])
            experts.layers[experts.count++] = layer;
    if (experts.count > 0 && kind->expert_picks)
        experts.picks = kind->expert_picks(slip_runner_executor(target));
    return slip_trace_begin(record->trace, &row, &experts);
}

static slip_trace_request request_row(const slip_record *record, const slip_request *request, int32_t status)
{
    slip_trace_request row = {
        .request = request->index, .status = status, .ended_seconds = slip_trace_seconds(record->trace, slip_now_s())};
    slip_trace_text(row.custom_id, sizeof row.custom_id, request->custom_id);
    return row;
}

static void trace_choice(slip_record *record, const slip_request *request, const slip_answer *answer, int32_t choice)
{
    slip_trace_request row = request_row(record, request, 200);
    row.choice = choice;
    row.admission = (int64_t)answer->admission;
    row.prompt_tokens = answer->prompt_tokens;
    row.completion_tokens = answer->completion_tokens;
    row.spec_steps = answer->spec_steps;
    row.draft_tokens = answer->draft_tokens;
    row.accepted_draft_tokens = answer->accepted_draft_tokens;
    row.time_to_first_token_ms = answer->time_to_first_token_ms;
    row.total_ms = answer->total_ms;
    slip_trace_text(row.finish_reason, sizeof row.finish_reason, answer->finish_reason);
    slip_trace_add_request(record->trace, row);
}

void slip_record_request(slip_record *record, const slip_request *request, const slip_answer *answers)
{
    int32_t status = answers ? 200 : request->refusal.status_code;
    record->answered += answers != NULL;
    record->refused += !answers && status > 0 && status < 500;
    record->failed += !answers && status >= 500;
    for (int32_t i = 0; record->trace && answers && i < slip_request_choices(request); i++)
        trace_choice(record, request, &answers[i], i);
    if (record->trace && !answers)
        slip_trace_add_request(record->trace, request_row(record, request, status));
}

/* ---- metrics ---- */

static slip_metrics_times times_of(const slip_times *times)
{
    return (slip_metrics_times){
        .median = 1e-3 * slip_times_quantile(times, 0.5),
        .p99 = 1e-3 * slip_times_quantile(times, 0.99),
        .sum = 1e-3 * times->sum,
        .count = times->count,
    };
}

static slip_status write_metrics(slip_record *record, bool running)
{
    const slip_metrics *figures = record->figures;
    const slip_acceptance *acceptance = &figures->acceptance;
    double left = slip_progress_left(record->progress, record->counts->done, slip_now_s());
    const slip_metrics_state state = {
        .device = record->facts.device,
        .model = record->facts.model,
        .ranks = record->facts.ranks,
        .started_unix = record->started_unix,
        .running = running,
        .requests = (int64_t)record->progress->total,
        .answered = record->answered,
        .refused = record->refused,
        .failed = record->failed,
        .in_flight = *record->in_flight,
        .tokens = record->counts->tokens,
        .prompt_tokens = figures->prompt_tokens,
        .tokens_per_second = figures->seconds > 0 ? (double)record->counts->tokens / figures->seconds : 0,
        .acceptance_length = acceptance->steps > 0 ? slip_acceptance_mean(acceptance) : NAN,
        .spec_steps = acceptance->steps,
        .draft_tokens = acceptance->draft_tokens,
        .accepted_draft_tokens = acceptance->accepted,
        .step = times_of(&figures->step),
        .first_token = times_of(&figures->first_token),
        .eta_seconds = left < 0 ? NAN : left,
    };
    record->written = slip_now_s();
    return slip_metrics_file_write(record->metrics, &state);
}

/* A monitor's full disk does not end a run; who asked for the file should hear of it once. */
static void warn(slip_record *record)
{
    if (!record->warned)
        fprintf(stderr, "# metrics          %s; the run goes on\n", slip_cause());
    record->warned = true;
    slip_clear();
}

/* ---- the run ---- */

slip_status slip_record_begin(slip_record *record, slip_run_facts facts, const slip_rank *rank, const slip_resumed *resumed)
{
    record->facts = facts;
    record->started_unix = (double)time(NULL) - facts.seconds;
    record->refused = resumed->refused;
    record->answered = resumed->finished - resumed->refused;
    slip_status status = record->trace ? begin_trace(record, rank) : SLIP_OK;
    return status == SLIP_OK && record->metrics ? write_metrics(record, true) : status;
}

static void count(slip_record *record)
{
    if (record->trace)
        slip_trace_count(record->trace, record->answered + record->refused + record->failed, record->refused + record->failed);
}

slip_status slip_record_tick(slip_record *record)
{
    if (record->metrics && slip_now_s() - record->written >= metrics_seconds && write_metrics(record, true) != SLIP_OK)
        warn(record);
    count(record);
    return record->trace ? slip_trace_tick(record->trace) : SLIP_OK;
}

slip_status slip_record_end(slip_record *record, slip_status status)
{
    bool all = record->counts->done >= record->progress->total;
    if (record->metrics && status == SLIP_OK && write_metrics(record, false) != SLIP_OK)
        warn(record);
    count(record);
    slip_status closed = slip_trace_close(record->trace, status != SLIP_OK ? "failed" : all ? "done" : "stopped");
    record->trace = NULL;
    return status == SLIP_OK ? closed : status;
}

void slip_record_close(slip_record *record)
{
    slip_trace_close(record->trace, "failed");
    record->trace = NULL;
}
