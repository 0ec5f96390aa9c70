/* Rows of a DFlash drafter's table of weights. It has neither an embedding nor a head of its own: it reads the target's. */
#ifndef SLIP_RANKS_MODEL_DFLASH_WEIGHTS_H
#define SLIP_RANKS_MODEL_DFLASH_WEIGHTS_H

#include "ranks/model/weights.h"

enum {
    DFLASH_FC,
    DFLASH_HIDDEN_NORM,
    DFLASH_NORM,
    DFLASH_MASK_EMBEDDING,
    DFLASH_MARKOV_PREVIOUS,
    DFLASH_MARKOV_FOLLOWING,
    DFLASH_ATTN_NORM,
    DFLASH_MLP_NORM,
    DFLASH_Q,
    DFLASH_K,
    DFLASH_V,
    DFLASH_O,
    DFLASH_SINKS,
    DFLASH_Q_NORM,
    DFLASH_K_NORM,
    DFLASH_GATE,
    DFLASH_UP,
    DFLASH_DOWN,
};

extern const slip_weight_table slip_dflash_weights;

#endif
