/* A shard's weights from where they come fastest: packed beside the model, or else the model itself. */
#ifndef SLIP_RANKS_LOAD_FETCH_H
#define SLIP_RANKS_LOAD_FETCH_H

#include "ranks/load/packed.h"

/* All tensors are placed. Lockstep over `comm`, NULL where this rank is alone with its program: packed weights serve all ranks or none. Packed
 * ones that do not do are passed over, with a line that says why. */
slip_status slip_shard_fetch(slip_comm *comm, const slip_packed_shard *shard);

#endif
