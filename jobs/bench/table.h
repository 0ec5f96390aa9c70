/* What a benchmark of several lengths of prompt or numbers of sequences measured: a row each, as lines, JSON and plots. */
#ifndef SLIP_JOBS_BENCH_TABLE_H
#define SLIP_JOBS_BENCH_TABLE_H

#include "coordinator/metrics.h"
#include "jobs/options/options.h"

/* A length of prompt and a number of sequences. Times in milliseconds: medians, and the 99th percentile behind them. */
typedef struct {
    int64_t prompt_tokens; /* of a sequence */
    int32_t sequences;
    double tokens_per_second, tokens_per_second_per_rank; /* of steps in which all sequences decode */
    double first_token_ms, first_token_p99, between_ms, between_p99, step_ms, draft_ms, verify_ms;
    double acceptance, gb_per_second;
    double prompt_tokens_per_second, prompt_tflop_per_second; /* the second of a rank */
    json_t *measured;                                         /* owned; NULL: not wanted */
} slip_bench_row;

typedef struct {
    slip_bench_row row[SLIP_LIST_MAX * SLIP_LIST_MAX];
    int count;
    int64_t tokens;
    double work_seconds;
} slip_bench_table;

void slip_bench_table_free(slip_bench_table *table);

/* Add what was measured; `flops`: that a prompt of one sequence takes on a rank. */
void slip_bench_table_add(slip_bench_table *table, int64_t prompt_tokens, int32_t sequences, int ranks, double flops, bool json,
                          const slip_metrics *metrics);

void slip_bench_table_print(const slip_bench_table *table, FILE *out);

/* [a row: `prompt_tokens` as `prompt_tokens_per_sequence`, `sequences`, what was measured]; NULL: out of memory. The caller owns it. */
json_t *slip_bench_table_json(const slip_bench_table *table);

/* The plots, and the table below them. */
slip_status slip_bench_table_page(const slip_bench_table *table, const slip_run_facts *facts, FILE *out);

#endif
