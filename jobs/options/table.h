/* What there is to say on the command line. Private to jobs/options/ and jobs/pages/. */
#ifndef SLIP_JOBS_OPTIONS_TABLE_H
#define SLIP_JOBS_OPTIONS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "jobs/options/options.h"

typedef enum {
    OPTION_TEXT,   /* const char *, not empty */
    OPTION_SOURCE, /* the same, of what is worked on: given twice, one of them would be ignored */
    OPTION_INT,    /* int64_t within min..max */
    OPTION_SEED,   /* uint64_t: any integer that a request's line may have, those of 64 bits with a sign */
    OPTION_COUNT,  /* int64_t within min..max, or 0 for "auto" */
    OPTION_LIST,   /* slip_list, each within min..max */
    OPTION_REAL,   /* double within min..max */
    OPTION_CHOICE, /* int, 1 for the first word of `argument`, words separated by '|' */
    OPTION_SHAPE,  /* const char *, one of slip_shape_names() */
    OPTION_SHARD,  /* slip_shard, at most `max` shards */
    OPTION_FLAG,   /* bool, takes no argument */
} option_kind;

typedef struct {
    const char *name; /* without the dashes */
    char letter;      /* 0 = none */
    option_kind kind;
    const char *argument; /* its name in the help; the words of a choice; NULL for a flag */
    unsigned commands;    /* bits 1 << slip_command; a name may have several rows for different commands */
    size_t offset;        /* of the field in slip_options */
    double min, max;      /* of a number, both inclusive and exact in a double */
    const char *preset;   /* the default as a user would type it; NULL = 0, false or not given */
    const char *help;     /* "\n" goes on in the help's second column */
} option_row;

extern const option_row slip_option_rows[];
extern const size_t slip_option_row_count;

typedef struct {
    const char *name;
    const char *operands; /* what is typed without an option; "" for none */
    int operand_count;    /* -1: one or more */
    const char *usage;    /* what must be typed, after the name */
    const char *purpose;  /* one line */
    const char *examples; /* lines to paste */
} command_row;

/* The name of an option's argument in the help, or its words. */
const char *slip_option_argument(const option_row *row);

extern const command_row slip_command_rows[SLIP_COMMANDS]; /* by slip_command; [0] is the program itself */

/* Is one process all that the command wants? Others can be started by mpirun. */
bool slip_command_runs_alone(int command);

#endif
