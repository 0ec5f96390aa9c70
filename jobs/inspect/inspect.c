/* slipstream inspect: checks a checkpoint as loading would, and prints the model, its parameters and bytes a type, the drafter, the tokenizer
 * and every dataset to standard output; with --ranks what each would own; with --json as one object. */
#include "jobs/inspect/inspect.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/base/file/stdout.h"
#include "io/checkpoint/checksum.h"
#include "io/checkpoint/layout.h"
#include "io/report/summary.h"
#include "jobs/options/commands.h"
#include "jobs/inspect/totals.h"
#include "ranks/model/family.h"

/* Bytes and parameters of the target's weights, or of the draft's. A type's scales count with it, whatever they are stored as. */
static slip_status sum(const slip_checkpoint *checkpoint, const slip_model *model, bool draft, slip_inspect_totals *t)
{
    slip_weight_spec *weights;
    size_t count;
    slip_status status = slip_weight_list(model, &weights, &count);
    if (status != SLIP_OK)
        return status;
    *t = (slip_inspect_totals){0};
    for (size_t i = 0; i < count; i++) {
        const slip_dataset *found = slip_checkpoint_find(checkpoint, weights[i].name);
        slip_dataset codes, scales;
        if (found == NULL || slip_weight_of_draft(weights[i].row) != draft)
            continue;
        slip_layout_datasets(&weights[i], (slip_dtype)found->dtype, &codes, &scales);
        t->codes[found->dtype] += codes.bytes;
        t->scales[found->dtype] += scales.bytes;
        t->parts[weights[i].row->read] += codes.bytes + scales.bytes;
        t->parameters += weights[i].experts * weights[i].rows * weights[i].columns;
    }
    free(weights);
    return SLIP_OK;
}

const char *slip_inspect_part(slip_weight_read part)
{
    static const char *const names[SLIP_READS] = {
        [SLIP_READ_LITTLE] = "embedding", [SLIP_READ_ATTENTION] = "attention", [SLIP_READ_DENSE] = "dense",
        [SLIP_READ_ROUTER] = "router",    [SLIP_READ_EXPERTS] = "experts",     [SLIP_READ_HEAD] = "head",
    };
    return names[part];
}

static void print_totals(const slip_inspect_totals *t)
{
    printf("  parameters      %lld\n", (long long)t->parameters);
    for (int dtype = 0; dtype < SLIP_DTYPES; dtype++)
        if (t->scales[dtype] > 0)
            printf("  %-6s          %lld bytes and %lld of scales\n", slip_dtype_name((slip_dtype)dtype), (long long)t->codes[dtype],
                   (long long)t->scales[dtype]);
        else if (t->codes[dtype] > 0)
            printf("  %-6s          %lld bytes\n", slip_dtype_name((slip_dtype)dtype), (long long)t->codes[dtype]);
    printf("  parts          ");
    for (int part = 0; part < SLIP_READS; part++)
        if (t->parts[part] > 0)
            printf(" %s %lld", slip_inspect_part((slip_weight_read)part), (long long)t->parts[part]);
    printf(" bytes, scales among them; vectors count with the embedding\n");
}

static void print_attention(const char *kind, int32_t layers, const slip_attention *a)
{
    if (layers == 0)
        return;
    printf("  %-15s %d layer%s, %d heads, %d KV head%s, dimensions %d/%d, %d rotated at base %g", kind, layers, layers == 1 ? "" : "s",
           a->heads, a->kv_heads, a->kv_heads == 1 ? "" : "s", a->head_dim, a->v_head_dim, a->rotary_dim, a->rope_theta);
    if (a->window > 0)
        printf(", window %d", a->window);
    printf("%s\n", a->sinks ? ", sinks" : "");
}

static void print_chat(const slip_model *model)
{
    const slip_family *family = model->family;
    const slip_chat_template *found = slip_chat_template_of(family->chat_templates, family->chat_texts, model->chat_template);
    if (model->chat_template[0] == '\0' && family->chat_templates != NULL)
        printf("  chat template   no record; rendered as %s's\n", family->chat_templates->name);
    else if (model->chat_template[0] != '\0')
        printf("  chat template   SHA-256 %s, %s\n", model->chat_template, found != NULL ? found->name : "not known: --chat-template");
}

static void print_model(const slip_model *model)
{
    int32_t sliding = 0, moe = 0;
    for (int32_t layer = 0; layer < model->layers; layer++) {
        sliding += model->is_sliding[layer];
        moe += model->is_moe[layer];
    }
    printf("target: %s\n", model->name);
    printf("  shape           hidden %d, %d layers, vocabulary %d, up to %d positions\n", model->hidden, model->layers, model->vocabulary,
           model->max_positions);
    print_attention("global", model->layers - sliding, &model->global);
    print_attention("sliding", sliding, &model->sliding);
    printf("  values          scaled by %g; norm epsilon %g; q, k, v %s\n", (double)model->value_scale, (double)model->norm_epsilon,
           model->qkv_chunks > 0 ? "fused in chunks" : "apart");
    if (moe < model->layers)
        printf("  dense           %d layers, intermediate %d\n", model->layers - moe, model->dense_intermediate);
    if (moe > 0)
        printf("  experts         %d layers of %d, top %d, intermediate %d, scaled by %g%s\n", moe, model->experts, model->top_k,
               model->moe_intermediate, (double)model->routed_scale, model->norm_top_k ? ", normalised" : "");
    printf("  end tokens     ");
    for (int32_t i = 0; i < model->eos_count; i++)
        printf(" %d", model->eos[i]);
    printf("%s\n", model->eos_count == 0 ? " none" : "");
    print_chat(model);
    if (model->sampling.given != 0) {
        printf("  sampling       ");
#define SHOW(field, ...) \
    if (model->sampling.given & 1u << SLIP_SAMPLING_INDEX_##field) \
        printf(" " #field " %g", (double)model->sampling.values.field);
        SLIP_SAMPLING_FIELDS(SHOW)
#undef SHOW
        printf(" where nobody says\n");
    }
}

static void print_draft(const slip_draft_shape *draft)
{
    printf("draft: block of %d\n", draft->block);
    print_attention("sliding", draft->layers, &draft->attention);
    printf("  values          scaled by %g; norm epsilon %g\n", (double)draft->value_scale, (double)draft->norm_epsilon);
    printf("  dense           %d layers, intermediate %d\n", draft->layers, draft->intermediate);
    printf("  taps            after target layers");
    for (int32_t i = 0; i < draft->taps; i++)
        printf(" %d", draft->tap_layer[i]);
    printf("\n  mask token      %d, %s\n", draft->mask_token,
           draft->mask_embedding ? "with an embedding of its own" : "embedded by the target's row");
    if (draft->markov > 0)
        printf("  in-block head   rank %d\n", draft->markov);
}

static void print_datasets(const slip_checkpoint *checkpoint)
{
    printf("datasets: %d\n", checkpoint->dataset_count);
    for (int32_t i = 0; i < checkpoint->dataset_count; i++) {
        const slip_dataset *dataset = &checkpoint->datasets[i];
        printf("  %-40s %-7s %12lld bytes at %12lld  [", dataset->name, slip_dtype_name((slip_dtype)dataset->dtype),
               (long long)dataset->bytes, (long long)dataset->offset);
        for (int d = 0; d < dataset->dims; d++)
            printf("%s%lld", d > 0 ? ", " : "", (long long)dataset->shape[d]);
        printf("]\n");
    }
}

static void print_all(const slip_source *source, const slip_inspect_totals *target, const slip_inspect_totals *draft,
                      const slip_inspect_placement *placement)
{
    const char *path = source->path;
    const slip_checkpoint *checkpoint = &source->table;
    const slip_model *model = &source->model;
    printf("%s: Slipstream checkpoint, version %d, %lld bytes\n", path, checkpoint->version, (long long)checkpoint->file_size);
    print_model(model);
    print_totals(target);
    if (model->has_draft) {
        print_draft(&model->draft);
        print_totals(draft);
    }
    if (checkpoint->tokenizer != NULL)
        printf("tokenizer: %zu bytes\n", checkpoint->tokenizer_size);
    else
        printf("tokenizer: none; only token ids can be scored\n");
    if (checkpoint->checksums != NULL)
        printf("checksums: %lld, one a block of %d KiB\n", (long long)checkpoint->checksum_count - 1, SLIP_CHECKSUM_BLOCK >> 10);
    else
        printf("checksums: none; slipstream convert %s NEW.h5 makes a copy that has\n", path);
    if (placement != NULL)
        slip_inspect_print_placement(model, placement);
    print_datasets(checkpoint);
}

/* With an object its members are added to it; without one all is printed for a reader. `options` NULL, or without --ranks: no placement. */
static slip_status show(const slip_source *source, const slip_options *options, json_t *object)
{
    slip_inspect_totals target = {0}, draft = {0};
    slip_inspect_placement placement = {0};
    const slip_inspect_placement *placed = options != NULL && options->ranks > 0 ? &placement : NULL;
    slip_status status = sum(&source->table, &source->model, false, &target);
    if (status == SLIP_OK)
        status = sum(&source->table, &source->model, true, &draft);
    if (status == SLIP_OK && placed != NULL)
        status = slip_inspect_place(source, options, &placement);
    if (status == SLIP_OK && object != NULL)
        status = slip_inspect_json(source, &target, &draft, placed, object);
    else if (status == SLIP_OK)
        print_all(source, &target, &draft, placed);
    free(placement.rank);
    return status;
}

static slip_status inspect(const char *path, const slip_options *options, json_t *object)
{
    slip_source source = {.path = path};
    slip_status status = slip_checkpoint_open(path, &source.table);
    if (status != SLIP_OK)
        return status;
    status = slip_checkpoint_model(&source.table, path, &source.model);
    if (status == SLIP_OK)
        status = show(&source, options, object);
    slip_source_close(&source);
    return status;
}

slip_status slip_inspect_add(const char *path, json_t *object)
{
    return inspect(path, NULL, object);
}

slip_status slip_inspect(const slip_options *options, int argc, char **argv)
{
    json_t *object = options->json ? slip_summary_begin("inspect", argc, argv) : NULL;
    if (options->json && object == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    slip_status status = inspect(options->model, options, object);
    if (status == SLIP_OK && object != NULL)
        return slip_summary_print(object);
    json_decref(object);
    return status == SLIP_OK ? slip_stdout_flush() : status;
}
