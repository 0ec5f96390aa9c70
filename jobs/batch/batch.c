/* slipstream batch: a file of requests, a line of result each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/launcher.h"
#include "comm/signals.h"
#include "jobs/batch/state.h"

enum { CPU_SEQUENCES = 4 };

/* ---- decoding ---- */

static const char INTERRUPTED[] = "the run was stopped by a signal; run again with --resume";

/* The end of a task: slip_task_end. */
static slip_status answer(void *context, slip_task *task, const slip_answer *answers)
{
    batch *b = context;
    const slip_request *request = slip_task_request(task);
    bool failed = request->refusal.status_code != 0;
    slip_status status = answers  ? slip_results_answer(b->results, request, answers)
                         : failed ? slip_results_refuse(b->results, request)
                                  : slip_results_give_up(b->results, request, slip_task_answers(task), "interrupted", INTERRUPTED);
    slip_record_request(&b->record, request, answers);
    b->counts.done += answers || failed;
    b->counts.failed += failed;
    b->left += !answers && !failed;
    b->open--;
    if (b->current == task)
        b->current = NULL;
    slip_task_free(task);
    return status;
}

static slip_status refuse(batch *b, slip_request *request)
{
    slip_status status = slip_results_refuse(b->results, request);
    slip_record_request(&b->record, request, NULL);
    b->counts.done++;
    b->counts.failed++;
    slip_request_free(request);
    return status;
}

/* A request that all memory for K/V together does not hold would wait for ever. Without --kv-tokens that memory is a guess from the lines'
 * sizes that hardly any text can exceed: some grow when they are normalised. */
static void check_memory(const batch *b, slip_request *request, const slip_ready_prompt *prompts)
{
    int64_t room = slip_decoder_room(b->job->decoder);
    for (int32_t i = 0; prompts && i < request->prompt_count; i++) {
        int64_t needed = (int64_t)prompts[i].count + prompts[i].max_tokens;
        if (needed > room)
            slip_request_refuse(
                request, 400, "context_length_exceeded", "prompt",
                "%lld prompt tokens and %d to generate do not fit the K/V memory of %lld: more with --kv-tokens or --context",
                (long long)prompts[i].count, prompts[i].max_tokens, (long long)room);
    }
}

/* A request becomes the current task, and goes on where the run before was stopped. */
static slip_status begin(batch *b, slip_request *request, slip_ready_prompt *prompts)
{
    slip_begun begun;
    slip_status status = slip_results_begun(b->results, request, &begun);
    if (status != SLIP_OK) {
        slip_admission_free(prompts, request->prompt_count);
        slip_request_free(request);
        return status;
    }
    b->open++;
    status = slip_task_create(request, prompts, answer, b, &b->current);
    if (status == SLIP_OK && begun.count > 0 && !slip_task_resume(b->current, &begun, b->job->source.model.vocabulary))
        fprintf(stderr, "# output           what an earlier run left of request \"%.200s\" does not fit it: it begins again\n",
                slip_task_request(b->current)->custom_id);
    slip_begun_free(&begun);
    return status;
}

/* The line at hand becomes the current task, or is refused. */
static slip_status take_line(batch *b)
{
    slip_request request;
    slip_ready_prompt *prompts;
    slip_status status = slip_request_file_parse(b->requests, &request);
    if (status != SLIP_OK)
        return status;
    status = slip_request_file_line_hash(b->requests, &request.line_hash);
    if (status == SLIP_OK)
        status = slip_admission_prepare(b->job->tokenizer, b->job->source.model.vocabulary, b->limit, &request, &prompts);
    if (status != SLIP_OK) {
        slip_request_free(&request);
        return status;
    }
    check_memory(b, &request, prompts);
    if (!request.refusal.status_code)
        return begin(b, &request, prompts);
    slip_admission_free(prompts, request.prompt_count);
    return refuse(b, &request);
}

/* Move on to the next line that is not finished. */
static slip_status next_line(batch *b)
{
    bool found;
    slip_status status;
    do
        status = slip_request_file_next(b->requests, &found);
    while (status == SLIP_OK && found && slip_results_has(b->results, slip_request_file_index(b->requests)));
    if (status != SLIP_OK)
        return status;
    b->read_all = !found;
    return found ? take_line(b) : SLIP_OK;
}

/* "SIGUSR1 (at rank 2)" */
static const char *name_signal(const batch *b, char text[static 48])
{
    snprintf(text, 48, "%s", slip_signal_name(b->signal));
    if (b->signalled > 0)
        snprintf(text, 48, "%s (at rank %d)", slip_signal_name(b->signal), b->signalled);
    return text;
}

/* Has a signal come, to any rank? */
static void hear_signal(batch *b)
{
    char name[48], bound[48] = "";
    double drain = b->job->options->drain;
    if (b->signal || !(b->signal = slip_rank_signal(b->job->rank, &b->signalled)))
        return;
    b->drained_s = slip_now_s();
    if (b->job->options->quiet)
        return;
    if (drain > 0)
        snprintf(bound, sizeof bound, " within %g s", drain);
    fprintf(stderr, "# signal           %s: finishing the %lld requests in flight%s; another one ends at once\n", name_signal(b, name),
            (long long)b->open, bound);
}

static void show_progress(batch *b)
{
    const slip_acceptance *acceptance = &slip_decoder_metrics(b->job->decoder)->acceptance;
    double drain = b->job->options->drain, now = slip_now_s();
    b->counts.tokens = (int64_t)slip_serve_tokens(b->serve);
    b->counts.refused = (size_t)b->record.refused;
    b->counts.acceptance = acceptance->steps > 0 ? slip_acceptance_mean(acceptance) : 0;
    b->counts.draining = b->signal != 0;
    b->counts.in_flight = b->open;
    b->counts.drain_left = drain > 0 ? drain - (now - b->drained_s) : 0;
    slip_progress_update(&b->progress, &b->counts, now);
}

/* As much as there is room for. Refused lines pass by on the way; after a signal no new line is begun. */
static slip_status submit(batch *b)
{
    slip_status status = SLIP_OK;
    while (status == SLIP_OK && slip_serve_has_room(b->serve)) {
        if (b->current) {
            status = slip_task_submit(b->current, b->serve);
            if (!slip_task_waits(b->current))
                b->current = NULL;
            continue;
        }
        hear_signal(b);
        if (b->read_all || b->signal)
            return SLIP_OK;
        status = next_line(b);
        show_progress(b);
    }
    return status;
}

static bool is_overdue(const batch *b)
{
    return b->signal && b->job->options->drain > 0 && slip_now_s() - b->drained_s >= b->job->options->drain;
}

/* What is in flight is kept as far as it has come: the tokens so far, on disk before anything else is done. */
static slip_status give_up(batch *b)
{
    slip_status status = slip_serve_cancel_all(b->serve);
    return status == SLIP_OK ? slip_results_save(b->results) : status;
}

static slip_status decode(batch *b)
{
    hear_signal(b);
    slip_status status = submit(b);
    while (status == SLIP_OK && slip_serve_busy(b->serve)) {
        status = slip_serve_step(b->serve);
        hear_signal(b);
        if (status == SLIP_OK)
            status = submit(b);
        if (status == SLIP_OK && is_overdue(b)) /* behind submit(): a task with nothing in flight would not hear of it */
            status = give_up(b);
        show_progress(b);
        if (status == SLIP_OK)
            status = slip_record_tick(&b->record);
    }
    return status;
}

/* ---- the end ---- */

/* Requests that a signal kept from running; with --resume they are taken up. */
static slip_status say_never_ran(batch *b)
{
    slip_status status = SLIP_OK;
    char name[48];
    bool found = true;
    while (status == SLIP_OK && !b->read_all && (status = slip_request_file_next(b->requests, &found)) == SLIP_OK && found)
        if (!slip_results_has(b->results, slip_request_file_index(b->requests))) {
            status = slip_results_never_ran(b->results, slip_request_file_name(b->requests), "interrupted", INTERRUPTED);
            b->left++;
        }
    if (status == SLIP_OK && b->left > 0)
        status = slip_fail(SLIP_ERR_INTERRUPTED, "stopped on %s with %lld requests left: run again with --resume", name_signal(b, name),
                           (long long)b->left);
    return status;
}

/* Every request has its line; did every one get an answer? */
static slip_status judge(const batch *b)
{
    if (b->counts.failed == 0 || b->job->options->ok_if_some_fail)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_SOME_FAILED, "done, but %zu of %zu requests were refused or failed: their lines in the output say why",
                     b->counts.failed, b->counts.done);
}

static void free_batch(batch *b)
{
    if (b->serve)
        slip_serve_free(b->serve);
    slip_request_file_close(b->requests);
    free(b->models);
    slip_record_close(&b->record);
}

/* What a user should know who looks at the output only later. */
static void warn(const batch *b)
{
    const slip_resumed *resumed = slip_results_resumed(b->results);
    if (resumed->duplicates > 0)
        fprintf(stderr,
                "# output           %lld lines of it answered a request again, line %lld the first, and were taken out: two runs had "
                "written it\n",
                (long long)resumed->duplicates, (long long)resumed->first_duplicate);
    if (resumed->begun > 0 && !b->job->options->quiet)
        fprintf(stderr, "# output           %lld answers go on where the run before was stopped\n", (long long)resumed->begun);
    if (resumed->damaged > 0)
        fprintf(stderr, "# output           %s.unfinished: %lld lines are damaged, line %lld the first: their requests begin again\n",
                b->job->options->output, (long long)resumed->damaged, (long long)resumed->first_damaged);
    /* Even to a terminal: mpirun gives its ranks one of its own. */
    if (strcmp(b->job->options->output, "-") == 0 && slip_launcher_is_there())
        fprintf(stderr, "# output           goes through the launcher, which does not tell when it cannot be written: -o FILE is safe\n");
}

static slip_status run(batch *b)
{
    char emulated[SLIP_FACTS_EMULATED][SLIP_EMULATED_SIZE];
    FILE *stream = b->job->options->quiet ? NULL : stderr;
    const slip_resumed *resumed = slip_results_resumed(b->results);
    size_t finished = (size_t)resumed->finished, count = (size_t)slip_request_file_count(b->requests);
    b->counts.done = finished;
    b->counts.failed = (size_t)resumed->refused;
    warn(b);
    slip_progress_start(&b->progress, stream, count, finished, slip_now_s());
    b->record.progress = &b->progress;
    b->record.counts = &b->counts;
    b->record.in_flight = &b->open;
    b->record.figures = slip_decoder_metrics(b->job->decoder);
    slip_status status = slip_serve_create(b->job->decoder, b->job->tokenizer, &b->serve);
    if (status == SLIP_OK)
        status = slip_record_begin(&b->record, slip_job_facts(b->job, emulated), b->job->rank, resumed);
    if (status == SLIP_OK)
        status = decode(b);
    status = slip_record_end(&b->record, status);
    slip_status ended = slip_job_end(b->job, status);
    b->counts.draining = false;
    slip_progress_finish(&b->progress, &b->counts, slip_now_s());
    b->job->requests = (int64_t)count;
    b->job->failed = (int64_t)b->counts.failed;
    b->job->unfinished = (int64_t)(count - b->counts.done);
    if (ended == SLIP_OK)
        ended = slip_job_report(b->job, NULL, 0);
    if (ended == SLIP_OK)
        ended = say_never_ran(b);
    return ended == SLIP_OK ? judge(b) : ended;
}

/* A run that ended before it decoded leaves no file where there was none. */
static void drop_empty(const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode) && info.st_size == 0)
        unlink(path);
}

/* 0: as many as memory carries. Rows beside others cost a GPU little, and a CPU almost as much as they bring beyond a few. */
static int32_t wanted_sequences(const slip_job *job)
{
    bool few = job->kind == &slip_executor_cpu && !slip_options_given(job->options, "sequences");
    return few ? CPU_SEQUENCES : (int32_t)job->options->sequences;
}

/* Collective: paths are looked at where they are used. */
static slip_status check_files(const slip_job *job)
{
    return slip_comm_agree(job->comm, slip_comm_rank(job->comm) == 0 ? slip_batch_check_files(job->options) : SLIP_OK);
}

slip_status slip_batch_check(slip_job *job)
{
    batch b = {.job = job};
    slip_status status = check_files(job);
    if (status == SLIP_OK)
        status = slip_job_check(job);
    if (status != SLIP_OK)
        return status;
    if (slip_comm_rank(job->comm) == 0)
        status = slip_batch_look(&b);
    slip_progress_clear(&job->work);
    free_batch(&b);
    return slip_comm_agree(job->comm, status);
}

slip_status slip_batch(slip_job *job)
{
    batch b = {.job = job};
    bool made;
    bool coordinator = slip_comm_rank(job->comm) == 0;
    slip_status status = check_files(job);
    if (status == SLIP_OK)
        status = slip_job_open(job);
    if (status != SLIP_OK)
        return status;
    made = coordinator && access(job->options->output, F_OK) != 0;
    if (coordinator)
        status = slip_batch_prepare(&b);
    status = slip_job_start(job, status, wanted_sequences(job), b.context, b.record.trace);
    if (coordinator && status == SLIP_OK)
        status = run(&b);
    if (status != SLIP_OK && made && b.results && !b.serve)
        drop_empty(job->options->output);
    slip_status closed = slip_results_close(b.results);
    if (status == SLIP_OK)
        status = closed;
    free_batch(&b);
    return status;
}
