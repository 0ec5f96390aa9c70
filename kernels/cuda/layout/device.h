/* What host and device code of the CUDA engine share, as plain data: the layout of weights and activations, the device's op
 * list and the step. No CUDA header: kernels/cuda/lower/lower.c and pack.c are C, and their tests run without a GPU. Pointers in these
 * structs are device addresses unless they say "host".
 *
 * ---- rows ----
 * Tokens are computed in row groups of 8: the N of wgmma m64n8. Row r of a step is token r % 8 of group r / 8. A column of a
 * product never sees the others, so a token's result does not depend on its neighbours (design part 4).
 *
 * ---- weights: granules ----
 * A matrix [rows, columns] is cut into tiles of 64 rows, a tile along its columns into granules of 8192 bytes of codes:
 *     bf16    64 columns   [column / 8][64 rows][8]        SLIP_GRANULE_BF16  = 8192 bytes
 *     f8e4m3  128 columns  [column / 16][64 rows][16]      then 64 f32 scales, one a row: SLIP_GRANULE_F8 = 8448 bytes
 *     mxfp4   256 columns  in wgmma's register order       then 64 x 8 E8M0 scales:       SLIP_GRANULE_MXFP4 = 8704 bytes
 * bf16 and f8e4m3 granules are wgmma operands in shared memory as they are (K-major core matrices of 8 rows x 16 bytes, no
 * swizzle); mxfp4 is decoded in registers. Rows and columns that do not exist are zeros. f32 matrices are stored as bf16 in two
 * planes along the columns, w = high + low, all granules of the high plane first: 16 of 24 bits of the mantissa.
 *
 * Granules lie in the order in which they are consumed: columns are cut into chunks of `chunk` granules (the last may be
 * shorter), and memory holds [expert][chunk][tile][granule of the chunk]. Each chunk's product is a partial sum of its own;
 * whoever reads the result adds the chunks up in their order, which depends on the matrix alone.
 *
 * ---- activations: forms ----
 * The B operand, per row group: 16-byte units [unit][8 tokens][16 bytes], a unit being 16 columns of e4m3 or 8 of bf16.
 *     q8 + scale   e4m3 of x / scale, scale = amax / 448 of 128 columns of one token (1 where amax is 0)
 *     hi, lo       bf16 of x and bf16 of x - hi
 * Behind a norm, what is stored is x * weight; the factor rsqrt(mean(x^2) + epsilon) is one number a token and is applied to the
 * product: `ssq` holds the sums of squares of each block of 128 columns. Columns beyond the real ones are zeros.
 */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_DEVICE_H
#define SLIP_KERNELS_CUDA_LAYOUT_DEVICE_H

#include <stdalign.h>

#include "io/base/both.h"
#include "ranks/model/program.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SLIP_TOKENS = 8,             /* of a row group */
    SLIP_TILE = 64,              /* rows of a weight tile: the M of wgmma */
    SLIP_CODE_BYTES = 8192,      /* codes of a granule */
    SLIP_GRANULE_BF16 = 8192,
    SLIP_GRANULE_F8 = 8192 + 64 * 4,
    SLIP_GRANULE_MXFP4 = 8192 + 64 * 8,
    SLIP_STAGE_GRANULES = 2,     /* a stage of the ring: one bulk copy of 16 to 17 KiB */
    SLIP_STAGE_BYTES = SLIP_STAGE_GRANULES * SLIP_GRANULE_MXFP4,
    SLIP_CUDA_ARENA = 72 * 1024, /* shared memory beside the ring: activations of a product, keys and values, lists */
    SLIP_LIST_MAX = SLIP_TOKENS * SLIP_MAX_TOP_K, /* experts that a row group can pick */
    SLIP_CUDA_STEPS = 4,         /* places for steps in host memory: those posted and not waited for, and the one waited for last */
};

/* How a matrix lies on the device. */
typedef enum { SLIP_STORE_BF16, SLIP_STORE_F8, SLIP_STORE_MXFP4 } slip_store;

SLIP_BOTH static inline int32_t slip_store_bytes(int32_t store) /* of a granule */
{
    return store == SLIP_STORE_BF16 ? SLIP_GRANULE_BF16 : store == SLIP_STORE_F8 ? SLIP_GRANULE_F8 : SLIP_GRANULE_MXFP4;
}

SLIP_BOTH static inline int32_t slip_store_columns(int32_t store) /* of a granule */
{
    return store == SLIP_STORE_BF16 ? 64 : store == SLIP_STORE_F8 ? 128 : 256;
}

typedef struct {
    unsigned char *data;
    int32_t store;           /* slip_store */
    int32_t rows, columns;   /* real ones, of one expert */
    int32_t tiles;           /* ceil(rows / 64) */
    int32_t plane;           /* granules of one plane along the columns */
    int32_t granules;        /* plane * planes: along the columns */
    int32_t chunk, chunks;   /* granules of a chunk; how many chunks */
    int32_t units;           /* of one expert: chunks * tiles; a unit is a chunk of one tile */
    int64_t expert_bytes;
} slip_cuda_matrix;

/* Partial sums: element (group, part, token, column) is data[((group * parts + part) * 8 + token) * stride + column].
 * Of experts: (group, token, pick, part, column) is data[(((group * 8 + token) * top_k + pick) * parts + part) * stride + column].
 * Gathered from ranks: (rank, row, column) is data[(rank * slip_gathered_rows(rows of the step) + row) * stride + column]. */
typedef struct {
    float *data;
    int32_t parts, stride; /* parts: of a gathered sum, ranks; stride: columns, of a product's padded to whole tiles */
} slip_cuda_partial;

/* Rows that are gathered from each rank in a step of `rows`: whole row groups, a power of two of them. The number is baked into a
 * captured graph: a few graphs serve all steps. */
SLIP_BOTH static inline int32_t slip_gathered_rows(int32_t rows)
{
    int32_t gathered = SLIP_TOKENS;
    while (gathered < rows)
        gathered *= 2;
    return gathered;
}

typedef struct {
    unsigned char *q8;  /* [groups][padded / 16][8][16] or NULL */
    float *scale;       /* [groups][padded / 128][8] */
    uint16_t *hi, *lo;  /* [groups][padded / 8][8][8] or NULL */
    float *ssq;         /* [groups][padded / 128][8]; NULL: no factor */
    int32_t columns;    /* real ones */
    int32_t padded;     /* to whole blocks of 256 */
} slip_cuda_act;

/* K and V of one layer, bf16: k[((slot * kv_heads + head) * k_width) + dim] with slot = sequence * slots + position % slots. */
typedef struct {
    uint16_t *k, *v;
    int32_t slots;            /* a ring where there is a window, else the whole context */
    int32_t k_width, v_width; /* head dims padded with zeros to multiples of 16 */
    int32_t split;            /* keys of one work item: an item covers absolute positions [i * split, (i + 1) * split) */
    slip_cache shape;
} slip_cuda_cache;

typedef enum {
    SLIP_CUDA_EMBED,     /* rows of the table -> `out` (one part) */
    SLIP_CUDA_GATHER,    /* of an ALLREDUCE: this rank's sum of the parts of `in` -> rows of `out`; the host's all-gather follows */
    SLIP_CUDA_SUM,       /* ALLREDUCE, TAPs and NORM: (x +)= sum of the parts of `in`; taps; forms of x * norm */
    SLIP_CUDA_SELECT,    /* SELECT and NORM: forms of the rows that want logits */
    SLIP_CUDA_FORM,      /* f32 rows [row][stride] of `in` -> forms */
    SLIP_CUDA_TAPS,      /* rows of the tap ring -> forms */
    SLIP_CUDA_LINEAR,    /* act * matrix -> parts of `out` */
    SLIP_CUDA_ROPE,      /* parts of QKV -> rotated queries (bf16), K and V to the cache */
    SLIP_CUDA_ATTEND,    /* queries over the cache -> forms of HEADS, or f32 rows where the form wants whole blocks */
    SLIP_CUDA_SWIGLU,    /* parts of GATE_UP -> forms of ACT */
    SLIP_CUDA_TOPK,      /* parts of the router's logits -> picks */
    SLIP_CUDA_UP,        /* experts: gate | up of the picked experts -> parts */
    SLIP_CUDA_DOWN,      /* experts: swiglu, down -> parts of each pick */
    SLIP_CUDA_SAMPLE,    /* parts of LOGITS -> each SM's candidates, or whole rows to the host */
    SLIP_CUDA_ANGLES,    /* positions of the rows -> the table of a rope */
    SLIP_CUDA_OPS
} slip_cuda_op_kind;

/* What the router picked, per row: expert ids ascending, and their weights. */
typedef struct {
    int32_t *expert; /* [rows][top_k] */
    float *weight;   /* [rows][top_k] */
} slip_cuda_picks;

/* One device op. Fields that a kind does not use are zero. A grid barrier follows every op. */
typedef struct {
    alignas(16) int32_t kind;   /* slip_cuda_op_kind; the struct is copied 16 bytes a thread */
    int32_t layer;
    int32_t first, last;        /* ops of the program that it computes: [first, last] */
    int32_t head_rows;          /* runs on the step's head rows */
    int32_t add;                /* SUM: add to x, else overwrite it */
    int32_t experts_in;         /* SUM, GATHER: `in` holds picks, to be weighted */
    int32_t early;              /* UP: the op before does not write its operands */
    int32_t hidden;             /* SUM, GATHER, SELECT, EMBED: columns of x */
    int32_t width;              /* SWIGLU, UP, DOWN: intermediate columns; ROPE, ATTEND: columns of HEADS */
    int32_t tap;                /* SUM: first column of the tap, -1 none */
    int32_t first_expert, experts; /* TOPK: all experts; UP, DOWN, SUM, GATHER: this rank's */
    int32_t top_k, norm_top_k;
    float routed_scale;
    float epsilon;
    slip_cuda_matrix matrix;    /* LINEAR, UP, DOWN */
    slip_cuda_partial in, out;
    slip_cuda_act act;          /* LINEAR, UP: operand */
    slip_cuda_act form;         /* what it writes */
    float *x;                   /* [rows][hidden] residual stream; NULL: SUM keeps no x */
    const void *table;          /* EMBED: [vocabulary rows][hidden] of table_f32 ? f32 : bf16 */
    int32_t table_f32;
    int32_t mask_token;         /* -1 none */
    const float *vector[2];     /* EMBED: mask embedding; SUM, SELECT: norm; ROPE: q and k head norms; ATTEND: sinks;
                                   TOPK: correction bias */
    int64_t vocabulary_first, vocabulary_count; /* EMBED, SAMPLE */
    slip_cuda_cache cache;      /* ROPE, ATTEND */
    uint16_t *query;            /* [rows][q_heads][k_width] bf16 */
    const float *inverse_frequency; /* ANGLES: [rotary_dim / 2] */
    float *rope_table;          /* ANGLES writes, ROPE reads: [rows][rotary_dim / 2][cosine, sine] of the step */
    int32_t rotary_dim;
    float *attend_out;          /* ATTEND: partial outputs of its items; attend_size.h has the layout of these three */
    float *attend_sum;          /* ATTEND: their maxima and sums */
    unsigned *attend_count;     /* ATTEND: arrivals at each tile, self-wrapping */
    float *heads;               /* ATTEND: f32 rows [row][width] or NULL: written besides the forms */
    slip_cuda_picks picks;
    float *taps;                /* tap ring f32 [sequence][tap_slots][tap_width]; position p lies in slot p % tap_slots */
    int32_t tap_slots, tap_width;
    slip_candidate *candidates; /* SAMPLE: [SMs][head rows] */
    float *logits;              /* SAMPLE: host-mapped [head rows][vocabulary rows] */
    int32_t exchange;           /* SUM: number of its exchange inside of the kernel in the program, 1, 2, ..; 0: none */
    int32_t gathered;           /* SUM: `in` is what the ranks gathered behind the op before, a GATHER */
    int32_t peers;              /* SUM: absent ranks whose exchange is emulated by local copies */
    float *peer_slots;          /* SUM: [peers][rows][hidden] */
} slip_cuda_op;

/* ---- the step ---- */

typedef struct {
    int32_t token;
    int32_t sequence;
    int64_t position;
    int64_t last;       /* last key it sees */
} slip_cuda_row;

typedef struct {
    int32_t row;        /* of the step */
    int32_t unused;
    int64_t position;   /* of the token that is sampled */
    uint64_t seed;
    double temperature; /* 0 = arg max */
} slip_cuda_head;

/* Rows of one sequence within one row group, at consecutive positions. */
typedef struct {
    int32_t row, count, sequence, unused;
    int64_t position;
} slip_cuda_run;

typedef struct {
    uint64_t number;
    int32_t first_op, op_count;  /* of the device's op list */
    int32_t rows, heads, runs;
    int32_t want_logits;
    int32_t stop;                /* leave the kernel */
    uint32_t epoch;              /* of the last exchange between ranks before this step */
    uint32_t serial;             /* of the steps that all ranks make together, see mail.h; 0: this rank makes it alone */
    slip_cuda_row row[SLIP_MAX_ROWS];
    slip_cuda_head head[SLIP_MAX_ROWS];
    slip_cuda_run run[SLIP_MAX_ROWS];
} slip_cuda_step;

/* ---- when a wait fails ---- */

typedef enum {
    SLIP_ROLE_PRODUCER, SLIP_ROLE_CONSUMER, SLIP_ROLE_CONTROL, SLIP_ROLES
} slip_cuda_role;

typedef enum {
    SLIP_WAIT_NONE,
    SLIP_WAIT_GRID,      /* all SMs at the end of an op */
    SLIP_WAIT_PEER,      /* another rank's part of a sum, or of a step's results */
    SLIP_WAIT_FULL,      /* a stage of weights */
    SLIP_WAIT_EMPTY,     /* room in the ring */
    SLIP_WAIT_LIST,      /* the experts' list */
    SLIP_WAIT_PASSED,    /* the consumers' end of the product before */
    SLIP_WAIT_STEP,      /* the next step */
    SLIP_WAITS
} slip_cuda_wait;

/* The first wait that failed. Written once, to host memory. */
typedef struct {
    int32_t set;               /* 1: the rest is valid */
    int32_t sm, role, wait;
    int32_t op, kind, layer;   /* of the device's list */
    int32_t peer;              /* SLIP_WAIT_PEER: the rank waited for */
    uint32_t expected, seen;
    uint64_t step;
} slip_cuda_record;

/* ---- timestamps for --profile ---- */

enum { SLIP_PROFILE_EVENTS = 2048 }; /* of a role of an SM in one step */

typedef enum {
    SLIP_EVENT_OP,       /* an op's work */
    SLIP_EVENT_BARRIER,  /* the barrier behind it */
    SLIP_EVENT_OPERANDS, /* of the work of a product: until its operands were there */
    SLIP_EVENTS
} slip_cuda_event_kind;

typedef struct {
    uint64_t start, end;       /* nanoseconds of the GPU's global timer */
    int32_t op, what;          /* device op; slip_cuda_event_kind */
} slip_cuda_event;

#ifdef __cplusplus
}
#endif

#endif
