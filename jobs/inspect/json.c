/* inspect --json, and what convert --json says of the checkpoint that it wrote. */
#include <jansson.h>

#include "io/base/json.h"
#include "io/checkpoint/checksum.h"
#include "jobs/inspect/totals.h"

static json_t *attention(const slip_attention *a)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:i,s:f,s:i,s:b}", "heads", a->heads, "kv_heads", a->kv_heads, "head_dim", a->head_dim, "v_head_dim",
                     a->v_head_dim, "rotary_dim", a->rotary_dim, "rope_theta", a->rope_theta, "window", a->window, "sinks", a->sinks);
}

static json_t *bytes_by_type(const slip_inspect_totals *totals)
{
    json_t *object = json_object();
    for (int i = 0; i < SLIP_DTYPES; i++)
        if (totals->codes[i] > 0)
            json_object_set_new(
                object, slip_dtype_name((slip_dtype)i),
                json_pack("{s:I,s:I}", "bytes", (json_int_t)totals->codes[i], "scale_bytes", (json_int_t)totals->scales[i]));
    return object;
}

static json_t *bytes_by_part(const slip_inspect_totals *totals)
{
    json_t *object = json_object();
    for (int i = 0; i < SLIP_READS; i++)
        if (totals->parts[i] > 0)
            json_object_set_new(object, slip_inspect_part((slip_weight_read)i), json_integer(totals->parts[i]));
    return object;
}

static json_t *integers(const int32_t *values, int32_t count)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(values[i]));
    return list;
}

static json_t *sampling(const slip_sampling_defaults *given)
{
    json_t *object = json_object();
#define SHOW(field, ...) \
    if (given->given & 1u << SLIP_SAMPLING_INDEX_##field) \
        json_object_set_new(object, #field, json_real((double)given->values.field));
    SLIP_SAMPLING_FIELDS(SHOW)
#undef SHOW
    return object;
}

static json_t *target_object(const slip_model *m, const slip_inspect_totals *totals)
{
    int32_t sliding = 0, moe = 0;
    for (int32_t layer = 0; layer < m->layers; layer++) {
        sliding += m->is_sliding[layer];
        moe += m->is_moe[layer];
    }
    json_t *object = json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:i}", "model_type", m->name, "hidden", m->hidden, "layers", m->layers,
                               "sliding_layers", sliding, "moe_layers", moe, "vocabulary", m->vocabulary, "max_positions",
                               m->max_positions);
    json_object_set_new(object, "global", attention(&m->global));
    json_object_set_new(object, "sliding", attention(&m->sliding));
    json_object_update_new(object,
                           json_pack("{s:i,s:i,s:i,s:i,s:i}", "experts", m->experts, "top_k", m->top_k, "moe_intermediate",
                                     m->moe_intermediate, "dense_intermediate", m->dense_intermediate, "qkv_chunks", m->qkv_chunks));
    json_object_set_new(object, "eos_token_id", integers(m->eos, m->eos_count));
    json_object_set_new(object, "sampling", sampling(&m->sampling));
    json_object_set_new(object, "chat_template", m->chat_template[0] != '\0' ? json_string(m->chat_template) : json_null());
    json_object_set_new(object, "parameters", json_integer(totals->parameters));
    json_object_set_new(object, "bytes", bytes_by_type(totals));
    json_object_set_new(object, "part_bytes", bytes_by_part(totals));
    return object;
}

static json_t *draft_object(const slip_model *m, const slip_inspect_totals *totals)
{
    const slip_draft_shape *d = &m->draft;
    if (!m->has_draft)
        return json_null();
    return json_pack("{s:i,s:i,s:i,s:o,s:o,s:i,s:b,s:i,s:I,s:o,s:o}", "block", d->block, "layers", d->layers, "intermediate",
                     d->intermediate, "attention", attention(&d->attention), "taps", integers(d->tap_layer, d->taps), "mask_token",
                     d->mask_token, "mask_embedding", d->mask_embedding, "markov", d->markov, "parameters", (json_int_t)totals->parameters,
                     "bytes", bytes_by_type(totals), "part_bytes", bytes_by_part(totals));
}

static json_t *datasets(const slip_checkpoint *checkpoint)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < checkpoint->dataset_count; i++) {
        const slip_dataset *dataset = &checkpoint->datasets[i];
        json_t *shape = json_array();
        for (int32_t d = 0; d < dataset->dims; d++)
            json_array_append_new(shape, json_integer(dataset->shape[d]));
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:I,s:I}", "name", dataset->name, "dtype",
                                              slip_dtype_name((slip_dtype)dataset->dtype), "shape", shape, "offset",
                                              (json_int_t)dataset->offset, "bytes", (json_int_t)dataset->bytes));
    }
    return list;
}

static json_t *range(slip_range pieces)
{
    return json_pack("{s:I,s:I}", "first", (json_int_t)pieces.first, "count", (json_int_t)pieces.count);
}

static json_t *rank_object(const slip_rank_plan *rank)
{
    const slip_placement *p = &rank->placement;
    return json_pack("{s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I}", "rank", p->rank, "heads", range(p->q_heads[0]), "kv_heads",
                     range(p->kv_heads[0]), "sliding_heads", range(p->q_heads[1]), "sliding_kv_heads", range(p->kv_heads[1]), "vocabulary",
                     range(p->vocabulary), "experts", range(p->experts), "expert_columns", range(p->expert_columns), "weight_bytes",
                     (json_int_t)rank->target.weights, "cache_bytes", (json_int_t)rank->target.caches, "draft_weight_bytes",
                     (json_int_t)rank->draft.weights, "draft_cache_bytes", (json_int_t)rank->draft.caches, "work_bytes",
                     (json_int_t)rank->target.work + (json_int_t)rank->draft.work);
}

static json_t *placement_object(const slip_inspect_placement *p)
{
    if (p == NULL)
        return json_null();
    json_t *ranks = json_array(), *fits = json_array();
    for (int32_t rank = 0; rank < p->ranks; rank++)
        json_array_append_new(ranks, rank_object(&p->rank[rank]));
    for (int i = 0; i < p->contexts; i++)
        json_array_append_new(fits, json_pack("{s:I,s:i}", "context", (json_int_t)p->context[i], "sequences", p->sequences[i]));
    return json_pack("{s:i,s:s,s:i,s:I,s:I,s:i,s:I,s:o,s:o}", "rank_count", p->ranks, "device", p->device, "expert_slices", p->slices,
                     "kv_bytes_per_token", (json_int_t)p->kv_bytes_per_token, "available_bytes", (json_int_t)p->memory, "auto_sequences",
                     p->at_once, "auto_kv_tokens", (json_int_t)p->kv_tokens, "ranks", ranks, "fits", fits);
}

slip_status slip_inspect_json(const slip_source *source, const slip_inspect_totals *target, const slip_inspect_totals *draft,
                              const slip_inspect_placement *placement, json_t *object)
{
    const slip_checkpoint *checkpoint = &source->table;
    const slip_model *model = &source->model;
    int64_t checksums = checkpoint->checksums != NULL ? checkpoint->checksum_count - 1 : 0;
    json_t *members = json_pack("{s:o,s:i,s:I,s:I,s:I,s:o,s:o,s:o,s:o}", "model", slip_json_text(source->path), "checkpoint_version",
                                checkpoint->version, "file_bytes", (json_int_t)checkpoint->file_size, "tokenizer_bytes",
                                (json_int_t)checkpoint->tokenizer_size, "checksums", (json_int_t)checksums, "target",
                                target_object(model, target), "draft", draft_object(model, draft), "placement", placement_object(placement),
                                "datasets", datasets(checkpoint));
    bool made = members != NULL && json_object_update(object, members) == 0;
    json_decref(members);
    return made ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory");
}
