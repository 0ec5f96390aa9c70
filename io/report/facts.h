/* What identifies a run that loads a model, and the keys of --json that all such runs share (docs/json.md). */
#ifndef SLIP_IO_REPORT_FACTS_H
#define SLIP_IO_REPORT_FACTS_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

enum { SLIP_FACTS_EMULATED = 5 }; /* at most */

/* Strings and arrays are borrowed. */
typedef struct {
    const char *command;
    int argc;
    char **argv;
    const char *device, *model;
    int ranks;
    const char *(*host)(const void *context, int rank);
    const void *context;
    const int64_t *peak_bytes; /* [ranks]: the most memory that each rank's process has held; NULL: unknown */
    int expert_slices;
    int64_t requests, failed, unfinished;
    double seconds; /* since the command began */
    const char *emulated[SLIP_FACTS_EMULATED];
    int emulated_count;
} slip_run_facts;

/* The lines that begin and end a run's figures: what ran where, and what of it was not real. */
void slip_facts_print(const slip_run_facts *facts, FILE *out);
void slip_facts_print_emulated(const slip_run_facts *facts, FILE *out);

/* NULL: out of memory. The caller owns it. */
json_t *slip_facts_json(const slip_run_facts *facts);

#endif
