/* What the device is told to run and what it reports, as plain data: a step, the record of a wait that failed, and timestamps. */
#ifndef SLIP_KERNELS_CUDA_LAYOUT_STEP_H
#define SLIP_KERNELS_CUDA_LAYOUT_STEP_H

#include <stdbool.h>

#include "kernels/cuda/layout/buffer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Slots for steps in host memory: of the resident kernel those in flight and the one waited for last, and one for steps that are made by
 * launches. */
enum { SLIP_CUDA_STEPS = 4, SLIP_CUDA_LAUNCHED = SLIP_CUDA_STEPS, SLIP_CUDA_SLOTS };

/* Steps of more rows leave whole sums of products, not parts of them (slip_cuda_whole()): with so many rows parts cost more than they give
 * work to SMs. */
enum { SLIP_CUDA_WHOLE_ABOVE = 64 };

/* Steps of so many rows and more have dense products that take turns at the SMs, and send their sums to other ranks while they multiply (wide/send.cuh):
 * what the last turn sends is not hidden. Measured with 256, 512 and 2,048 rows: docs/speed-cuda.md. */
enum { SLIP_CUDA_SENDS_FROM = 1024 };

SLIP_BOTH static inline bool slip_cuda_sends(int32_t rows)
{
    return rows >= SLIP_CUDA_SENDS_FROM;
}

/* A step of more than one row group is made by launches, not by the resident kernel. */
SLIP_BOTH static inline bool slip_cuda_is_wide(int32_t rows)
{
    return rows > SLIP_TOKENS;
}

/* ---- the step ---- */

typedef struct {
    int32_t token;
    int32_t sequence;
    int64_t position;
    int32_t last; /* last key it sees */
    int32_t base; /* that of its span */
} slip_cuda_row;

typedef struct {
    int16_t row;       /* of the step */
    int16_t histogram; /* 1: filters apply to it, and its histogram is wanted */
    int32_t
        open; /* tokens in bins >= this take part (ranks/model/sampling/histogram.h); SLIP_NO_BINS: the row is left out. Where a step wants
                          SLIP_WANT_LIKELIEST the token whose logit is asked for */
    int64_t position; /* of the token that is sampled */
    uint64_t seed;
    double temperature; /* 0 = arg max */
} slip_cuda_logit_row;

/* Rows of one sequence within one row group, at consecutive positions. A sequence's rows follow one another, so each border between two of a
 * step's sequences adds at most one run to those of the groups. */
enum { SLIP_MAX_RUNS = SLIP_MAX_ROWS / SLIP_TOKENS + SLIP_MAX_SPANS };

typedef struct {
    int32_t row, count, sequence, base;
    int64_t position;
} slip_cuda_run;

typedef struct {
    uint64_t number;
    int32_t first_op, op_count; /* of the device's op list */
    int32_t rows, logit_rows, runs;
    int32_t want;       /* slip_want */
    int32_t stop;       /* leave the kernel */
    uint32_t epoch;     /* of the last exchange between ranks before this step */
    uint32_t serial;    /* of the steps that all ranks make together, see mail.h; 0: this rank makes it alone */
    int32_t split_runs; /* a ROPE leaves all rows in the cache before any of them attends, as it must where a sequence has several runs */
    int32_t adjust;     /* slip_adjust; its list lies in the host's memory, and only steps that no other rank hands us have one */
    int32_t unused;
    slip_cuda_row row[SLIP_MAX_ROWS];
    slip_cuda_logit_row logit_row[SLIP_MAX_LOGIT_ROWS];
    slip_cuda_run run[SLIP_MAX_RUNS];
} slip_cuda_step;

/* ---- what a step adjusts, in host memory ---- */

typedef struct {
    slip_sampling sampling;
    int32_t first, count;          /* of the list */
    int32_t logit_row, logit_rows; /* that change */
    int32_t row;                   /* of the step: the first of these */
    int32_t saved;                 /* where the first one's logits go as they were: a row of [logit_rows] an adjustment */
} slip_cuda_adjusted_span;

typedef struct {
    int64_t spans;
    slip_cuda_adjusted_span span[SLIP_MAX_SPANS];
    slip_adjustment adjustment[SLIP_MAX_ADJUSTMENTS];
} slip_cuda_adjusting;

/* ---- when a wait fails ---- */

typedef enum { SLIP_ROLE_PRODUCER, SLIP_ROLE_CONSUMER, SLIP_ROLE_CONTROL, SLIP_ROLES } slip_cuda_role;

typedef enum {
    SLIP_WAIT_NONE,
    SLIP_WAIT_GRID,   /* all SMs at the end of an op */
    SLIP_WAIT_PEER,   /* another rank's part of a sum, or of a step's results */
    SLIP_WAIT_FULL,   /* a stage of weights */
    SLIP_WAIT_EMPTY,  /* room in the ring */
    SLIP_WAIT_LIST,   /* the experts' list */
    SLIP_WAIT_PASSED, /* the consumers' end of the product before */
    SLIP_WAIT_STEP,   /* the next step */
    SLIP_WAIT_LOGITS, /* all parts of a router's logits */
    SLIP_WAIT_PICKS,  /* what a row picked */
    SLIP_WAITS
} slip_cuda_wait;

/* The first wait that failed. Written once, to host memory. */
typedef struct {
    int32_t set; /* 1: the rest is valid */
    int32_t sm, role, wait;
    int32_t op, kind, layer; /* of the device's list */
    int32_t peer;            /* SLIP_WAIT_PEER: the rank waited for */
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
    uint64_t start, end; /* nanoseconds of the GPU's global timer */
    int32_t op, what;    /* device op; slip_cuda_event_kind */
} slip_cuda_event;

#ifdef __cplusplus
}
#endif

#endif
