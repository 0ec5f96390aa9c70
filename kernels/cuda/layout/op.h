/* The device's ops: one table, and what each op is given. As plain data for host and device code; pointers are device addresses unless
 * they say "host". docs/adding-an-op.md walks through a new row.
 *
 * A row is OP(kind, arguments, function, watched, memory), or PRODUCT(...) for an op that multiplies by weights:
 *     kind        SLIP_CUDA_<kind> is its number, and <kind> its name in traces, profiles and errors
 *     arguments   its member of slip_cuda_op: a struct, and a row of the table of arguments
 *     function    device code: void function(const slip_cuda_<arguments> &, const context &), called as a function of its own
 *                 (engine/consume.cuh). Products share one function, which stays in the kernel: wgmma does not cross a call
 *     watched     what --trace-ops shows of it: WATCH_<watched> in host/watch.c
 *     memory      slip_memory_<memory>() allocates what it writes (lower/)
 *
 * A grid barrier follows every op but those that `flow`: the next one waits for its data itself.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_OP_H
#define SLIP_KERNELS_CUDA_LAYOUT_OP_H

#include <stdalign.h>
#include <stdbool.h>

#include "kernels/cuda/layout/buffer.h"
#include "kernels/cuda/layout/matrix.h"
#include "kernels/cuda/layout/slots.h"
#include "kernels/cuda/layout/step.h"
#include "ranks/model/sampling/histogram.h"
#include "ranks/model/sampling/likeliest.h"
#include "ranks/model/sampling/walk.h"

/* clang-format off */
#define SLIP_CUDA_OP_TABLE(OP, PRODUCT) \
    /* rows of the table -> parts */ \
    OP(EMBED, embed, op_embed, PARTIAL, embed) \
    /* this rank's share of an ALLREDUCE, which the host gathers */ \
    OP(GATHER, gather, op_gather<MODE>, NOTHING, gather) \
    /* ALLREDUCE, TAPs and NORM: sum of the parts (added) to x; taps; operand of x * norm */ \
    OP(REDUCE_NORM, reduce_norm, op_reduce_norm<MODE>, RESIDUAL, reduce_norm) \
    /* SELECT and NORM: operand of the rows that want logits */ \
    OP(SELECT, select, op_select, OPERAND, select) \
    /* f32 rows, or rows of the tap ring -> operand */ \
    OP(QUANTISE, quantise, op_quantise, QUANTISED, quantise) \
    /* operand * matrix -> parts */ \
    PRODUCT(LINEAR, product, op_product, PARTIAL, linear) \
    /* parts of QKV -> rotated queries (bf16), K and V to the cache */ \
    OP(ROPE, rope, op_rope, QKV, rope) \
    /* layers with a narrow window: parts of QKV -> K and V to the cache, if no ROPE did so, and what ATTEND writes */ \
    OP(ATTEND_WINDOW, attend_window, op_attend_window, OPERAND, attend_window) \
    /* queries over the cache -> operand, or f32 rows where its format wants whole blocks */ \
    OP(ATTEND, attend, op_attend, OPERAND, attend) \
    /* parts of gate | up -> operand */ \
    OP(SWIGLU, swiglu, op_swiglu, OPERAND, swiglu) \
    /* parts of the router's logits -> picks */ \
    OP(TOPK, topk, op_topk, PICKS, topk) \
    /* gate | up of the picked experts -> parts */ \
    PRODUCT(MOE_GATE_UP, product, op_product, NOTHING, moe_gate_up) \
    /* swiglu and down of the picked experts -> parts of each pick */ \
    PRODUCT(MOE_DOWN, product, op_product, EXPERTS, moe_down) \
    /* parts of LOGITS -> each SM's or each slice's candidates, or whole rows to the host */ \
    OP(SAMPLE, sample, op_sample, NOTHING, sample) \
    /* parts of LOGITS, behind SAMPLE -> histograms to the host */ \
    OP(HISTOGRAM, sample, op_histogram, NOTHING, histogram) \
    /* in parts of LOGITS that a step left: bias and penalties, or what was there before */ \
    OP(ADJUST, resample, op_adjust, NOTHING, adjust) \
    /* parts of LOGITS -> what logprobs need, of each SM's tokens */ \
    OP(LIKELIEST, resample, op_likeliest, NOTHING, likeliest) \
    /* that of all SMs -> to the host */ \
    OP(LIKELIEST_MERGE, resample, op_likeliest_merge, NOTHING, likeliest_merge) \
    /* positions of the rows -> the table of a rope */ \
    OP(ANGLES, angles, op_angles, NOTHING, angles)
/* clang-format on */

typedef enum {
#define SLIP_CUDA_OP_KIND(kind, arguments, function, watched, memory) SLIP_CUDA_##kind,
    SLIP_CUDA_OP_TABLE(SLIP_CUDA_OP_KIND, SLIP_CUDA_OP_KIND)
#undef SLIP_CUDA_OP_KIND
        SLIP_CUDA_OPS
} slip_cuda_op_kind;

/* Does it multiply by weights? */
SLIP_BOTH static inline bool slip_cuda_is_product(int32_t kind)
{
#define SLIP_CUDA_NO(...)
#define SLIP_CUDA_YES(KIND, ...) || kind == SLIP_CUDA_##KIND
    return false SLIP_CUDA_OP_TABLE(SLIP_CUDA_NO, SLIP_CUDA_YES);
#undef SLIP_CUDA_YES
#undef SLIP_CUDA_NO
}

/* ---- arguments ---- */

typedef struct {
    const void *table;     /* [vocabulary rows][hidden] of table_f32 ? f32 : bf16 */
    const float *mask;     /* embedding of mask_token, or NULL */
    slip_cuda_partial out; /* one part */
    int64_t vocabulary_first, vocabulary_count;
    int32_t table_f32;
    int32_t mask_token; /* -1 none */
    int32_t hidden;
} slip_cuda_embed;

/* What a sum over parts, or over the experts of each row, adds up. */
typedef struct {
    slip_cuda_partial in;
    slip_cuda_picks picks;
    int32_t experts_in;            /* `in` holds picks, to be weighted */
    int32_t first_expert, experts; /* this rank's */
    int32_t top_k;
} slip_cuda_terms;

typedef struct {
    slip_cuda_terms terms;
    slip_cuda_partial out; /* rows; the host gathers them from all ranks */
} slip_cuda_gather;

typedef struct {
    slip_cuda_terms terms;
    slip_cuda_operand operand;
    float *x;          /* [rows][hidden] residual stream; NULL: none is kept */
    const float *norm; /* NULL: no operand is written */
    slip_cuda_taps taps;
    float *peer_slots;       /* [peers][rows][hidden], of absent peers; in wide steps whose sums are whole they have */
    unsigned char *stand_in; /* this arena, which stands for those of all */
    int32_t tap;             /* first column of the tap, -1 none */
    int32_t hidden;
    int32_t add;      /* add to x, else overwrite it */
    int32_t exchange; /* number of its exchange inside of the kernel in the program, 1, 2, ..; 0: none */
    int32_t gathered; /* terms.in is what the ranks gathered behind the op before, a GATHER */
    int32_t codes;    /* of sums that have owners (wide/shares.cuh): others get the operand in e4m3 alone, and not the residual */
    int32_t peers;    /* absent ranks whose exchange is emulated by local copies */
    int32_t by_row;   /* experts alone read the codes: slip_operand_row_at() */
} slip_cuda_reduce_norm;

typedef struct {
    const float *x; /* [rows][hidden] */
    const float *norm;
    slip_cuda_operand operand;
    int32_t hidden;
} slip_cuda_select;

typedef struct {
    const float *rows; /* [row][stride]; NULL: rows of the tap ring */
    slip_cuda_taps taps;
    slip_cuda_operand operand;
    int32_t stride;
} slip_cuda_quantise;

/* Which rows of a wide step whose sums are whole are routed here: those of a rank's groups (comm/exchange.h). */
typedef struct {
    int32_t owner, owners; /* 0, 1: all rows */
} slip_cuda_owned;

typedef struct {
    slip_cuda_matrix matrix;
    slip_cuda_operand operand; /* LINEAR, MOE_GATE_UP */
    slip_cuda_partial in;      /* MOE_DOWN: parts of gate | up */
    slip_cuda_partial out;
    slip_cuda_picks picks;         /* experts */
    slip_cuda_slots slots;         /* of wide steps */
    int32_t first_expert, experts; /* this rank's */
    int32_t all_experts;           /* of the layer, on all ranks */
    int32_t top_k;
    uint64_t *counted;     /* LINEAR: add to these sums [rows][out.stride] instead of writing parts; NULL: parts */
    slip_cuda_owned owned; /* of such a one */
    int32_t width;         /* MOE_DOWN: intermediate columns */
    int32_t route;         /* experts: number of the ROUTE that picked them, 1, 2, .. */
    float epsilon;         /* of the norm in front */
    int32_t by_row;        /* MOE_GATE_UP: as the REDUCE_NORM in front */
} slip_cuda_product;

typedef struct {
    slip_cuda_partial in; /* QKV */
    slip_cuda_cache cache;
    uint16_t *query;      /* [rows][q_heads][k_width] bf16 */
    const float *angles;  /* [rows][rotary_dim / 2][cosine, sine] of the step */
    const float *norm[2]; /* of q and k heads, or NULL */
    int32_t rotary_dim;
} slip_cuda_rope;

typedef struct {
    slip_cuda_partial in; /* QKV */
    slip_cuda_cache cache;
    const uint16_t *query;     /* as a ROPE in front leaves it, for wide steps */
    const float *angles;       /* as ROPE's */
    const float *sinks;        /* [q_heads] or NULL */
    slip_cuda_operand operand; /* as ATTEND's, and so are these */
    float *rows;
    int32_t width;
    int32_t rotary_dim;
} slip_cuda_attend_window;

typedef struct {
    slip_cuda_cache cache;
    const uint16_t *query;     /* as ROPE left it */
    const float *sinks;        /* [q_heads] or NULL */
    slip_cuda_operand operand; /* hi and lo alone: a block with one scale may belong to several heads */
    float *rows;               /* f32 [row][width] for QUANTISE, or NULL */
    float *part_out;           /* partial outputs of its items; attend_size.h has the layout of these three */
    float *part_sum;           /* their maxima and sums */
    unsigned *count;           /* arrivals at each tile, self-wrapping */
    int32_t width;             /* q_heads * v_head_dim */
} slip_cuda_attend;

typedef struct {
    slip_cuda_partial in; /* gate | up */
    slip_cuda_operand operand;
    int32_t width; /* intermediate columns */
} slip_cuda_swiglu;

typedef struct {
    uint64_t *counted; /* the router's logits: sums [rows][stride] of `parts` terms */
    int32_t stride, parts;
    slip_cuda_picks picks;
    const float *bias; /* [experts] */
    int32_t experts;   /* all */
    int32_t top_k, norm_top_k;
    int32_t route; /* its number in the program: 1, 2, .. */
    float routed_scale;
    slip_cuda_owned owned; /* what these rows picked goes to all ranks */
    int32_t exchange;      /* of the sum before */
    int32_t peers;         /* as REDUCE_NORM's, and so is this */
    unsigned char *stand_in;
} slip_cuda_topk;

/* A draft's in-block head (ranks/model/program.h). */
typedef struct {
    const uint16_t *previous, *following; /* [vocabulary][rank] bf16; NULL where another rank walks */
    int32_t slots;                        /* of a block; 0: there is no such head */
    int32_t rank, vocabulary;
    int32_t alone; /* no other rank has candidates */
} slip_cuda_walk;

typedef struct {
    slip_cuda_partial in; /* logits */
    int64_t vocabulary_first, vocabulary_count;
    slip_candidate *candidates; /* [SMs][logit rows], or for a walk [logit rows][SLIP_SLICES] */
    slip_cuda_walk walk;
    float *highest;             /* logit of each SM's tokens, [SMs][logit rows], of steps that want histograms */
    slip_histogram *sums;       /* [logit rows], zero between steps; NULL: there is no HISTOGRAM */
    unsigned *count;            /* [logit rows] SMs that have added to them, self-wrapping */
    slip_histogram *histograms; /* host-mapped [logit rows]; `tokens` is there already */
    float *logits;              /* host-mapped [logit rows][vocabulary rows] */
} slip_cuda_sample;

/* For the ops of a step that is sampled again. */
typedef struct {
    slip_cuda_partial in; /* logits */
    int64_t vocabulary_first, vocabulary_count;
    const slip_cuda_adjusting *adjusting; /* host-mapped */
    float *unadjusted;                    /* [SLIP_MAX_ADJUSTED] */
    slip_likeliest *found;                /* [SMs][logit rows] */
    slip_likeliest *likeliest;            /* host-mapped [logit rows] */
} slip_cuda_resample;

typedef struct {
    const float *inverse_frequency; /* [rotary_dim / 2] */
    float *angles;                  /* [rows][rotary_dim / 2][cosine, sine] */
    int32_t rotary_dim;
} slip_cuda_angles;

/* All of them: READS(arguments, sums), whose member `sums` is sums of products that it reads, or REST(arguments). */
/* clang-format off */
#define SLIP_CUDA_ARGUMENTS_TABLE(READS, REST) \
    REST(embed) \
    READS(gather, terms.in) \
    READS(reduce_norm, terms.in) \
    REST(select) \
    REST(quantise) \
    READS(product, in) \
    READS(rope, in) \
    READS(attend_window, in) \
    REST(attend) \
    READS(swiglu, in) \
    REST(topk) \
    READS(sample, in) \
    READS(resample, in) \
    REST(angles)
/* clang-format on */

/* One device op: the head, which every part of the engine reads, and the arguments of its kind. Copied 16 bytes a thread. */
typedef struct {
    alignas(16) int32_t kind; /* slip_cuda_op_kind */
    int32_t layer;
    int32_t first, last; /* ops of the program that it computes: [first, last] */
    int32_t logit_rows;  /* runs on the step's logit rows */
    int32_t flows;       /* no grid barrier follows */
    int32_t early;       /* MOE_GATE_UP: the op before does not write its operand */
    union {
#define SLIP_CUDA_MEMBER(arguments, ...) slip_cuda_##arguments arguments;
        SLIP_CUDA_ARGUMENTS_TABLE(SLIP_CUDA_MEMBER, SLIP_CUDA_MEMBER)
#undef SLIP_CUDA_MEMBER
    };
} slip_cuda_op;

#endif
