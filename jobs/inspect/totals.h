/* What inspect counts, and its form as JSON. Private to jobs/inspect/. */
#ifndef SLIP_JOBS_INSPECT_TOTALS_H
#define SLIP_JOBS_INSPECT_TOTALS_H

#include <jansson.h>

#include "io/checkpoint/checkpoint.h"
#include "jobs/options/options.h"
#include "ranks/plan.h"

typedef struct {
    int64_t parameters;
    int64_t codes[SLIP_DTYPES], scales[SLIP_DTYPES]; /* bytes of weights of a type, and of their scales */
    int64_t parts[SLIP_READS];                       /* bytes of both by what they are for */
} slip_inspect_totals;

enum { SLIP_INSPECT_CONTEXTS = 6 };

/* What inspect --ranks shows. */
typedef struct {
    int32_t ranks, slices, fullest;
    const char *device; /* whose memory it is */
    const slip_executor_kind *kind;
    double memory;              /* bytes a rank has */
    int32_t chunk;              /* rows of prompts in a step */
    slip_rank_plan *rank;       /* [ranks], with one short sequence; malloc'ed */
    int64_t kv_bytes_per_token; /* of global layers, on all ranks together */
    int contexts;
    int64_t context[SLIP_INSPECT_CONTEXTS];   /* lengths of sequences ... */
    int32_t sequences[SLIP_INSPECT_CONTEXTS]; /* ... and how many of each fit, up to SLIP_MAX_SPANS */
    int32_t at_once;                          /* sequences that batch --sequences auto takes for requests of up to the model's limit ... */
    int64_t kv_tokens;                        /* ... and the tokens of K/V that they share; 0: nothing fits */
} slip_inspect_placement;

/* What a part of the bytes is called. */
const char *slip_inspect_part(slip_weight_read part);

/* The arithmetic of plan, for --ranks, --device and --memory. The caller frees placement->rank. */
slip_status slip_inspect_place(const slip_source *source, const slip_options *options, slip_inspect_placement *placement);
double slip_inspect_bytes(const slip_rank_plan *rank);
void slip_inspect_print_placement(const slip_model *model, const slip_inspect_placement *placement);

/* Add the members to `object`. Without --ranks `placement` is NULL. */
slip_status slip_inspect_json(const slip_source *source, const slip_inspect_totals *target, const slip_inspect_totals *draft,
                              const slip_inspect_placement *placement, json_t *object);

#endif
