/* slipstream merge: the results of batch --shard become one file. SLIP_ERR_FAILED: requests are missing, there twice, foreign or changed;
 * SLIP_ERR_SOME_FAILED: merged, but some were refused. */
#include "jobs/options/commands.h"

#include <jansson.h>

#include "io/base/clock.h"
#include "io/base/json.h"
#include "io/openai/result/merge.h"
#include "io/report/output.h"
#include "io/report/summary.h"

static slip_status report(const slip_options *options, int argc, char **argv, double started_s, const slip_merged *merged, bool whole)
{
    if (!options->json) {
        if (merged->unchecked > 0)
            fprintf(stderr,
                    "# unchecked        %lld results of an older slipstream do not tell whether their requests have changed since\n",
                    (long long)merged->unchecked);
        if (whole)
            fprintf(stderr, "# merged           %lld requests of %d files, %lld of them refused\n", (long long)merged->requests,
                    options->operand_count, (long long)merged->refused);
        return SLIP_OK;
    }
    json_t *object = slip_summary_begin("merge", argc, argv);
    json_t *members = json_pack("{s:o, s:b, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "output", slip_json_text(options->output),
                                "merged", whole, "shards", options->operand_count, "requests", (json_int_t)merged->requests, "failed",
                                (json_int_t)merged->refused, "missing", (json_int_t)merged->missing, "twice", (json_int_t)merged->twice,
                                "foreign", (json_int_t)merged->foreign, "changed", (json_int_t)merged->changed, "unchecked",
                                (json_int_t)merged->unchecked, "seconds", slip_now_s() - started_s);
    bool made = members != NULL && json_object_update(object, members) == 0;
    json_decref(members);
    if (made)
        return slip_summary_print(object);
    json_decref(object);
    return slip_fail(SLIP_ERR_FAILED, "out of memory for the figures");
}

slip_status slip_merge(const slip_options *options, int argc, char **argv)
{
    double started_s = slip_now_s();
    slip_request_file *requests = NULL;
    slip_output *output = NULL;
    slip_merged merged = {0};
    slip_status status = slip_output_claim(options->output, false, true, &output);
    if (status == SLIP_OK)
        status = slip_request_file_open(options->input, NULL, &requests);
    if (status == SLIP_OK) {
        status = slip_results_merge(options->operands, options->operand_count, requests, options->output, stderr, &merged);
        slip_status told = report(options, argc, argv, started_s, &merged, status == SLIP_OK);
        status = status == SLIP_OK ? told : status;
    }
    slip_request_file_close(requests);
    slip_output_close(output, status == SLIP_OK);
    if (status != SLIP_OK || merged.refused == 0 || options->ok_if_some_fail)
        return status;
    return slip_fail(SLIP_ERR_SOME_FAILED, "merged, but %lld of %lld requests were refused or failed: their lines in the output say why",
                     (long long)merged.refused, (long long)merged.requests);
}
