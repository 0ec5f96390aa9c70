/* What the CPU executor owns, shared by its files: weights, buffers, K/V caches, per-step tables. */
#ifndef SLIP_KERNELS_CPU_STATE_H
#define SLIP_KERNELS_CPU_STATE_H

#include "kernels/cpu/math.h"
#include "kernels/executor.h"

/* One layer's cache: [slots of all sequences, kv_heads, padded dims]; slip_cache_first() says where a sequence's are. */
typedef struct {
    float *k, *v;
    int64_t slots;            /* of a sequence at most: slip_ring_slots() */
    int64_t k_width, v_width; /* padded head dims */
} slip_cpu_cache;

struct slip_executor {
    const slip_program *program;
    slip_limits limits;
    slip_comm *comm;
    slip_executor_options options;
    const slip_math *math;

    slip_large_pieces memory; /* of weights and caches: a step goes through all of it */
    slip_matrix *weights;     /* [tensor_count]; vectors and norms are kept as f32 rows instead */
    float **vectors;          /* [tensor_count]; NULL for matrices */

    float *buffer[SLIP_BUFFERS];  /* PARTIAL is in `partial` */
    int64_t stride[SLIP_BUFFERS]; /* columns of a row, padded to whole blocks */
    double *partial;              /* [rows, hidden], no padding */

    slip_cpu_cache cache[SLIP_MAX_LAYERS];

    float *taps;       /* [slots of all sequences, taps * hidden], as in a cache. NULL: no draft reads them */
    int64_t tap_slots; /* of a sequence at most */
    float **tap_row;   /* [rows]: where the step's rows of TAPS are, in `taps` or in the buffer */

    float *cosine[SLIP_MAX_ROPES]; /* [rows, rotary_dim / 2], of the step in hand */
    float *sine[SLIP_MAX_ROPES];
    float *inverse_frequency[SLIP_MAX_ROPES];

    const float **x_rows;     /* [rows] operands of a product */
    const double **wide_rows; /* [rows] operands of an exact product: rows of `wide` */
    double *wide;             /* [rows, heads' outputs, padded] */
    int64_t wide_stride;
    float *product; /* [rows, hidden]: partial products of a program on one rank; a row of PARTIAL to watch */
    float *rounded; /* [rows, widest operand, padded]: with round_activations */
    int64_t rounded_stride;
    float **y_rows;    /* [rows] */
    double **sum_rows; /* [rows] */
    float *gain;       /* [rows] */
    float *heads;      /* [SLIP_QUERIES, k_width + v_width]: padded query heads, and their sums of values */
    float *score;      /* [SLIP_QUERIES, score_stride]: attention scores */
    int64_t k_width, v_width, score_stride;
    float *router;  /* [rows, experts]: router logits, then scores */
    int64_t *picks; /* [SLIP_MAX_LAYERS, experts]: rows that picked each */

    float *unadjusted;           /* [SLIP_MAX_ADJUSTED] logits as they were before they were adjusted, in the order of adjustments */
    slip_likeliest *likeliest;   /* [logit rows] */
    float *previous, *following; /* [walk.rank] a row of each, of a draft with an in-block head */

    const slip_step *step; /* the step in hand */
    slip_run_cost cost;
};

/* Rows that an op works on and writes. */
static inline int32_t slip_cpu_rows(const slip_executor *executor, const slip_op *op)
{
    bool head = op->logit_rows || op->kind == SLIP_OP_SELECT;
    return head ? executor->step->logit_rows : executor->step->row_count;
}

static inline float *slip_cpu_row(const slip_executor *executor, slip_buffer buffer, int64_t row)
{
    if (buffer == SLIP_BUFFER_TAPS)
        return executor->tap_row[row];
    return executor->buffer[buffer] + row * executor->stride[buffer];
}

/* With round_activations: x_rows[0 .. rows) become rounded copies, as operands of `weight`. Otherwise nothing. */
void slip_cpu_round_rows(slip_executor *executor, const slip_matrix *weight, int32_t rows);

/* Show what an op has written to options.watch (watch.c). */
void slip_cpu_watch(slip_executor *executor, const slip_op *op);

double slip_cpu_ceiling(slip_executor *executor);

/* [count] of `size` bytes, zeroed and aligned; NULL: no memory. */
void *slip_cpu_zeros(size_t count, size_t size);

/* ---- taps.c ---- */

/* From now on `target` keeps its taps by position. */
slip_status slip_cpu_taps_open(slip_executor *target);

/* Its row of one position of the span's sequence, [taps * hidden]. */
float *slip_cpu_tap_at(const slip_executor *target, const slip_span *span, int64_t position);

/* Before the ops of a phase run on executor->step. */
void slip_cpu_taps_begin(slip_executor *executor, slip_phase phase);

void slip_cpu_rope_tables(slip_executor *executor);

/* ---- resample.c ---- */

/* What a step that is sampled `again` does before its candidates are found. */
void slip_cpu_resample(slip_executor *executor);

/* The executor's (kernels/executor.h). */
const slip_likeliest *slip_cpu_likeliest(const slip_executor *executor, int32_t row);
void slip_cpu_candidates(slip_executor *executor, const slip_step *step, slip_candidate *out);
int32_t slip_cpu_row_candidates(const slip_executor *executor, const slip_step *step);
slip_status slip_cpu_walk(slip_executor *executor, const slip_step *step, const slip_candidate *candidates, slip_candidate *drafts);

/* ---- one function an op of the program (ops.c, attention.c, experts.c); all read executor->step ---- */

#define SLIP_CPU_OP(kind, name) slip_status slip_cpu_##name(slip_executor *executor, const slip_op *op);
SLIP_OP_TABLE(SLIP_CPU_OP)
#undef SLIP_CPU_OP

#endif
