#include "jobs/convert/convert.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/base/clock.h"
#include "io/base/hash/hash.h"
#include "io/base/printable.h"
#include "io/checkpoint/torch_file.h"
#include "jobs/convert/chat.h"
#include "jobs/convert/folder.h"
#include "jobs/convert/for_gpus.h"
#include "jobs/convert/rewrap.h"
#include "jobs/convert/values.h"
#include "jobs/convert/write/output.h"

typedef struct {
    const slip_convert_options *options;
    bool speaks; /* rank 0 */
    slip_convert_folder folder;
    slip_conversion *plans; /* one a weight; without a weight: the mask's file, or nothing */
    int64_t *weight_bytes;  /* as they will be stored */
    int64_t bytes, packed_bytes;
    char origin[24];
    slip_rounding rounding;
    slip_convert_output output;
    double started;
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
        if (j->speaks)
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

/* Files of weights that an index passes over: of another download, or of an index of another one. */
static void say_unlisted(const slip_convert_source *source)
{
    char name[SLIP_SAFETENSORS_NAME];
    size_t count = slip_safetensors_unlisted(source->folder, name);
    if (count > 0)
        fprintf(stderr, "warning: %s: %s%s not in model.safetensors.index.json, and not read\n", source->path, name,
                count > 1 ? " and others are" : " is");
}

/* The sum of the tensors' bytes tells of a shard that is another download's. Only a warning: others count otherwise, or leave the number as
 * it was before they requantised. */
static void say_other_size(const slip_convert_source *source)
{
    int64_t tensors, files, said = slip_safetensors_total_size(source->folder, &tensors, &files);
    if (said >= 0 && said != tensors && said != files)
        fprintf(stderr,
                "warning: %s: model.safetensors.index.json: metadata.total_size is %lld, but the tensors have %lld bytes and their files "
                "%lld: is every file of this download?\n",
                source->path, (long long)said, (long long)tensors, (long long)files);
}

/* A tensor that is left out, and whose name says nothing of what it is for. */
static void say_strange(const slip_convert_source *source, const slip_st_tensor *tensor)
{
    char name[96];
    snprintf(name, sizeof name, "%s", tensor->name);
    slip_make_printable(name);
    fprintf(stderr, "warning: %s: tensor %s is left out: it is not of the decoder, nor known to be of MTP, vision or audio\n", source->path,
            name);
}

static slip_status check_leftovers(const job *j)
{
    size_t skipped = 0, none = 0;
    const slip_st_tensor *strange = NULL, *draft_strange;
    slip_status status = slip_convert_source_check(&j->folder.target, &skipped, &strange);
    if (status == SLIP_OK && j->folder.model.has_draft)
        status = slip_convert_source_check(&j->folder.draft, &none, &draft_strange);
    if (status == SLIP_OK && strange != NULL && j->speaks)
        say_strange(&j->folder.target, strange);
    if (status == SLIP_OK && skipped > 0 && j->speaks && !j->options->quiet)
        fprintf(stderr, "convert: left out %zu tensors that are not of the decoder (MTP, vision, audio)\n", skipped);
    const slip_convert_source *sources[] = {&j->folder.target, j->folder.model.has_draft ? &j->folder.draft : NULL};
    for (int i = 0; i < 2 && status == SLIP_OK && j->speaks; i++)
        if (sources[i] != NULL) {
            say_unlisted(sources[i]);
            say_other_size(sources[i]);
        }
    return status;
}

/* One word for what is converted, and how: files, their sizes and times, what their headers say, the texts, the types to be stored. */
static slip_status name_origin(job *j)
{
    const slip_convert_folder *f = &j->folder;
    uint64_t hash = slip_hash_text(SLIP_HASH_START, f->config);
    hash = slip_hash_text(slip_hash_text(hash, f->settings), f->draft_config != NULL ? f->draft_config : "");
    hash = slip_hash_field(slip_hash_field(hash, f->tokenizer, f->tokenizer_size), f->mask, f->mask_size);
    slip_status status = slip_convert_source_hash(&f->target, &hash);
    if (status == SLIP_OK && f->model.has_draft)
        status = slip_convert_source_hash(&f->draft, &hash);
    for (size_t i = 0; i < f->weight_count; i++)
        hash = slip_hash_field(hash, &j->plans[i].to, sizeof j->plans[i].to);
    snprintf(j->origin, sizeof j->origin, "%016llx", (unsigned long long)hash);
    return status;
}

static slip_status plan_weights(job *j)
{
    slip_convert_folder *f = &j->folder;
    bool round = j->options->experts == SLIP_CONVERT_MXFP4;
    slip_status status = SLIP_OK;
    j->plans = calloc(f->weight_count + 1, sizeof *j->plans);
    j->weight_bytes = calloc(f->weight_count + 1, sizeof *j->weight_bytes);
    if (j->plans == NULL || j->weight_bytes == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory to convert %zu weights", f->weight_count);
    for (size_t i = 0; i < f->weight_count && status == SLIP_OK; i++) {
        const slip_weight_spec *weight = &f->weights[i];
        slip_convert_source *source = slip_weight_of_draft(weight->row) ? &f->draft : &f->target;
        status = weight->row->optional ? plan_mask(j, weight, &j->plans[i]) : slip_conversion_plan(source, weight, round, &j->plans[i]);
        j->weight_bytes[i] = j->plans[i].codes.bytes + j->plans[i].scales.bytes;
        j->bytes += j->weight_bytes[i];
    }
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const slip_dataset *)a)->name, ((const slip_dataset *)b)->name);
}

/* Would GPUs take what will be written? Its table is that of the checkpoint, but for where the bytes lie. */
static slip_status check_gpus(job *j)
{
    if (j->options->for_gpus == 0)
        return SLIP_OK;
    slip_checkpoint table = {.datasets = calloc(2 * j->folder.weight_count + 1, sizeof *table.datasets)};
    if (table.datasets == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    for (size_t i = 0; i < j->folder.weight_count; i++) {
        const slip_dataset *parts[] = {&j->plans[i].codes, &j->plans[i].scales};
        for (int p = 0; p < 2; p++)
            if (parts[p]->bytes > 0)
                table.datasets[table.dataset_count++] = *parts[p];
    }
    qsort(table.datasets, (size_t)table.dataset_count, sizeof *table.datasets, by_name);
    slip_status status = slip_convert_check_gpus(j->options, &j->folder.model, &table, &j->packed_bytes);
    free(table.datasets);
    return status;
}

static slip_status write_weight(void *context, size_t weight, slip_checkpoint_writer *writer)
{
    job *j = context;
    const slip_conversion *planned = &j->plans[weight];
    if (planned->weight != NULL)
        return slip_conversion_write(planned, writer, &j->rounding);
    return planned->codes.bytes > 0 ? slip_checkpoint_add(writer, &planned->codes, j->folder.mask + planned->codes.offset) : SLIP_OK;
}

static slip_status plan(job *j)
{
    slip_convert_folder *f = &j->folder;
    const slip_convert_options *options = j->options;
    slip_status status = slip_convert_output_absent(options->out_path);
    if (status == SLIP_OK)
        status = slip_convert_folder_open(options, f);
    if (status == SLIP_OK)
        status = plan_weights(j);
    if (status == SLIP_OK)
        status = check_leftovers(j);
    if (status == SLIP_OK)
        status = check_gpus(j);
    if (status == SLIP_OK)
        status = name_origin(j);
    if (status != SLIP_OK)
        return status;
    j->output = (slip_convert_output){
        .comm = options->comm,
        .path = options->out_path,
        .apart = options->files == SLIP_CONVERT_LAYER_FILES ||
                 (options->files == SLIP_CONVERT_BY_SIZE && slip_convert_is_large(j->weight_bytes, f->weight_count)),
        .quiet = options->quiet,
        .origin = j->origin,
        .texts = {f->config, f->draft_config, f->settings, f->tokenizer, f->tokenizer_size, false},
        .weights = f->weights,
        .count = f->weight_count,
        .bytes = j->weight_bytes,
        .bytes_beside = j->packed_bytes,
        .write = write_weight,
        .context = j,
        .rounding = &j->rounding,
    };
    return slip_convert_output_check(&j->output);
}

/* Does every rank see what rank 0 sees? */
static slip_status compare_origins(const job *j)
{
    char first[sizeof j->origin];
    memcpy(first, j->origin, sizeof first);
    slip_status status = j->options->comm != NULL ? slip_comm_broadcast(j->options->comm, first, sizeof first) : SLIP_OK;
    if (status == SLIP_OK && strcmp(first, j->origin) != 0)
        status = slip_fail(SLIP_ERR_INPUT, "%s: not the same files here as on rank 0", j->options->source_folder);
    return slip_convert_agree(j->options->comm, status);
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
        fprintf(stderr, "convert: q, k and v are fused in %d chunk%s\n", model->qkv_chunks, model->qkv_chunks > 1 ? "s" : "");
}

static void say_end(const job *j)
{
    const slip_convert_folder *f = &j->folder;
    if (j->options->quiet || !j->speaks)
        return;
    say_settings(j);
    slip_rounding_print(&j->rounding, stderr);
    fprintf(stderr, "%s %s: %d layers, %s, %s, %.1f MB in %.1f s -> %s%s\n", j->options->dry_run ? "checked" : "converted",
            j->options->source_folder, f->model.layers, f->model.has_draft ? "with a drafter" : "no drafter",
            f->tokenizer != NULL ? "with a tokenizer" : "no tokenizer", (double)j->bytes * 1e-6, slip_now_s() - j->started,
            j->options->out_path, j->options->dry_run ? ", which was not written" : "");
}

static slip_status convert(job *j)
{
    slip_status status = slip_convert_agree(j->options->comm, plan(j));
    if (status == SLIP_OK)
        status = compare_origins(j);
    if (status == SLIP_OK && !j->options->dry_run)
        status = slip_convert_output_write(&j->output);
    if (status == SLIP_OK)
        say_end(j);
    return status == SLIP_OK ? slip_convert_output_figures(&j->output, j->options->json) : status;
}

static slip_status convert_folder(const slip_convert_options *options)
{
    job j = {.options = options, .speaks = slip_convert_speaks(options), .started = slip_now_s()};
    slip_status status = convert(&j);
    slip_convert_folder_close(&j.folder);
    slip_rounding_clear(&j.rounding);
    free(j.plans);
    free(j.weight_bytes);
    return status;
}

/* A folder as its files' names are joined to it: without slashes at its end. malloc'ed; NULL for NULL. */
static char *plain_folder(const char *path)
{
    size_t size = path != NULL ? strlen(path) : 0;
    while (size > 1 && path[size - 1] == '/')
        size--;
    return path != NULL ? strndup(path, size) : NULL;
}

static slip_status convert_plain(const slip_convert_options *options)
{
    slip_convert_options plain = *options;
    char *source = plain_folder(options->source_folder), *draft = plain_folder(options->draft_folder);
    slip_status status = source == NULL || (draft == NULL && options->draft_folder != NULL) ? slip_fail(SLIP_ERR_FAILED, "out of memory")
                                                                                            : SLIP_OK;
    plain.source_folder = source;
    plain.draft_folder = draft;
    if (status == SLIP_OK)
        status = convert_folder(&plain);
    free(source);
    free(draft);
    return status;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The model is there, and shall only be packed: `same` says that it is its own source. */
static slip_status check_only_packed(const slip_convert_options *options, bool same)
{
    const char *given = options->draft_folder != NULL            ? "--draft"
                        : options->experts == SLIP_CONVERT_MXFP4 ? "--experts mxfp4"
                        : options->files != SLIP_CONVERT_BY_SIZE ? "--files"
                        : options->window > 0                    ? "--window"
                                                                 : NULL;
    if (!same)
        return slip_fail(SLIP_ERR_INPUT, "%s: exists already; to pack it as it is: slipstream convert %s %s --for-gpus %d",
                         options->out_path, options->out_path, options->out_path, options->for_gpus);
    if (given == NULL)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_INPUT, "%s: %s is there already, and is only packed", given, options->out_path);
}

slip_status slip_convert_run(const slip_convert_options *options)
{
    struct stat source, out;
    const bool made = stat(options->out_path, &out) == 0;
    slip_status status = stat(options->source_folder, &source) == 0
                             ? SLIP_OK
                             : slip_fail(SLIP_ERR_INPUT, "%s: cannot be opened: %s", options->source_folder, strerror(errno));
    if ((status = slip_convert_agree(options->comm, status)) != SLIP_OK)
        return status;
    if (options->for_gpus > 0 && made)
        status = slip_convert_agree(options->comm, check_only_packed(options, is_same(&source, &out)));
    else
        status = !S_ISDIR(source.st_mode) ? slip_convert_rewrap(options) : convert_plain(options);
    if (status == SLIP_OK && options->for_gpus > 0 && (made || !options->dry_run))
        status = slip_convert_for_gpus(options);
    return status;
}
