/* The report as JSON: docs/json.md has the keys. */
#include <math.h>

#include "io/base/json.h"
#include "jobs/report/print.h"

static json_t *quantiles(const slip_report_quantiles *q)
{
    return json_pack("{s:o,s:o,s:I}", "median", slip_json_number(q->median), "p99", slip_json_number(q->p99), "count",
                     (json_int_t)q->count);
}

static json_t *runs_json(const slip_trace_data *data, const slip_report *report)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < data->run_count; i++) {
        const slip_trace_run *run = &data->runs[i];
        const slip_report_run *r = &report->runs[i];
        json_t *entry = json_pack("{s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "run", run->run, "state", slip_json_text(run->state), "version",
                                  slip_json_text(run->version), "commit", slip_json_text(run->commit), "model", slip_json_text(run->model),
                                  "device", slip_json_text(run->device), "hosts", slip_json_text(run->hosts), "argv",
                                  slip_json_text(run->argv));
        json_t *rest = json_pack("{s:i,s:i,s:o,s:o,s:I,s:I,s:I,s:I,s:o,s:o}", "ranks", run->ranks, "expert_slices", run->expert_slices,
                                 "started_unix", slip_json_number(run->started_unix), "seconds", slip_json_number(run->seconds), "answered",
                                 (json_int_t)r->answered, "refused", (json_int_t)r->refused, "failed", (json_int_t)r->failed, "tokens",
                                 (json_int_t)r->tokens, "work_seconds", slip_json_number(r->last_s - r->first_s), "tokens_per_second",
                                 slip_json_number(slip_report_run_rate(r)));
        json_object_update(entry, rest);
        json_decref(rest);
        json_array_append_new(list, entry);
    }
    return list;
}

static json_t *acceptance_json(const slip_acceptance *a)
{
    json_t *histogram = json_array();
    int most = SLIP_MAX_BLOCK;
    while (most > 8 && a->histogram[most - 1] == 0)
        most--;
    for (int j = 0; j < most; j++)
        json_array_append_new(histogram, json_integer(a->histogram[j]));
    return json_pack("{s:o,s:o,s:I,s:I,s:I}", "mean_acceptance_length", slip_json_number(a->steps > 0 ? slip_acceptance_mean(a) : NAN),
                     "acceptance_histogram", histogram, "num_spec_steps", (json_int_t)a->steps, "num_draft_tokens",
                     (json_int_t)a->draft_tokens, "num_accepted_draft_tokens", (json_int_t)a->accepted);
}

static json_t *slowest_json(const slip_report *report)
{
    json_t *list = json_array();
    for (int i = 0; i < SLIP_REPORT_SLOWEST && report->slowest[i]; i++) {
        const slip_trace_request *r = report->slowest[i];
        json_array_append_new(list, json_pack("{s:o,s:i,s:i,s:o,s:o,s:i,s:i}", "custom_id", slip_json_text(r->custom_id), "run", r->run,
                                              "choice", r->choice, "total_ms", slip_json_number(r->total_ms), "time_to_first_token_ms",
                                              slip_json_number(r->time_to_first_token_ms), "prompt_tokens", r->prompt_tokens,
                                              "completion_tokens", r->completion_tokens));
    }
    return list;
}

static json_t *experts_json(const slip_trace_data *data, const slip_report *report)
{
    if (!data->picks)
        return json_null();
    json_t *list = json_array();
    for (int32_t i = 0; i < data->layer_count; i++) {
        const slip_report_layer *layer = &report->layers[i];
        json_array_append_new(list, json_pack("{s:i,s:f,s:f,s:i}", "layer", layer->layer, "mean_picks", layer->mean, "max_picks",
                                              layer->max, "idle_experts", layer->idle));
    }
    return list;
}

slip_status slip_report_json(const slip_trace_data *data, const slip_report *report, json_t *object)
{
    json_t *rest = json_pack("{s:o,s:I,s:I,s:I,s:I,s:o,s:o,s:o}", "runs", runs_json(data, report), "requests",
                             (json_int_t)data->runs[data->run_count - 1].requests, "failed", (json_int_t)report->failed, "unfinished",
                             (json_int_t)report->unfinished, "tokens", (json_int_t)report->tokens, "work_seconds",
                             slip_json_number(report->seconds), "tokens_per_second",
                             slip_json_number(slip_report_tokens_per_second(report)), "acceptance", acceptance_json(&report->acceptance));
    json_t *times = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:o,s:o,s:o,s:o}", "time_to_first_token_ms", quantiles(&report->first_token),
                              "request_ms", quantiles(&report->total), "step_ms", quantiles(&report->step), "draft_ms",
                              quantiles(&report->draft), "verify_ms", quantiles(&report->verify), "commit_ms", quantiles(&report->commit),
                              "steps_without_draft", (json_int_t)report->plain_steps, "drafted_step_share",
                              slip_json_number(slip_report_drafted_share(report)), "verified_rows_per_sequence",
                              slip_json_number(slip_report_rows_per_sequence(report)), "slowest_requests", slowest_json(report),
                              "expert_load", experts_json(data, report));
    bool made = rest && times && json_object_update(object, rest) == 0 && json_object_update(object, times) == 0;
    json_decref(rest);
    json_decref(times);
    return made ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
}
