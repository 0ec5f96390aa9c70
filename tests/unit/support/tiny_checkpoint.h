/* MPI as a world of one, and a golden fixture converted into a temporary checkpoint: group setups for cmocka. */
#ifndef TESTS_UNIT_TINY_CHECKPOINT_H
#define TESTS_UNIT_TINY_CHECKPOINT_H

#include "comm/comm.h"
#include "ranks/load/shard.h"

/* *state is the slip_comm. */
int tiny_comm_start(void **state);
int tiny_comm_finish(void **state);

typedef struct {
    slip_comm *comm;
    char path[64];
    slip_source source;
} tiny_checkpoint;

/* tests/golden/forward/fixtures/NAME converted and opened. One at a time; *state is the tiny_checkpoint. */
int tiny_checkpoint_open(void **state, const char *name);
int tiny_checkpoint_close(void **state);

/* Another fixture in its place, for a test that goes through several: MPI starts but once in a process. `drafter`: a folder in the fixture's; NULL:
 * dflash. */
slip_status tiny_checkpoint_change(tiny_checkpoint *c, const char *name, const char *drafter);

#endif
