/* A batch before it decodes: what it reads, what it writes, and the hash that says which run its answers are of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/base/file/file.h"
#include "io/base/file/replace.h"
#include "io/base/hash/hash.h"
#include "jobs/batch/state.h"

/* The model goes by its file's name, without .h5, and by ours; --served-model-name adds others. */
static slip_status name_model(batch *b)
{
    const slip_options *options = b->job->options;
    const char *slash = strrchr(options->model, '/'), *name = slash ? slash + 1 : options->model;
    size_t size = strlen(name);
    if (size > 3 && strcmp(name + size - 3, ".h5") == 0)
        size -= 3;
    if (asprintf(&b->models, "%.*s,slipstream%s%s", (int)size, name, options->served_model_name ? "," : "",
                 options->served_model_name ? options->served_model_name : "") >= 0)
        return SLIP_OK;
    b->models = NULL;
    return slip_fail(SLIP_ERR_FAILED, "out of memory");
}

static void show_reading(void *context, int64_t lines)
{
    slip_job *job = context;
    slip_progress_items(&job->work, "requests read", lines, slip_now_s());
}

/* The chat template that the user names, or the one that the model's text is known by, or, of a model without a record, the family's. */
static slip_status choose_template(const slip_job *job, slip_request_defaults *defaults)
{
    const char *name = job->options->chat_template;
    const slip_model *model = &job->source.model;
    const slip_chat_template *templates = model->family->chat_templates;
    if (name) {
        char names[200];
        slip_chat_template_names(templates, names, sizeof names);
        defaults->chat = slip_chat_template_find(templates, name);
        return defaults->chat ? SLIP_OK
                              : slip_fail(SLIP_ERR_INPUT, "--chat-template %s: not a template of this model's family, which has %s", name,
                                          names[0] ? names : "none");
    }
    if (model->chat_template[0]) {
        defaults->chat = slip_chat_template_of(templates, model->family->chat_texts, model->chat_template);
        defaults->unknown_chat = model->chat_template;
    }
    return SLIP_OK;
}

/* What requests are read with, of which `b` keeps a part. */
static slip_status choose_defaults(batch *b, slip_request_defaults *defaults)
{
    const slip_options *options = b->job->options;
    if (!b->job->tokenizer)
        return slip_fail(SLIP_ERR_INPUT, "%s: the checkpoint has no tokenizer; only score --ids runs on it", options->model);
    b->limit = slip_job_context(b->job, 0);
    if (options->max_tokens >= b->limit)
        return slip_fail(SLIP_ERR_INPUT, "-n %lld: the context holds %lld tokens, prompt included", (long long)options->max_tokens,
                         (long long)b->limit);
    slip_status status = name_model(b);
    *defaults = (slip_request_defaults){.max_tokens = (int32_t)options->max_tokens,
                                        .sampling = slip_job_sampling(b->job),
                                        .family = b->job->source.model.family,
                                        .models = b->models,
                                        .watch = show_reading,
                                        .watch_context = b->job};
    return status == SLIP_OK ? choose_template(b->job, defaults) : status;
}

static slip_status open_requests(batch *b)
{
    const slip_options *options = b->job->options;
    slip_request_defaults defaults;
    slip_status status = choose_defaults(b, &defaults);
    if (status == SLIP_OK)
        status = slip_request_file_open(options->input, &defaults, &b->requests);
    if (status != SLIP_OK)
        return status;
    if (options->shard.count > 0)
        slip_request_file_take_shard(b->requests, options->shard.index, options->shard.count);
    int64_t bound = slip_request_file_positions(b->requests);
    b->context = bound < b->limit ? bound : b->limit;
    return SLIP_OK;
}

/* What decides every answer beside the request: the context, which ends answers without max_tokens, and the model, known by
 * its config, its settings, its tokenizer and its checksums; without checksums, by the beginning of every tensor. */
static slip_status hash_run(const slip_job *job, uint64_t *out)
{
    const slip_checkpoint *table = &job->source.table;
    int64_t limit = slip_job_context(job, 0);
    uint64_t hash = slip_hash_text(SLIP_HASH_START, table->config);
    hash = slip_hash_text(hash, table->settings ? table->settings : "");
    hash = slip_hash_field(hash, table->tokenizer, table->tokenizer_size);
    hash = slip_hash_field(hash, &limit, sizeof limit);
    hash = slip_hash_field(hash, table->checksums, (size_t)table->checksum_count * sizeof *table->checksums);
    slip_status status = SLIP_OK;
    for (int32_t i = 0; i < table->dataset_count && status == SLIP_OK && !table->checksums; i++) {
        const slip_dataset *dataset = &table->datasets[i];
        unsigned char head[4096];
        int64_t bytes = dataset->bytes < (int64_t)sizeof head ? dataset->bytes : (int64_t)sizeof head;
        status = slip_file_read_at(job->source.files.files[dataset->file], job->source.path, head, bytes, dataset->offset);
        hash = slip_hash_field(slip_hash_text(hash, dataset->name), head, (size_t)bytes);
    }
    *out = hash;
    return status;
}

/* A file as the option says it. */
typedef struct {
    const char *option, *path;
} named_file;

/* None of `count` other files is the one that results keep beside them under this ending. */
static slip_status check_beside(const char *output, const char *ending, const named_file *others, int count)
{
    char *beside;
    slip_status status = slip_file_beside(output, ending, &beside);
    if (status != SLIP_OK)
        return status;
    for (int i = 0; i < count && status == SLIP_OK; i++)
        if (others[i].path && slip_file_is_same(beside, others[i].path))
            status = slip_fail(SLIP_ERR_INPUT, "%s %s: is a file that -o %s keeps beside it: name another one", others[i].option,
                               others[i].path, output);
    free(beside);
    return status;
}

slip_status slip_batch_check_files(const slip_options *options)
{
    const named_file files[] = {{"-o", options->output},
                                {"--trace", options->trace},
                                {"--metrics", options->metrics},
                                {"-i", options->input},
                                {"-m", options->model}};
    enum { FILES = sizeof files / sizeof *files, WRITTEN = 3 };
    for (int i = 0; i < WRITTEN; i++)
        for (int k = i + 1; k < FILES; k++)
            if (files[i].path && files[k].path && strcmp(files[i].path, "-") != 0 && slip_file_is_same(files[i].path, files[k].path))
                return slip_fail(SLIP_ERR_INPUT, "%s %s: is also the file of %s %s: name another one", files[i].option, files[i].path,
                                 files[k].option, files[k].path);
    if (options->output == NULL || strcmp(options->output, "-") == 0)
        return SLIP_OK;
    slip_status status = check_beside(options->output, ".lock", files + 1, FILES - 1);
    return status == SLIP_OK ? check_beside(options->output, ".unfinished", files + 1, FILES - 1) : status;
}

slip_status slip_batch_prepare(batch *b)
{
    const slip_options *options = b->job->options;
    uint64_t hash = 0;
    slip_status status = open_requests(b);
    if (status == SLIP_OK)
        status = hash_run(b->job, &hash);
    if (status == SLIP_OK)
        status = slip_results_open(options->output, options->resume, hash, b->requests, &b->results);
    return status == SLIP_OK ? slip_record_open(&b->record, options->trace, options->metrics, hash) : status;
}

slip_status slip_batch_look(batch *b)
{
    const slip_options *options = b->job->options;
    slip_request_defaults defaults;
    uint64_t hash = 0;
    slip_status status = strcmp(options->input, "-") == 0 ? choose_defaults(b, &defaults) : open_requests(b);
    if (status == SLIP_OK)
        status = hash_run(b->job, &hash);
    return status == SLIP_OK ? slip_results_check(options->output, options->resume, hash, b->requests) : status;
}
