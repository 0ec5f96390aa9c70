/* The MiMo-V2 family (Flash, Pro, V2.5 and V2.6): hybrid attention, a sigmoid router, DFlash drafters. Only this folder includes
 * it. */
#ifndef SLIP_RANKS_MODEL_MIMO_V2_MIMO_V2_H
#define SLIP_RANKS_MODEL_MIMO_V2_MIMO_V2_H

#include "ranks/model/family.h"

/* The parts of the family's table, slip_mimo_v2, each described where it is written: config.c, program.c, shapes.c. The chat's is in chat.h. */
void slip_mimo_v2_parse(const slip_fields *fields, slip_model *model);
slip_status slip_mimo_v2_program(const slip_model *model, const slip_placement *placement, slip_program *program);
extern const slip_shape slip_mimo_v2_shapes[];

#endif
