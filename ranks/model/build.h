/* Writing programs: the model's family turns (model, placement) into the op lists of ranks/model/program.h. */
#ifndef SLIP_RANKS_MODEL_BUILD_H
#define SLIP_RANKS_MODEL_BUILD_H

#include "io/base/status.h"
#include "ranks/model/placement.h"
#include "ranks/model/program.h"

/* The target's forward pass: one phase, SLIP_PHASE_RUN. The caller frees the program. */
slip_status slip_program_target(const slip_model *model, const slip_placement *placement, slip_program *program);

/* The draft (slip_placement_draft): SLIP_PHASE_INJECT turns the taps of committed tokens into
 * context K/V, SLIP_PHASE_RUN drafts one block a span. */
slip_status slip_program_draft(const slip_model *model, const slip_placement *placement, slip_program *program);

void slip_program_free(slip_program *program);

/* "ROPE_STORE", for reports. */
const char *slip_op_name(slip_op_kind kind);

#endif
