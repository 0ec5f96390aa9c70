/* The weights of a model family as data: one table, a row a weight. The checkpoint's layout, convert's names, the cut over ranks,
 * block scales, --shape, random weights and plan's bytes are all read from it.
 */
#ifndef SLIP_RANKS_MODEL_WEIGHTS_H
#define SLIP_RANKS_MODEL_WEIGHTS_H

#include "io/base/status.h"
#include "ranks/model/model.h"

enum {
    SLIP_WEIGHT_NAME = 96,
    SLIP_WEIGHT_SOURCES = 2, /* names that a weight may have in a Hugging Face folder */
};

/* What a weight is decides which types it may be stored in. */
typedef enum {
    SLIP_KIND_VECTOR, /* [columns] f32 or bf16 */
    SLIP_KIND_SCALAR, /* [columns] f32: a logit or a bias a head or an expert */
    SLIP_KIND_TABLE,  /* [rows, columns] f32 or bf16: embedding, head, router */
    SLIP_KIND_MATRIX, /* [rows, columns] f32, bf16 or f8e4m3 */
    SLIP_KIND_EXPERTS /* [experts, rows, columns] any type; the first axis is cut over groups of ranks */
} slip_weight_kind;

/* How long an axis is, in the words of ranks/model/model.h; for a draft's weight, in those of slip_draft_shape. */
typedef enum {
    SLIP_AXIS_ONE, /* the rows of a vector */
    SLIP_AXIS_HIDDEN,
    SLIP_AXIS_VOCABULARY,
    SLIP_AXIS_Q,   /* heads * head_dim */
    SLIP_AXIS_K,   /* kv_heads * head_dim */
    SLIP_AXIS_V,   /* kv_heads * v_head_dim */
    SLIP_AXIS_QKV, /* the three in model->qkv_chunks chunks [Q | K | V], each with scale blocks of its own */
    SLIP_AXIS_O,   /* heads * v_head_dim */
    SLIP_AXIS_HEADS,
    SLIP_AXIS_HEAD_DIM,
    SLIP_AXIS_DENSE,  /* the intermediate size of dense layers */
    SLIP_AXIS_EXPERT, /* and of experts */
    SLIP_AXIS_EXPERTS,
    SLIP_AXIS_TAPS,   /* taps * hidden */
    SLIP_AXIS_MARKOV, /* the rank of a draft's in-block head */
} slip_axis;

/* Which axis is cut over the ranks, besides the experts'. ranks/model/placement.c knows who gets what of an axis. */
typedef enum { SLIP_CUT_NONE, SLIP_CUT_ROWS, SLIP_CUT_COLUMNS } slip_cut;

/* Where a weight stands. */
typedef enum {
    SLIP_AT_TARGET, /* once */
    SLIP_AT_LAYERS, /* in each of the target's layers */
    SLIP_AT_DENSE_LAYERS,
    SLIP_AT_MOE_LAYERS,
    SLIP_AT_DRAFT,        /* the draft has it once */
    SLIP_AT_DRAFT_LAYERS, /* and in each of its layers */
} slip_weight_place;

/* What a step reads it for, in plan's words. Vectors and single rows of an embedding do not count. */
typedef enum {
    SLIP_READ_LITTLE,
    SLIP_READ_ATTENTION,
    SLIP_READ_DENSE,
    SLIP_READ_ROUTER,
    SLIP_READ_EXPERTS, /* only those that are picked */
    SLIP_READ_HEAD,
    SLIP_READS
} slip_weight_read;

/* How random values look, so that a model made of them behaves as a trained one. A vector is uniform in mean - size .. mean + size;
 * a row of an embedding has a root mean square of `size`, a matrix one of size / sqrt(columns): products keep the size of their
 * operands. */
typedef struct {
    float mean, size;
    bool selects; /* a router's biases, which --distinct-experts sets instead */
} slip_random_look;

#define SLIP_LOOK_NORM \
    { \
        1, 0.1f, false \
    }
#define SLIP_LOOK_OFFSET \
    { \
        0, 0.1f, false \
    } /* logits of sinks, a mask's embedding */
#define SLIP_LOOK_BIAS \
    { \
        0, 0.01f, true \
    } /* of a router: it must not decide alone */
#define SLIP_LOOK_PRODUCT \
    { \
        0, 1, false \
    }
/* What is added to the residual stream is kept small, as in a trained model: else the average that attention adds to all tokens
 * alike would drown what tells them apart, and all would pick the same experts. */
#define SLIP_LOOK_RESIDUAL \
    { \
        0, 1.0f / 16, false \
    }

typedef struct {
    const char *name;                        /* below /target or /draft, or below layers/N there */
    const char *source[SLIP_WEIGHT_SOURCES]; /* its tensor in a Hugging Face folder: {layer} and {expert} stand for numbers */
    slip_weight_place place;
    bool (*when)(const slip_model *model, int32_t layer); /* which of them have it; NULL: all */
    slip_weight_kind kind;
    slip_axis rows, columns;
    slip_cut cut;
    slip_dtype dtype; /* as published, and so with --shape; vectors are widened there */
    slip_random_look random;
    slip_weight_read read;
    bool optional;        /* the drafter's mask embedding, which a checkpoint may lack */
    const char *asked_by; /* the member of the config that `when` goes by, for whoever has its tensor alone; NULL: not told */
} slip_weight_row;

/* A row in one line: names without their prefixes. */
#define SLIP_WEIGHT_ROW(name, source, place, when, kind, rows, columns, cut, dtype, random, read) \
    { \
        name, source, SLIP_AT_##place, when, SLIP_KIND_##kind, SLIP_AXIS_##rows, SLIP_AXIS_##columns, SLIP_CUT_##cut, SLIP_##dtype, \
            random, SLIP_READ_##read, false, NULL \
    }

typedef struct {
    const slip_weight_row *rows;
    int32_t count;
    const char *const *apart; /* how names begin of tensors in a folder that are no part of it: MTP, vision, audio; NULL ends them */
} slip_weight_table;

/* One weight of a model: a row of a table, at a layer. */
typedef struct {
    const slip_weight_row *row;
    int32_t layer;               /* -1: of none */
    char name[SLIP_WEIGHT_NAME]; /* of its dataset, "target/layers/3/o" */
    int32_t chunks;              /* of rows, each with scale blocks of its own */
    int64_t experts;             /* 1 unless stacked */
    int64_t rows;                /* 1 for a vector */
    int64_t columns;
} slip_weight_spec;

/* Whether a model has the weight of a row at a layer (-1: outside of layers). */
bool slip_weight_exists(const slip_model *model, const slip_weight_row *row, int32_t layer);

/* The weight of a row at a layer that has it. */
slip_weight_spec slip_weight_make(const slip_model *model, const slip_weight_row *row, int32_t layer);

/* Every weight of a model, its drafter's behind the target's: what stands once first, then layer by layer. The caller frees *specs. */
slip_status slip_weight_list(const slip_model *model, slip_weight_spec **specs, size_t *count);

static inline bool slip_weight_of_draft(const slip_weight_row *row)
{
    return row->place >= SLIP_AT_DRAFT;
}

static inline bool slip_weight_is_vector(const slip_weight_row *row)
{
    return row->kind == SLIP_KIND_VECTOR || row->kind == SLIP_KIND_SCALAR;
}

/* The attention geometry of a weight's layer. */
static inline const slip_attention *slip_weight_attention(const slip_model *model, const slip_weight_row *row, int32_t layer)
{
    return slip_weight_of_draft(row) ? &model->draft.attention : slip_model_attention(model, layer);
}

#endif
