/* A model family: what the rest of the program has to know of one, as a table of data and functions. A folder of ranks/model/
 * holds a family, ranks/model/families.def lists them, and nobody else names one.
 */
#ifndef SLIP_RANKS_MODEL_FAMILY_H
#define SLIP_RANKS_MODEL_FAMILY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "io/base/status.h"
#include "ranks/model/chat/answer.h"
#include "ranks/model/chat/template.h"
#include "ranks/model/config/field.h"
#include "ranks/model/placement.h"
#include "ranks/model/program.h"
#include "ranks/model/weights.h"

/* A published shape as data, for planning and benchmarks without a checkpoint. */
typedef struct {
    const char *name; /* what --shape calls it; NULL ends the list */
    void (*make)(slip_model *model);
} slip_shape;

typedef struct slip_family {
    /* Values of model_type in config.json that are this family's; NULL ends the list. */
    const char *const *model_types;

    /* The target's config; model_type is one of the above. Every value is checked against ranks/model/config/limits.h and for
     * consistency (divisibility, lengths of lists); what would change the result and is not implemented is refused by name. */
    void (*parse)(const slip_fields *fields, slip_model *model);

    /* The drafter's config, added to a parsed target. NULL: the family has no drafter. */
    slip_status (*parse_draft)(const char *json, size_t size, const char *source, slip_model *model);

    /* The target's weights, and the drafter's where there is one. `embed` and `head` are the rows that a drafter reads too. */
    const slip_weight_table *weights, *draft_weights;
    int32_t embed, head;

    /* As slip_program_target() and slip_program_draft() in ranks/model/build.h. */
    slip_status (*program_target)(const slip_model *model, const slip_placement *placement, slip_program *program);
    slip_status (*program_draft)(const slip_model *model, const slip_placement *placement, slip_program *program);

    /* Its templates, the first being that of a checkpoint without a record of one, and the texts that they are known by. NULL: it has no
     * template, and none of what follows. */
    const slip_chat_template *chat_templates;
    const slip_chat_text *chat_texts;

    /* Read what it answers, as ranks/model/chat/answer.h says. */
    void (*answer_feed)(slip_chat_answer *answer, const char *text, size_t size);
    void (*answer_finish)(slip_chat_answer *answer);

    const slip_shape *shapes; /* NULL: none */
} slip_family;

/* All of them, NULL at the end. */
extern const slip_family *const slip_families[];

/* config.json to a model of the family that its model_type names. `source` names the file in errors; *model is set on success.
 * model->has_draft is false afterwards. */
slip_status slip_config_parse(const char *json, size_t size, const char *source, slip_model *model);

/* A drafter's config.json, added to a parsed target: has_draft becomes true. model->draft.mask_embedding is left false: the
 * checkpoint decides. */
slip_status slip_config_parse_draft(const char *json, size_t size, const char *source, slip_model *model);

/* Make the shape of this name; false when no family has it. */
bool slip_shape_make(const char *name, slip_model *model);

/* The names of all shapes, "flash|pro". */
const char *slip_shape_names(void);

/* Keep the first `layers` layers, 1 .. model->layers. Taps of the others move to the last one that is left. */
void slip_shape_cut(slip_model *model, int32_t layers);

#endif
