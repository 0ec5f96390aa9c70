/* A step as a message: what to do with it, and the used part of a slip_step, packed. */
#ifndef SLIP_RANKS_WIRE_H
#define SLIP_RANKS_WIRE_H

#include "io/base/status.h"
#include "ranks/model/program.h"

/* What rank 0 tells the others to do. All ranks run the same sequence of programs. */
typedef enum {
    SLIP_ORDER_TARGET,
    SLIP_ORDER_INJECT, /* the draft, cut over the ranks: its two phases */
    SLIP_ORDER_DRAFT,
    SLIP_ORDER_IDLE, /* nothing, for now; the step is empty */
    SLIP_ORDER_END,  /* nothing, ever again */
    SLIP_ORDERS
} slip_order;

/* The most bytes a packed step takes. */
size_t slip_wire_room(void);

/* Pack into `out` [slip_wire_room()]; returns the bytes used. */
size_t slip_wire_pack(slip_order order, const slip_step *step, unsigned char *out);

/* SLIP_ERR_FAILED when `size` bytes are not a packed step. Its adjustments come to `adjustments` [SLIP_MAX_ADJUSTMENTS]. */
slip_status slip_wire_unpack(const unsigned char *bytes, size_t size, slip_order *order, slip_step *step, slip_adjustment *adjustments);

/* The logit rows of a step of which more than a candidate travels, in order; returns how many. */
int32_t slip_wire_rows(const slip_step *step, int32_t rows[static SLIP_MAX_LOGIT_ROWS]);

#endif
