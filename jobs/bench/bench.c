/* slipstream bench: read the prompts of --sequences sequences, then decode a fixed number of tokens in all of them together, and report
 * the metrics. Lists of sequences or lengths of prompts are measured one after the other, in one process. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/json.h"
#include "io/report/summary.h"
#include "jobs/bench/flops.h"
#include "jobs/bench/table.h"
#include "jobs/job.h"
#include "jobs/report/page.h"

enum {
    SHAPE_CONTEXT = 1024, /* tokens that --shape decodes at unless --context says */
    SHORT_PROMPT = 16,    /* ids for a checkpoint without a tokenizer */
};

static const char default_prompt[] =
    "class Stack:\n    \"\"\"A last-in, first-out container.\"\"\"\n\n    def __init__(self):\n        self.items = []\n\n"
    "    def push(self, item):\n";

/* The prompts to measure: token ids, of which the shorter ones are beginnings. */
typedef struct {
    int32_t *ids;
    int64_t length[SLIP_LIST_MAX];
    int count;
} prompts;

static int64_t longest(const prompts *p)
{
    int64_t most = 0;
    for (int i = 0; i < p->count; i++)
        most = p->length[i] > most ? p->length[i] : most;
    return most;
}

static int64_t most_sequences(const slip_options *options)
{
    int64_t most = 0;
    for (int i = 0; i < options->batches.count; i++)
        most = options->batches.value[i] > most ? options->batches.value[i] : most;
    return most;
}

/* With --shape, prompt and answer fill the context unless told otherwise. */
static slip_status shape_prompt(const slip_options *options, int64_t *count)
{
    int64_t context = options->context ? options->context : SHAPE_CONTEXT;
    if (context <= options->max_tokens)
        return slip_fail(SLIP_ERR_INPUT, "--context %lld leaves no prompt before %lld tokens: --prompt-tokens says how long it is",
                         (long long)context, (long long)options->max_tokens);
    *count = context - options->max_tokens;
    return SLIP_OK;
}

/* Ids with embeddings: rows of zeros would pick the same experts every time. */
static slip_status make_ids(const slip_job *job, int32_t **ids, size_t count)
{
    int32_t known = slip_job_embedded_ids(job);
    *ids = malloc(count * sizeof **ids);
    if (!*ids)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (size_t i = 0; i < count; i++)
        (*ids)[i] = known ? (int32_t)(i % (size_t)known) : 0;
    return SLIP_OK;
}

/* A text where there is a tokenizer and nobody asked for a length; else ids. */
static slip_status make_prompts(const slip_job *job, prompts *p)
{
    const slip_options *options = job->options;
    const char *text = options->prompt ? options->prompt : default_prompt;
    slip_status status = SLIP_OK;
    if (options->lengths.count == 0 && (job->tokenizer || options->prompt)) {
        size_t count = 0;
        status = slip_job_encode(job, text, strlen(text), 0, &p->ids, &count);
        p->length[p->count++] = (int64_t)count;
        return status;
    }
    for (; p->count < options->lengths.count; p->count++)
        p->length[p->count] = options->lengths.value[p->count];
    if (p->count == 0) {
        p->length[p->count++] = SHORT_PROMPT;
        if (options->shape)
            status = shape_prompt(options, &p->length[0]);
    }
    return status == SLIP_OK ? make_ids(job, &p->ids, (size_t)longest(p)) : status;
}

/* Positions that the longest prompt and its answer need. */
static slip_status settle_context(const slip_job *job, const prompts *p, int64_t *context)
{
    int64_t wanted = longest(p) + job->options->max_tokens;
    *context = slip_job_context(job, wanted);
    if (*context >= wanted)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_INPUT, "-n %lld: the prompt has %lld tokens and the context holds %lld", (long long)job->options->max_tokens,
                     (long long)longest(p), (long long)*context);
}

/* The beginning of `ids` twice, one behind the other, so that every turn of it is a run of `count`. */
static slip_status double_prompt(const int32_t *ids, size_t count, int32_t **twice)
{
    *twice = malloc(2 * count * sizeof **twice);
    if (!*twice)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    memcpy(*twice, ids, count * sizeof *ids);
    memcpy(*twice + count, ids, count * sizeof *ids);
    return SLIP_OK;
}

static slip_status ignore(void *context, const slip_completion *completion)
{
    (void)context;
    return completion->error ? slip_fail(SLIP_ERR_FAILED, "%s", completion->error) : SLIP_OK;
}

/* Each sequence has the prompt turned to another beginning: equal prompts would be answered by equal tokens, and those pick equal experts,
 * so that many sequences would read the weights of one. */
static slip_status decode(slip_job *job, const int32_t *ids, int64_t count, int32_t sequences)
{
    slip_serve *serve;
    int32_t *twice = NULL;
    slip_decoder_restart(job->decoder, sequences);
    slip_status status = slip_serve_create(job->decoder, NULL, &serve);
    if (status != SLIP_OK)
        return status;
    slip_serve_request request = {.sink = {.end = ignore}};
    request.query = (slip_query){.prompt_count = (int32_t)count,
                                 .max_tokens = (int32_t)job->options->max_tokens,
                                 .sampling = job->options->sampling,
                                 .ignore_eos = true};
    status = double_prompt(ids, (size_t)count, &twice);
    for (int32_t slot = 0; slot < sequences && status == SLIP_OK; slot++) {
        request.query.prompt = twice + slot * count / sequences;
        request.query.sampling.seed = (uint64_t)slot + 1;
        status = slip_serve_submit(serve, &request, NULL);
    }
    if (status == SLIP_OK)
        status = slip_job_drive(job, serve);
    slip_serve_free(serve);
    free(twice);
    return status;
}

/* Every length of prompt with every number of sequences. */
static slip_status measure(slip_job *job, const prompts *p, slip_bench_table *table)
{
    const slip_options *options = job->options;
    const slip_program *program = slip_runner_program(slip_rank_target(job->rank));
    slip_status status = SLIP_OK;
    for (int i = 0; i < p->count && status == SLIP_OK; i++)
        for (int j = 0; j < options->batches.count && status == SLIP_OK; j++) {
            int32_t sequences = (int32_t)options->batches.value[j];
            status = decode(job, p->ids, p->length[i], sequences);
            job->requests += sequences;
            if (status == SLIP_OK)
                slip_bench_table_add(table, p->length[i], sequences, slip_comm_ranks(job->comm), slip_bench_flops(program, p->length[i]),
                                     options->json, slip_decoder_metrics(job->decoder));
        }
    return status;
}

/* ---- what is said at the end ---- */

typedef struct {
    const slip_bench_table *table;
    const slip_run_facts *facts;
} contents;

static slip_status put_page(const void *context, FILE *out)
{
    const contents *c = context;
    return slip_bench_table_page(c->table, c->facts, out);
}

/* Several rows: the table instead of one run's lines. */
static slip_status report_table(slip_job *job, const slip_bench_table *table)
{
    const slip_options *options = job->options;
    char emulated[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE];
    slip_run_facts facts = slip_job_facts(job, emulated);
    double ceiling = options->json || !options->quiet ? slip_job_stream_ceiling(job) : 0;
    if (!options->quiet) {
        slip_facts_print(&facts, stderr);
        slip_bench_table_print(table, stderr);
        fprintf(stderr, "# stream ceiling   %.2f GB/s\n", ceiling);
        slip_facts_print_emulated(&facts, stderr);
    }
    if (!options->json)
        return SLIP_OK;
    json_t *object = slip_facts_json(&facts);
    json_object_set_new(object, "tokens", json_integer(table->tokens));
    json_object_set_new(object, "work_seconds", json_real(table->work_seconds));
    json_object_set_new(object, "stream_ceiling_gb_per_second", slip_json_number(ceiling > 0 ? ceiling : NAN));
    json_object_set_new(object, "rows", slip_bench_table_json(table));
    return slip_summary_print(object);
}

static slip_status report(slip_job *job, const slip_bench_table *table)
{
    const slip_options *options = job->options;
    char emulated[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE];
    slip_status status = table->count > 1 ? report_table(job, table) : slip_job_report(job, NULL, 0);
    if (status != SLIP_OK || !options->html)
        return status;
    slip_run_facts facts = slip_job_facts(job, emulated);
    return slip_page_write(options->html, put_page, &(contents){table, &facts});
}

/* Rank 0, with everybody loaded. */
static slip_status run(slip_job *job, const prompts *p, slip_bench_table *table)
{
    const char *profile = job->options->profile;
    slip_status status = slip_job_end(job, measure(job, p, table));
    if (status == SLIP_OK && profile && access(profile, F_OK) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: no step was profiled: there were too few of one sequence: --sequences 1, or more with -n",
                           profile);
    return status == SLIP_OK ? report(job, table) : status;
}

slip_status slip_bench(slip_job *job)
{
    slip_bench_table table = {0};
    prompts p = {0};
    int64_t context = 0;
    bool coordinator = slip_comm_rank(job->comm) == 0;
    slip_status status = slip_job_open(job);
    if (status != SLIP_OK)
        return status;
    if (coordinator)
        status = make_prompts(job, &p);
    if (coordinator && status == SLIP_OK)
        status = settle_context(job, &p, &context);
    status = slip_job_start(job, status, (int32_t)most_sequences(job->options), context, NULL);
    if (coordinator && status == SLIP_OK)
        status = run(job, &p, &table);
    slip_bench_table_free(&table);
    free(p.ids);
    return status;
}
