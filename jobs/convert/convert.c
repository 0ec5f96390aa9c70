#include "jobs/convert/convert.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/file/lock.h"
#include "io/checkpoint/torch_file.h"
#include "jobs/convert/chat.h"
#include "jobs/convert/folder.h"
#include "jobs/convert/rewrap.h"
#include "jobs/convert/values.h"

enum { REPORT_SECONDS = 5, SLACK = 8192 /* bytes that HDF5 may add to a dataset: its header, and an alignment */ };

typedef struct {
    const slip_convert_options *options;
    slip_convert_folder folder;
    slip_conversion *plans; /* one a weight; without a weight: the mask's file, or nothing */
    slip_checkpoint_writer *writer;
    int64_t bytes, done; /* to write, and written so far */
    double started, reported;
} job;

/* ---- the plan ---- */

/* The drafter's mask embedding is the published file, a tensor of that name, or the target's row of the mask token. */
static slip_status plan_mask(job *j, const slip_weight_spec *weight, slip_conversion *plan)
{
    slip_dtype dtype;
    slip_dataset none;
    size_t offset;
    if (j->folder.mask == NULL && slip_convert_source_has(&j->folder.draft, weight))
        return slip_conversion_plan(&j->folder.draft, weight, false, plan);
    if (j->folder.mask == NULL) {
        fprintf(stderr, "warning: %s: no mask embedding; the target's row of token %d takes its place\n", j->folder.draft_path,
                j->folder.model.draft.mask_token);
        return SLIP_OK;
    }
    char name[SLIP_CONVERT_PATH + 24];
    snprintf(name, sizeof name, "%s/mask_embedding.pt", j->folder.draft_path);
    slip_status status =
        slip_torch_file_find((const unsigned char *)j->folder.mask, j->folder.mask_size, name, weight->columns, &dtype, &offset);
    if (status != SLIP_OK)
        return status;
    int64_t bad = slip_values_find_bad(dtype == SLIP_F32 ? SLIP_ST_F32 : SLIP_ST_BF16, j->folder.mask + offset, weight->columns);
    if (bad >= 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: its value at [%lld] is not finite", name, (long long)bad);
    slip_layout_datasets(weight, dtype, &plan->codes, &none);
    plan->codes.offset = (int64_t)offset; /* in the archive */
    return SLIP_OK;
}

static slip_status check_leftovers(const job *j)
{
    size_t skipped = 0, none = 0;
    slip_status status = slip_convert_source_check(&j->folder.target, &skipped);
    if (status == SLIP_OK && j->folder.model.has_draft)
        status = slip_convert_source_check(&j->folder.draft, &none);
    if (status == SLIP_OK && skipped > 0 && !j->options->quiet)
        fprintf(stderr, "convert: left out %zu tensors that are not of the decoder (MTP, vision, audio)\n", skipped);
    return status;
}

static slip_status check_room(const job *j)
{
    struct statvfs disk;
    int64_t needed = j->bytes + (int64_t)j->folder.tokenizer_size + SLACK * (int64_t)(2 * j->folder.weight_count + 16);
    char *copy = strdup(j->options->out_path);
    const char *folder = copy != NULL ? dirname(copy) : ".";
    slip_status status = SLIP_OK;
    if (access(j->options->out_path, F_OK) == 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: exists already; remove it or choose another name", j->options->out_path);
    else if (statvfs(folder, &disk) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: cannot be created: %s: %s", j->options->out_path, folder, strerror(errno));
    else if (disk.f_bavail < (uint64_t)needed / disk.f_frsize)
        status = slip_fail(SLIP_ERR_FAILED, "%s: needs %lld bytes, and its file system has %llu left", j->options->out_path,
                           (long long)needed, (unsigned long long)disk.f_bavail * disk.f_frsize);
    free(copy);
    return status;
}

static slip_status plan(job *j)
{
    slip_convert_folder *f = &j->folder;
    bool round = j->options->experts == SLIP_CONVERT_MXFP4;
    slip_status status = slip_convert_folder_open(j->options, f);
    if (status != SLIP_OK)
        return status;
    j->plans = calloc(f->weight_count + 1, sizeof *j->plans);
    if (j->plans == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory to convert %zu weights", f->weight_count);
    for (size_t i = 0; i < f->weight_count && status == SLIP_OK; i++) {
        const slip_weight_spec *weight = &f->weights[i];
        slip_convert_source *source = slip_weight_of_draft(weight->row) ? &f->draft : &f->target;
        status = weight->row->optional ? plan_mask(j, weight, &j->plans[i]) : slip_conversion_plan(source, weight, round, &j->plans[i]);
        j->bytes += j->plans[i].codes.bytes + j->plans[i].scales.bytes;
    }
    if (status == SLIP_OK)
        status = check_leftovers(j);
    return status == SLIP_OK ? check_room(j) : status;
}

/* ---- writing ---- */

static void report(job *j, size_t weights)
{
    double now = slip_now_s(), rate = (double)j->done / (now - j->started);
    if (j->options->quiet || now - j->reported < REPORT_SECONDS || rate <= 0)
        return;
    j->reported = now;
    fprintf(stderr, "convert: %zu of %zu weights, %.1f of %.1f GB, %.2f GB/s, %.0f s left\n", weights, j->folder.weight_count,
            (double)j->done * 1e-9, (double)j->bytes * 1e-9, rate * 1e-9, (double)(j->bytes - j->done) / rate);
}

static slip_status write_weights(job *j)
{
    slip_status status = SLIP_OK;
    for (size_t i = 0; i < j->folder.weight_count && status == SLIP_OK; i++) {
        const slip_conversion *planned = &j->plans[i];
        if (planned->weight != NULL)
            status = slip_conversion_write(planned, j->writer);
        else if (planned->codes.bytes > 0)
            status = slip_checkpoint_add(j->writer, &planned->codes, j->folder.mask + planned->codes.offset);
        j->done += planned->codes.bytes + planned->scales.bytes;
        report(j, i + 1);
    }
    return status;
}

static slip_status write_all(job *j)
{
    const slip_convert_folder *f = &j->folder;
    const slip_checkpoint_texts texts = {f->config, f->draft_config, f->settings, f->tokenizer, f->tokenizer_size};
    slip_status status = slip_checkpoint_create(j->options->out_path, &texts, &j->writer);
    if (status == SLIP_OK)
        status = write_weights(j);
    return status == SLIP_OK ? slip_checkpoint_commit(j->writer) : status;
}

/* ---- the whole ---- */

/* What was chosen that a user may want to know of. */
static void say_settings(const job *j)
{
    const slip_model *model = &j->folder.model;
    fprintf(stderr, "convert: end tokens:");
    for (int32_t i = 0; i < model->eos_count; i++)
        fprintf(stderr, " %d", model->eos[i]);
    fprintf(stderr, "%s\n", model->eos_count == 0 ? " none" : "");
    if (model->sampling.given != 0) {
        fprintf(stderr, "convert: sampling where nobody says:");
#define SHOW(field, ...) \
    if (model->sampling.given & 1u << SLIP_SAMPLING_INDEX_##field) \
        fprintf(stderr, " " #field " %g", (double)model->sampling.values.field);
        SLIP_SAMPLING_FIELDS(SHOW)
#undef SHOW
        fputc('\n', stderr);
    }
    if (model->sliding.window > 0)
        fprintf(stderr, "convert: a query of a sliding layer sees %d keys, itself included (--window sets another number)\n",
                model->sliding.window);
    slip_convert_say_chat(model);
    if (model->qkv_chunks > 0)
        fprintf(stderr, "convert: q, k and v are fused in %d chunks\n", model->qkv_chunks);
}

static void say_end(const job *j)
{
    const slip_convert_folder *f = &j->folder;
    if (j->options->quiet)
        return;
    say_settings(j);
    fprintf(stderr, "%s %s: %d layers, %s, %s, %.1f MB in %.1f s -> %s%s\n", j->options->dry_run ? "checked" : "converted",
            j->options->source_folder, f->model.layers, f->model.has_draft ? "with a drafter" : "no drafter",
            f->tokenizer != NULL ? "with a tokenizer" : "no tokenizer", (double)j->bytes * 1e-6, slip_now_s() - j->started,
            j->options->out_path, j->options->dry_run ? ", which was not written" : "");
}

static slip_status convert(job *j)
{
    slip_lock *lock = NULL;
    slip_status status = plan(j);
    if (status == SLIP_OK && !j->options->dry_run)
        status = slip_lock_take(j->options->out_path, &lock);
    if (status == SLIP_OK && !j->options->dry_run)
        status = write_all(j);
    slip_checkpoint_writer_free(j->writer);
    slip_lock_release(lock);
    if (status == SLIP_OK)
        say_end(j);
    return status;
}

slip_status slip_convert_run(const slip_convert_options *options)
{
    if (options->rank != 0)
        return SLIP_OK;
    struct stat info;
    if (stat(options->source_folder, &info) == 0 && !S_ISDIR(info.st_mode))
        return slip_convert_rewrap(options);
    job j = {.options = options, .started = slip_now_s(), .reported = slip_now_s()};
    slip_status status = convert(&j);
    slip_convert_folder_close(&j.folder);
    free(j.plans);
    return status;
}
