#include "io/checkpoint/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks/model/mxfp4.h"

enum { TARGET_WEIGHTS = 3, LAYER_WEIGHTS = 12, DRAFT_WEIGHTS = 4 };

typedef struct {
    slip_stored *weights;
    size_t count;
    char prefix[64]; /* of the layer that is being added */
} layout;

static slip_stored *add(layout *to, const char *name, slip_stored_kind kind, int64_t rows, int64_t columns)
{
    slip_stored *weight = &to->weights[to->count++];
    *weight = (slip_stored){.kind = kind, .chunks = 1, .experts = 1, .rows = rows, .columns = columns};
    snprintf(weight->name, sizeof weight->name, "%s/%s", to->prefix, name);
    return weight;
}

static void add_vector(layout *to, const char *name, int64_t size)
{
    add(to, name, SLIP_KIND_VECTOR, 1, size);
}

static void add_matrix(layout *to, const char *name, int64_t rows, int64_t columns)
{
    add(to, name, SLIP_KIND_MATRIX, rows, columns);
}

/* `chunks` 0: q, k and v apart. */
static void add_attention(layout *to, const slip_attention *attention, int64_t hidden, int32_t chunks)
{
    int64_t q = (int64_t)attention->heads * attention->head_dim,
            k = (int64_t)attention->kv_heads * attention->head_dim;
    int64_t v = (int64_t)attention->kv_heads * attention->v_head_dim;
    if (chunks > 0) {
        add(to, "qkv", SLIP_KIND_MATRIX, q + k + v, hidden)->chunks = chunks;
    } else {
        add_matrix(to, "q", q, hidden);
        add_matrix(to, "k", k, hidden);
        add_matrix(to, "v", v, hidden);
    }
    add_matrix(to, "o", hidden, (int64_t)attention->heads * attention->v_head_dim);
    if (attention->sinks)
        add(to, "sinks", SLIP_KIND_SCALAR, 1, attention->heads);
}

static void add_mlp(layout *to, int64_t intermediate, int64_t hidden)
{
    add_matrix(to, "gate", intermediate, hidden);
    add_matrix(to, "up", intermediate, hidden);
    add_matrix(to, "down", hidden, intermediate);
}

static void add_experts(layout *to, const slip_model *model)
{
    add(to, "router", SLIP_KIND_TABLE, model->experts, model->hidden);
    add(to, "router_bias", SLIP_KIND_SCALAR, 1, model->experts);
    add(to, "experts/gate", SLIP_KIND_EXPERTS, model->moe_intermediate, model->hidden)->experts =
        model->experts;
    add(to, "experts/up", SLIP_KIND_EXPERTS, model->moe_intermediate, model->hidden)->experts =
        model->experts;
    add(to, "experts/down", SLIP_KIND_EXPERTS, model->hidden, model->moe_intermediate)->experts =
        model->experts;
}

static void add_target(layout *to, const slip_model *model)
{
    snprintf(to->prefix, sizeof to->prefix, "target");
    add(to, "embed", SLIP_KIND_TABLE, model->vocabulary, model->hidden);
    add(to, "head", SLIP_KIND_TABLE, model->vocabulary, model->hidden);
    add_vector(to, "norm", model->hidden);
    for (int32_t layer = 0; layer < model->layers; layer++) {
        snprintf(to->prefix, sizeof to->prefix, "target/layers/%d", layer);
        add_vector(to, "attn_norm", model->hidden);
        add_vector(to, "mlp_norm", model->hidden);
        add_attention(to, slip_model_attention(model, layer), model->hidden, model->qkv_chunks);
        if (model->is_moe[layer])
            add_experts(to, model);
        else
            add_mlp(to, model->dense_intermediate, model->hidden);
    }
}

static void add_draft(layout *to, const slip_draft_shape *draft, int64_t hidden)
{
    snprintf(to->prefix, sizeof to->prefix, "draft");
    add_matrix(to, "fc", hidden, draft->taps * hidden);
    add_vector(to, "hidden_norm", hidden);
    add_vector(to, "norm", hidden);
    add(to, "mask_embedding", SLIP_KIND_VECTOR, 1, hidden)->optional = true;
    for (int32_t layer = 0; layer < draft->layers; layer++) {
        snprintf(to->prefix, sizeof to->prefix, "draft/layers/%d", layer);
        add_vector(to, "attn_norm", hidden);
        add_vector(to, "mlp_norm", hidden);
        add_attention(to, &draft->attention, hidden, 0);
        add_vector(to, "q_norm", draft->attention.head_dim);
        add_vector(to, "k_norm", draft->attention.head_dim);
        add_mlp(to, draft->intermediate, hidden);
    }
}

slip_status slip_layout_build(const slip_model *model, slip_stored **weights, size_t *count)
{
    size_t most =
        TARGET_WEIGHTS + DRAFT_WEIGHTS + (size_t)(model->layers + model->draft.layers) * LAYER_WEIGHTS;
    layout built = {.weights = calloc(most, sizeof(slip_stored))};
    if (built.weights == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for a list of %zu weights", most);
    add_target(&built, model);
    if (model->has_draft)
        add_draft(&built, &model->draft, model->hidden);
    *weights = built.weights;
    *count = built.count;
    return SLIP_OK;
}

bool slip_layout_allows(const slip_stored *weight, slip_dtype dtype)
{
    switch (dtype) {
    case SLIP_F32: return true;
    case SLIP_BF16: return weight->kind != SLIP_KIND_SCALAR;
    case SLIP_F8E4M3: return weight->kind == SLIP_KIND_MATRIX || weight->kind == SLIP_KIND_EXPERTS;
    case SLIP_MXFP4: return weight->kind == SLIP_KIND_EXPERTS && weight->columns % SLIP_MXFP4_BLOCK == 0;
    case SLIP_DTYPES: break;
    }
    return false;
}

/* The product cannot wrap: ranks/model/config_limits.h bounds every size. */
static void set_shape(slip_dataset *dataset, const slip_stored *weight, slip_dtype dtype, int64_t rows,
                      int64_t columns)
{
    bool vector = weight->kind == SLIP_KIND_VECTOR || weight->kind == SLIP_KIND_SCALAR;
    int64_t sizes[SLIP_DATASET_DIMS] = {weight->experts, rows, columns};
    dataset->dtype = dtype;
    dataset->dims = weight->kind == SLIP_KIND_EXPERTS ? 3 : vector ? 1 : 2;
    memcpy(dataset->shape, sizes + SLIP_DATASET_DIMS - dataset->dims, (size_t)dataset->dims * sizeof *sizes);
    dataset->bytes = weight->experts * rows * columns * slip_dtype_item_bytes(dtype);
}

void slip_layout_datasets(const slip_stored *weight, slip_dtype dtype, slip_dataset *codes,
                          slip_dataset *scales)
{
    memset(codes, 0, sizeof *codes);
    memset(scales, 0, sizeof *scales);
    memcpy(codes->name, weight->name, sizeof codes->name);
    snprintf(scales->name, sizeof scales->name, "%.*s_scale", SLIP_DATASET_NAME - 7, weight->name);
    set_shape(codes, weight, dtype, weight->rows,
              slip_dtype_row_bytes(dtype, weight->columns) / slip_dtype_item_bytes(dtype));
    if (dtype == SLIP_MXFP4)
        set_shape(scales, weight, SLIP_MXFP4, weight->rows, weight->columns / SLIP_MXFP4_BLOCK);
    if (dtype == SLIP_F8E4M3)
        set_shape(scales, weight, SLIP_F32, weight->chunks * slip_f8_blocks(weight->rows / weight->chunks),
                  slip_f8_blocks(weight->columns));
}
