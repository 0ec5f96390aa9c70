/* The command line: `slipstream COMMAND [options]` -> slip_options.
 *
 * One table of options (jobs/options/table.c) makes the parser and --help. Every number is checked against its range here,
 * and so is what must be given together or not together: nobody asks again. Nothing is printed: all ranks parse,
 * rank 0 speaks.
 */
#ifndef SLIP_JOBS_OPTIONS_OPTIONS_H
#define SLIP_JOBS_OPTIONS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/base/status.h"
#include "ranks/model/sampling/sampling.h"

/* The commands, a row each, in the order of --help; jobs/options/commands.h declares the functions, jobs/main.c calls them:
 *     TOGETHER(NAME, function)  all ranks load a model, and work on it
 *     ALONE(NAME, function)     one process is all that it wants; of several, rank 0
 *     SPREAD(NAME)              all ranks, without a model; jobs/main.c knows how */
/* clang-format off */
#define SLIP_COMMAND_TABLE(TOGETHER, ALONE, SPREAD) \
    TOGETHER(GENERATE, slip_generate) \
    TOGETHER(BATCH, slip_batch) \
    TOGETHER(BENCH, slip_bench) \
    TOGETHER(SCORE, slip_score) \
    SPREAD(CONVERT) \
    ALONE(INSPECT, slip_inspect) \
    ALONE(PLAN, slip_plan) \
    ALONE(REPORT, slip_report_trace) \
    ALONE(MERGE, slip_merge)
/* clang-format on */

typedef enum {
    SLIP_COMMAND_NONE, /* only with help or version */
#define SLIP_COMMAND_NUMBER(NAME, ...) SLIP_COMMAND_##NAME,
    SLIP_COMMAND_TABLE(SLIP_COMMAND_NUMBER, SLIP_COMMAND_NUMBER, SLIP_COMMAND_NUMBER)
#undef SLIP_COMMAND_NUMBER
        SLIP_COMMANDS
} slip_command;

/* Values of options that name one of a few things, in the order of the table's words; 0 = not given. */
enum { SLIP_DEVICE_CPU = 1, SLIP_DEVICE_CUDA, SLIP_DEVICE_H100, SLIP_DEVICE_H200 }; /* the last two: inspect alone */
enum { SLIP_ENGINE_PERSISTENT = 1, SLIP_ENGINE_LAUNCH };
enum { SLIP_DRAFT_ON_ONE = 1, SLIP_DRAFT_ON_ALL }; /* 0: by the device, jobs/job.c */
enum { SLIP_EXPERTS_MXFP4 = 1, SLIP_EXPERTS_KEEP };
enum { SLIP_FILES_BY_SIZE = 1, SLIP_FILES_ONE, SLIP_FILES_LAYERS };

/* "i/N": i from 0, below N. */
typedef struct {
    int64_t index, count; /* count 0: not given */
} slip_shard;

/* "N,N,...": whole numbers in the order typed. */
enum { SLIP_LIST_MAX = 16 };
typedef struct {
    int64_t value[SLIP_LIST_MAX];
    int count; /* 0: not given */
} slip_list;

/* Strings point into argv (NULL = not given). A field that a command has no option for is 0. */
typedef struct {
    slip_command command;
    bool help, version; /* asked for: then nothing else was checked */

    const char *model;             /* -m; or the operand: what inspect and report read, and convert writes */
    const char *source;            /* convert: the folder to read */
    const char *prompt;            /* generate: always there; bench: NULL = one of its own */
    const char *input;             /* batch, merge -i; "-" = standard input */
    const char *served_model_name; /* batch: names, with commas between them */
    const char *chat_template;     /* batch: a name; NULL = the model's own */
    const char *output;            /* batch, merge -o; batch: "-" = standard output */
    char *const *operands;         /* merge: files of results, operand_count of them */
    int operand_count;
    const char *trace;      /* batch: .h5 to write */
    const char *metrics;    /* batch: file for Prometheus */
    const char *text, *ids; /* score: exactly one of them */
    const char *logits;     /* score: .h5 to write */
    const char *trace_ops;  /* generate, score: .h5 to write */
    const char *profile;    /* bench: file to write */
    const char *html;       /* report, bench: page to write */
    const char *shape;      /* bench, plan: one of slip_shape_names() */
    const char *draft;      /* convert: folder of the drafter; NULL = look beside the source */

    int64_t max_tokens;       /* to make; batch: for lines that do not say, 0 = what the context leaves */
    slip_sampling sampling;   /* batch: for lines that do not say */
    int64_t sequences;        /* batch: 0 = auto, or not given */
    int64_t kv_tokens;        /* batch: 0 = not given */
    int64_t context;          /* tokens a sequence may hold, prompt included; 0 = not given */
    int64_t expert_slices;    /* 0 = what the plan finds fastest */
    double deadline;          /* seconds a rank waits for another */
    double memory;            /* plan, inspect: GB a rank has; 0 = the device's */
    double step_budget;       /* batch: milliseconds; 0 = not given */
    double drain;             /* batch: seconds for what is in flight when a signal comes; 0 = as long as it takes */
    slip_shard shard;         /* batch: which part of the requests */
    double acceptance;        /* bench: forced acceptance length; 0 = the draft's own */
    int64_t distinct_experts; /* bench --shape: that a block touches; 0 = as random routers pick */
    int64_t shard_of;         /* bench --shape: run one shard of this many; 0 = a shard a rank */
    int64_t layers;           /* bench --shape: only the first so many; 0 = all */
    slip_list lengths;        /* bench: of made-up prompts, one after the other */
    slip_list batches;        /* bench: sequences to decode at once, one after the other */
    int64_t ranks;            /* plan, inspect */
    int64_t for_gpus;         /* convert: pack for so many; 0 = not given */
    int64_t window;           /* convert: keys that a query of a sliding layer sees; 0 = not given */

    uint64_t given[2];                               /* a bit a row of the table: what was typed, see slip_options_given() */
    int device, engine, draft_ranks, experts, files; /* of the enums above */
    bool dry_run, no_draft, always_draft, round_activations, json, quiet, resume, ok_if_some_fail;
} slip_options;

/* Parse a command line. SLIP_ERR_INPUT: wrong use; slip_cause() says what, and which --help to read. *options is
 * set on success and borrows from argv, whose order may change. */
slip_status slip_options_parse(int argc, char **argv, slip_options *options);

/* Was this option typed, or is its value the default? `name` is one of the command's, without dashes. */
bool slip_options_given(const slip_options *options, const char *name);

/* Write the help of a command, or of the program for SLIP_COMMAND_NONE. */
void slip_options_help(slip_command command, FILE *stream);

/* "generate", ...; "" for SLIP_COMMAND_NONE. */
const char *slip_command_name(slip_command command);

#endif
