/* The forward pass as data: a program is a flat list of ops over named buffers, a step says on which tokens to run it. A family
 * writes programs (ranks/model/family.h); an executor (kernels/) runs them and knows nothing of models. The same program drives
 * every executor, so their buffers can be compared op by op.
 *
 * Shapes: `rows` is the number of tokens in the step; widths are this rank's share. Hidden states are replicated.
 */
#ifndef SLIP_RANKS_MODEL_PROGRAM_H
#define SLIP_RANKS_MODEL_PROGRAM_H

#include "io/base/both.h"
#include "ranks/model/sampling/adjust.h"
#include "ranks/model/weights.h"

enum {
    SLIP_MAX_ROWS = 2048,      /* tokens in one step */
    SLIP_MAX_LOGIT_ROWS = 512, /* of these, rows that want logits: blocks of 64 sequences; other rows are prompts' */
    SLIP_MAX_SPANS = 64,       /* sequences in one step */
    SLIP_MAX_ROPES = 4,        /* distinct (theta, rotary_dim) pairs of a program */
};

typedef struct {
    int64_t first, count;
} slip_range;

/* ---- what is read ---- */

/* A run of rows of one weight (for stacked experts: of each expert). */
typedef struct {
    slip_weight_spec weight;
    slip_range rows;
} slip_part;

/* A matrix as this rank needs it: parts stacked on top of each other, the same columns of each. A vector is one row. */
typedef struct {
    slip_range experts; /* of the first axis; first -1: the datasets are not stacked */
    slip_range columns;
    int64_t rows; /* sum over the parts */
    int32_t first_part, parts;
    bool vector; /* used element by element, not in products */
} slip_tensor;

/* ---- what is computed on ---- */

typedef enum {
    SLIP_BUFFER_X,       /* f32 [rows, hidden]      residual stream */
    SLIP_BUFFER_H,       /* f32 [rows, hidden]      normalised */
    SLIP_BUFFER_QKV,     /* f32 [rows, q_heads*head_dim | kv_heads*head_dim | kv_heads*v_head_dim] */
    SLIP_BUFFER_HEADS,   /* f32 [rows, q_heads*v_head_dim]   attention's output */
    SLIP_BUFFER_PARTIAL, /* f64 [rows, hidden]      this rank's share of a sum over ranks */
    SLIP_BUFFER_GATE_UP, /* f32 [rows, 2*intermediate]   gate | up */
    SLIP_BUFFER_ACT,     /* f32 [rows, intermediate] */
    SLIP_BUFFER_ROUTE,   /* f32 [rows, 2*top_k]     expert ids (exact in f32), ascending | weights */
    SLIP_BUFFER_TAPS,    /* f32 [rows, taps*hidden] written by the target; the draft's inject phase reads this rank's columns */
    SLIP_BUFFER_SELECT,  /* f32 [logit rows, hidden] the rows that want logits */
    SLIP_BUFFER_LOGITS,  /* f32 [logit rows, vocabulary rows of this rank] */
    SLIP_BUFFERS
} slip_buffer;

/* The ops: X(kind, name). SLIP_OP_<kind> is its number; the CPU computes it by slip_cpu_<name>() (kernels/cpu), the GPU's op list gets it
 * by slip_lower_<name>() (kernels/cuda/lower).
 *     EMBED       out = row `token` of weight 0 if this rank has it, else 0; masks read weight 1 where present
 *     NORM        out = RMSNorm(in) * weight 0
 *     LINEAR      out = in * weight 0 transposed; into an f64 buffer: a share of a sum over ranks
 *     ROPE_STORE  in place on in = QKV: head norms (weights 0, 1), rotation, value scale; K and V to the cache
 *     ATTEND      out = attention of in = QKV over the cache, sinks = weight 0
 *     SWIGLU      out = silu(gate) * up
 *     ROUTE       out = top-k of the scores of in * weight 0 transposed, picked with bias weight 1 where there is one
 *     EXPERTS     out = sum over this rank's picked experts; weight 0 gate|up, weight 1 down; routes from ROUTE
 *     ALLREDUCE   out (+)= sum over ranks of in, in rank order
 *     TAP         columns [column, column + hidden) of out = in
 *     SELECT      out = the rows of in that want logits, in order */
/* clang-format off */
#define SLIP_OP_TABLE(X) \
    X(EMBED, embed) X(NORM, norm) X(LINEAR, linear) X(ROPE_STORE, rope_store) X(ATTEND, attend) X(SWIGLU, swiglu) \
    X(ROUTE, route) X(EXPERTS, experts) X(ALLREDUCE, allreduce) X(TAP, tap) X(SELECT, select)
/* clang-format on */

typedef enum {
#define SLIP_OP_KIND(kind, name) SLIP_OP_##kind,
    SLIP_OP_TABLE(SLIP_OP_KIND)
#undef SLIP_OP_KIND
        SLIP_OP_KINDS
} slip_op_kind;

enum { SLIP_NO_WEIGHT = -1, SLIP_OP_WEIGHTS = 2 };

typedef struct {
    slip_op_kind kind;
    slip_buffer in, out;
    int32_t weight[SLIP_OP_WEIGHTS]; /* tensors of the program; SLIP_NO_WEIGHT */
    int32_t layer;                   /* whose cache; for reports elsewhere; -1 outside of layers */
    int32_t column;                  /* TAP: first column; SWIGLU: width of act */
    bool logit_rows;                 /* runs on the selected rows only */
    bool add;                        /* ALLREDUCE: add to out, else overwrite it */
    bool cut_anywhere;               /* LINEAR into an f64 buffer: a rank's columns may start inside of a block of 32 */
} slip_op;

/* One layer's attention on this rank, and its K/V cache. A window makes the cache a ring. */
typedef struct {
    int32_t q_heads, kv_heads;        /* of this rank */
    int32_t group, first_q, first_kv; /* local query head i reads local K/V head (first_q + i) / group - first_kv */
    int32_t head_dim, v_head_dim;
    int32_t window;   /* 0 = all keys */
    int32_t rope;     /* which of the program's ropes */
    bool whole_block; /* queries see every row of their span (DFlash), else causal */
    float value_scale;
    float norm_epsilon; /* of the head norms */
} slip_cache;

typedef struct {
    double theta;
    int32_t rotary_dim;
} slip_rope;

/* A program may have two phases that share weights and caches: the draft first injects context, then runs a block. */
typedef enum { SLIP_PHASE_RUN, SLIP_PHASE_INJECT, SLIP_PHASES } slip_phase;

/* A draft's in-block head. Each logit row of a block is for the token behind the one that the row before it picks, the first behind the
 * anchor, and its logits are off by following . previous[that token]: whoever has both matrices walks through the block
 * (ranks/model/sampling/walk.h). */
typedef struct {
    int32_t slots;               /* logit rows of a block; 0: the program has no such head */
    int32_t rank;                /* columns of the matrices */
    int32_t previous, following; /* tensors [vocabulary, rank]; SLIP_NO_WEIGHT: this rank does not walk */
} slip_walk;

typedef struct {
    slip_op *ops;
    int32_t op_count, op_room;
    int32_t phase_first[SLIP_PHASES], phase_count[SLIP_PHASES];
    slip_tensor *tensors;
    int32_t tensor_count, tensor_room;
    slip_part *parts;
    int32_t part_count, part_room;
    slip_cache cache[SLIP_MAX_LAYERS];
    int32_t cache_count;
    slip_rope rope[SLIP_MAX_ROPES];
    int32_t rope_count;
    int64_t width[SLIP_BUFFERS]; /* columns of each buffer, 0 = unused */
    float norm_epsilon;
    int32_t top_k;
    slip_scoring scoring; /* ROUTE: what scores are made of the products */
    bool norm_top_k;
    float routed_scale;
    int32_t experts;       /* of the model */
    slip_range vocabulary; /* rows of embed and head on this rank */
    int32_t mask_token;    /* EMBED reads weight 1 for it; -1 none */
    int32_t logits_ahead;  /* positions from a row's own to the one that its logits are of: 1, a draft's 0 */
    int32_t tap_window;    /* TAP: positions that the draft looks back; 0 = all */
    int64_t tap_first;     /* the draft's: column of a row of taps with which its TAPS buffer begins */
    slip_walk walk;        /* the draft's */
} slip_program;

/* ---- on what ---- */

/* Consecutive positions of one sequence; its rows are consecutive in the step. */
typedef struct {
    int32_t sequence;       /* K/V slot */
    int32_t row, count;     /* rows [row, row + count) */
    int32_t logit_rows;     /* the last so many of them want logits */
    int32_t adjustments;    /* the next so many of the step's, of all these rows; or SLIP_ADJUSTED_LATER */
    int64_t position;       /* of the first */
    int64_t base;           /* of its extent: position 0 lies there in caches without a window (slip_cache_first) */
    slip_sampling sampling; /* of the rows that want logits */
} slip_span;

typedef enum {
    SLIP_WANT_TOKENS,     /* each rank's best candidate a logit row */
    SLIP_WANT_HISTOGRAMS, /* and of each logit row that filters apply to its histogram (ranks/model/sampling/histogram.h) */
    SLIP_WANT_LIKELIEST, /* `again` alone: of each row not left out what logprobs need (ranks/model/sampling/likeliest.h), and no candidates */
    SLIP_WANT_LOGITS     /* the coordinator gets whole rows of logits */
} slip_want;

/* In place of a span's number of adjustments, in a step that computes logits: its rows will be sampled `again`, adjusted. They have neither
 * candidates nor histograms before. */
enum { SLIP_ADJUSTED_LATER = -1 };

/* What a step that is sampled `again` does before, once, to the logits that the step left. */
typedef enum {
    SLIP_ADJUST_NOTHING,
    SLIP_ADJUST_APPLY, /* adjust them */
    SLIP_ADJUST_UNDO,  /* bring back what the last step that adjusted them found; its adjustments come again */
    SLIP_ADJUSTS
} slip_adjust;

typedef struct {
    uint64_t number;
    slip_want want;
    int32_t span_count, row_count, logit_rows;
    int32_t again;  /* 1: the step before this one is sampled again, from the logits that it left; nothing else is computed */
    int32_t adjust; /* slip_adjust */
    int32_t adjustment_count;
    slip_span span[SLIP_MAX_SPANS];
    int32_t token[SLIP_MAX_ROWS]; /* or SLIP_TOKEN_OF_LOGIT_ROW */
    /* `again`, of each logit row: tokens in bins >= this take part; SLIP_NO_BINS: the row is left out. In a step that wants
     * SLIP_WANT_LIKELIEST the token whose logit is asked for. */
    int32_t open[SLIP_MAX_LOGIT_ROWS];
    const slip_adjustment *adjustments; /* [adjustment_count], span by span; borrowed */
} slip_step;

/* In place of a token: the best of logit row `row` of the step that was begun before this one, for executors that take it
 * (kernels/executor.h). */
#define SLIP_TOKEN_OF_LOGIT_ROW(row) (-2 - (row))
#define SLIP_LOGIT_ROW_OF_TOKEN(token) (-2 - (token))

/* A rank's best token of a logit row: highest score, lowest token among equals. token -1: the rank has no rows. */
typedef struct {
    float score;
    int32_t token;
} slip_candidate;

/* Sizes that an executor allocates once. */
typedef struct {
    int32_t rows;       /* most tokens in a step, <= SLIP_MAX_ROWS */
    int32_t logit_rows; /* most rows with logits in a step, <= SLIP_MAX_LOGIT_ROWS */
    int32_t sequences;  /* K/V slots */
    int32_t span_rows;  /* most tokens of one sequence in a step: what a ring must hold beside its window */
    int64_t context;    /* positions a sequence may reach */
    int64_t kv_tokens;  /* positions of all sequences together, in caches without a window */
} slip_limits;

/* What a draft allocates of it: steps of blocks, and of contexts that are injected, never as wide as a target's of prompts. */
static inline slip_limits slip_draft_limits(slip_limits target)
{
    target.rows = target.rows < SLIP_MAX_LOGIT_ROWS ? target.rows : SLIP_MAX_LOGIT_ROWS;
    target.span_rows = target.span_rows < target.rows ? target.span_rows : target.rows;
    return target;
}

/* ---- where K/V (and taps) of a sequence lie ----
 *
 * With a window each K/V slot has a ring. Without, all sequences share one arena: each has an extent of it, as long as its own prompt and
 * answer may become, which the coordinator deals out (coordinator/kv/extents.h) and names in every span. Extents are contiguous, not tables
 * of pages: kernels read keys by `first + position` as ever, with no load in between; the price is that a gap between two extents may be
 * too short for the next request, which then waits.
 */

/* Extents are whole pages, so that gaps fit requests of about the same length. */
enum { SLIP_KV_PAGE = 64 };

static inline int64_t slip_kv_extent(int64_t positions)
{
    return (positions + SLIP_KV_PAGE - 1) / SLIP_KV_PAGE * SLIP_KV_PAGE;
}

/* Position p of a sequence lies in slot p % slip_ring_slots() behind its first. `window`: positions that are looked back, 0: all. */
static inline int64_t slip_ring_slots(int32_t window, const slip_limits *limits)
{
    int64_t ring = (int64_t)window + limits->span_rows;
    return window && ring < limits->context ? ring : limits->context;
}

/* Slots of all sequences. */
static inline int64_t slip_cache_slots(int32_t window, const slip_limits *limits)
{
    return window ? limits->sequences * slip_ring_slots(window, limits) : limits->kv_tokens;
}

/* A sequence's first slot; `ring`: slip_ring_slots(). */
SLIP_BOTH static inline int64_t slip_cache_first(int32_t window, int64_t ring, int32_t sequence, int64_t base)
{
    return window ? sequence * ring : base;
}

/* A weight in memory, as read from the checkpoint: this rank's part in the checkpoint's own encoding. */
typedef struct {
    slip_dtype dtype;
    int64_t experts; /* 1 when not stacked */
    int64_t rows, columns;
    size_t row_bytes;
    unsigned char *data; /* [experts, rows, row_bytes] */
    int64_t scale_columns;
    unsigned char *scale; /* mxfp4: u8 [experts, rows, columns/32]; f8e4m3: f32 [experts, rows, scale_columns], one row of
                             scales a row; NULL otherwise */
    int64_t scale_skew;   /* f8e4m3: columns of its first scale block that lie before our first column */
    int64_t first_row;    /* where it is a piece of a weight that is not stacked: the first of its `rows` there */
} slip_weight;

#endif
