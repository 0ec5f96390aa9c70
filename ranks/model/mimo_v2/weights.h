/* Rows of the family's table of weights. Only this folder includes it. */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_WEIGHTS_H
#define SLIP_RANKS_MODEL_MIMO_V2_WEIGHTS_H

#include "ranks/model/weights.h"

enum {
    MIMO_EMBED,
    MIMO_HEAD,
    MIMO_NORM,
    MIMO_ATTN_NORM,
    MIMO_MLP_NORM,
    MIMO_QKV,
    MIMO_Q,
    MIMO_K,
    MIMO_V,
    MIMO_O,
    MIMO_SINKS,
    MIMO_ROUTER,
    MIMO_ROUTER_BIAS,
    MIMO_EXPERTS_GATE,
    MIMO_EXPERTS_UP,
    MIMO_EXPERTS_DOWN,
    MIMO_GATE,
    MIMO_UP,
    MIMO_DOWN,
};

extern const slip_weight_table slip_mimo_v2_weights;

#endif
