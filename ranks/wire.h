/* A step as a message: the used part of a slip_step, packed. */
#ifndef SLIP_RANKS_WIRE_H
#define SLIP_RANKS_WIRE_H

#include "io/status.h"
#include "ranks/program.h"

/* The most bytes a packed step takes. */
size_t slip_wire_room(void);

/* Pack into `out` [slip_wire_room()]; returns the bytes used. */
size_t slip_wire_pack(const slip_step *step, unsigned char *out);

/* SLIP_ERR_FAILED when `size` bytes are not a packed step. */
slip_status slip_wire_unpack(const unsigned char *bytes, size_t size, slip_step *step);

#endif
