/* Members of a config that nobody reads. One that is not known may change what the model says, so it is refused by name unless its
 * value asks for nothing: null, false, 0, or something empty.
 */
#ifndef SLIP_RANKS_MODEL_CONFIG_KNOWN_H
#define SLIP_RANKS_MODEL_CONFIG_KNOWN_H

#include "ranks/model/config/field.h"

/* Refuse every member that is not among `read` (NULL at its end), which the caller reads, nor among those that are known to leave
 * the text alone: names, training, other modalities. */
void slip_field_refuse_unknown(const slip_fields *fields, const char *const *read);

#endif
