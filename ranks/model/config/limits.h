/* The largest values a config may ask for. With them every product of a tensor's sizes stays below 2^63. */
#ifndef SLIP_RANKS_MODEL_CONFIG_LIMITS_H
#define SLIP_RANKS_MODEL_CONFIG_LIMITS_H

enum {
    SLIP_MAX_WIDTH = 1 << 18, /* hidden sizes and intermediate sizes */
    SLIP_MAX_HEADS = 1024,
    SLIP_MAX_HEAD_DIM = 1024,
    SLIP_MAX_VOCABULARY = 1 << 22,
    SLIP_MAX_POSITIONS = 1 << 27,
};

#endif
