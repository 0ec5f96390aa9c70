#include "io/report/facts.h"

#include "io/base/version.h"
#include "io/report/summary.h"

static json_t *ranks_json(const slip_run_facts *facts)
{
    json_t *ranks = json_array();
    for (int rank = 0; rank < facts->ranks; rank++) {
        json_t *entry = json_pack("{s:i,s:s,s:s}", "rank", rank, "host", facts->host(facts->context, rank), "device", facts->device);
        if (facts->peak_bytes)
            json_object_set_new(entry, "peak_memory_bytes", json_integer(facts->peak_bytes[rank]));
        json_array_append_new(ranks, entry);
    }
    return ranks;
}

static int64_t highest_peak(const slip_run_facts *facts)
{
    int64_t most = 0;
    for (int rank = 0; facts->peak_bytes && rank < facts->ranks; rank++)
        most = facts->peak_bytes[rank] > most ? facts->peak_bytes[rank] : most;
    return most;
}

json_t *slip_facts_json(const slip_run_facts *facts)
{
    json_t *object = slip_summary_begin(facts->command, facts->argc, facts->argv), *emulated = json_array();
    for (int i = 0; i < facts->emulated_count; i++)
        json_array_append_new(emulated, json_string(facts->emulated[i]));
    json_t *rest = json_pack("{s:s,s:o,s:s?,s:i,s:I,s:I,s:I,s:f,s:I,s:o}", "device", facts->device, "ranks", ranks_json(facts), "model",
                             facts->model, "expert_slices", facts->expert_slices, "requests", (json_int_t)facts->requests, "failed",
                             (json_int_t)facts->failed, "unfinished", (json_int_t)facts->unfinished, "seconds", facts->seconds,
                             "peak_memory_bytes", (json_int_t)highest_peak(facts), "emulated", emulated);
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

void slip_facts_print(const slip_run_facts *facts, FILE *out)
{
    fprintf(out, "# %s %s, %s, %d rank%s, expert slices %d\n", facts->model, slip_version(), facts->device, facts->ranks,
            facts->ranks == 1 ? "" : "s", facts->expert_slices);
}

void slip_facts_print_emulated(const slip_run_facts *facts, FILE *out)
{
    for (int i = 0; i < facts->emulated_count; i++)
        fprintf(out, "# emulated         %s\n", facts->emulated[i]);
}
