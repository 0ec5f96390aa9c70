#include "ranks/results.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/activity/activity.h"
#include "ranks/model/placement.h"
#include "ranks/model/sampling/sample.h"
#include "ranks/wire.h"

static slip_range vocabulary_of(const slip_results *results, int rank)
{
    return slip_placement_piece(results->vocabulary, 1, results->shards, rank);
}

static int rank_of(const slip_results *results)
{
    return results->comm ? slip_comm_rank(results->comm) : 0;
}

static bool is_alone(const slip_results *results)
{
    return !results->comm || slip_comm_ranks(results->comm) == 1;
}

slip_status slip_results_alloc(slip_results *results, int32_t logit_rows)
{
    const size_t rows = (size_t)logit_rows, vocabulary = (size_t)results->vocabulary;
    const size_t share = vocabulary / (size_t)results->shards + 1;
    const size_t candidates = rows * (results->walks ? SLIP_SLICES : 1);
    results->candidates = malloc(candidates * sizeof *results->candidates);
    results->received = malloc(candidates * sizeof *results->received);
    bool ok = results->candidates && results->received;
    if (results->walks)
        ok = ok && (results->drafts = malloc(rows * sizeof *results->drafts)) != NULL;
    if (!results->draft)
        ok = ok && (results->share = malloc(rows * share * sizeof(float))) != NULL;
    if (!results->draft && rank_of(results) == 0)
        ok = ok && (results->logits = malloc(rows * vocabulary * sizeof(float))) != NULL;
    if (!results->draft && results->kind->histogram && !is_alone(results))
        ok = ok && (results->histograms = malloc(rows * sizeof *results->histograms)) != NULL &&
             (results->arrived = malloc(rows * sizeof *results->arrived)) != NULL;
    if (!results->draft && results->kind->likeliest)
        ok = ok && (results->likeliest = malloc(rows * sizeof *results->likeliest)) != NULL &&
             (results->arrived_likeliest = malloc(rows * sizeof *results->arrived_likeliest)) != NULL;
    return ok ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "out of memory for the logits of %zu rows", rows);
}

void slip_results_free(slip_results *results)
{
    free(results->candidates);
    free(results->received);
    free(results->drafts);
    free(results->logits);
    free(results->share);
    free(results->histograms);
    free(results->arrived);
    free(results->likeliest);
    free(results->arrived_likeliest);
}

bool slip_results_collected(const slip_results *results, const slip_step *step)
{
    return slip_executor_device_collects(results->kind, results->executor, step);
}

/* ---- whole rows ---- */

static size_t logits_bytes(const slip_results *results, const slip_step *step, int rank)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS];
    return (size_t)slip_wire_rows(step, rows) * (size_t)vocabulary_of(results, rank).count * sizeof(float);
}

/* Our rows of the head, one after the other without padding. */
static void pack_logits(slip_results *results, const slip_step *step)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    int64_t count = vocabulary_of(results, rank_of(results)).count;
    for (int32_t i = 0; i < wanted; i++)
        memcpy(results->share + i * count, results->kind->row(results->executor, SLIP_BUFFER_LOGITS, rows[i]),
               (size_t)count * sizeof(float));
}

static void unpack_logits(slip_results *results, const slip_step *step, int from)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    slip_range theirs = vocabulary_of(results, from);
    for (int32_t i = 0; i < wanted; i++)
        memcpy(results->logits + rows[i] * (int64_t)results->vocabulary + theirs.first, results->share + i * theirs.count,
               (size_t)theirs.count * sizeof(float));
}

static slip_status send_logits(slip_results *results, const slip_step *step)
{
    pack_logits(results, step);
    return slip_comm_send(results->comm, results->share, logits_bytes(results, step, rank_of(results)), "sending logits");
}

static slip_status collect_logits(slip_results *results, const slip_step *step, int from, const char *what)
{
    slip_status status = slip_comm_receive(results->comm, from, results->share, logits_bytes(results, step, from), what);
    if (status == SLIP_OK)
        unpack_logits(results, step, from);
    return status;
}

/* ---- what logprobs need ---- */

static slip_status send_likeliest(slip_results *results, const slip_step *step)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    for (int32_t i = 0; i < wanted; i++)
        results->likeliest[i] = *results->kind->likeliest(results->executor, rows[i]);
    return slip_comm_send(results->comm, results->likeliest, (size_t)wanted * sizeof *results->likeliest, "sending the likeliest tokens");
}

static void take_likeliest(slip_results *results, const slip_step *step)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    for (int32_t i = 0; i < wanted; i++)
        results->likeliest[rows[i]] = *results->kind->likeliest(results->executor, rows[i]);
}

static slip_status collect_likeliest(slip_results *results, const slip_step *step, int from, const char *what)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    const size_t bytes = (size_t)wanted * sizeof *results->arrived_likeliest;
    slip_status status = slip_comm_receive(results->comm, from, results->arrived_likeliest, bytes, what);
    for (int32_t i = 0; i < wanted && status == SLIP_OK; i++)
        slip_likeliest_add(&results->likeliest[rows[i]], &results->arrived_likeliest[i]);
    return status;
}

/* ---- candidates and histograms ---- */

static size_t candidate_count(const slip_results *results, const slip_step *step)
{
    return (size_t)step->logit_rows * (size_t)slip_executor_row_candidates(results->kind, results->executor, step);
}

static void find_candidates(slip_results *results, const slip_step *step)
{
    slip_activity_op(-1, "SAMPLE");
    results->kind->candidates(results->executor, step, results->candidates);
}

static slip_status send_candidates(slip_results *results, const slip_step *step)
{
    if (step->logit_rows == 0 || slip_results_collected(results, step))
        return SLIP_OK;
    find_candidates(results, step);
    const size_t bytes = candidate_count(results, step) * sizeof *results->candidates;
    return slip_comm_send(results->comm, results->candidates, bytes, "sending candidates");
}

static slip_status collect_candidates(slip_results *results, const slip_step *step, int from, const char *what)
{
    if (step->logit_rows == 0 || slip_results_collected(results, step))
        return SLIP_OK;
    const size_t count = candidate_count(results, step);
    slip_status status = slip_comm_receive(results->comm, from, results->received, count * sizeof *results->received, what);
    for (size_t i = 0; i < count && status == SLIP_OK; i++)
        results->candidates[i] = slip_candidate_better(results->candidates[i], results->received[i]);
    return status;
}

static slip_status send_histograms(slip_results *results, const slip_step *step)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    for (int32_t i = 0; i < wanted; i++)
        results->histograms[i] = *results->kind->histogram(results->executor, rows[i]);
    return wanted == 0
               ? SLIP_OK
               : slip_comm_send(results->comm, results->histograms, (size_t)wanted * sizeof *results->histograms, "sending histograms");
}

/* A rank that is alone reads its own where they are: those of 32 blocks are 2 MB. */
static void take_histograms(slip_results *results, const slip_step *step)
{
    if (is_alone(results)) {
        if (!results->draft && results->kind->histogram)
            results->whole = results->kind->histogram(results->executor, 0);
        return;
    }
    results->whole = results->histograms;
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    for (int32_t i = 0; i < wanted; i++)
        results->histograms[rows[i]] = *results->kind->histogram(results->executor, rows[i]);
}

static slip_status collect_histograms(slip_results *results, const slip_step *step, int from, const char *what)
{
    int32_t rows[SLIP_MAX_LOGIT_ROWS], wanted = slip_wire_rows(step, rows);
    if (wanted == 0)
        return SLIP_OK;
    slip_status status = slip_comm_receive(results->comm, from, results->arrived, (size_t)wanted * sizeof *results->arrived, what);
    for (int32_t i = 0; i < wanted && status == SLIP_OK; i++)
        slip_histogram_add(&results->histograms[rows[i]], &results->arrived[i]);
    return status;
}

/* ---- a run's ---- */

slip_status slip_results_send(slip_results *results, const slip_step *step)
{
    if (step->logit_rows > 0 && step->want == SLIP_WANT_LOGITS)
        return send_logits(results, step);
    if (step->want == SLIP_WANT_LIKELIEST)
        return send_likeliest(results, step);
    slip_status status = send_candidates(results, step);
    return status == SLIP_OK ? send_histograms(results, step) : status;
}

void slip_results_take(slip_results *results, const slip_step *step)
{
    if (step->logit_rows > 0 && step->want == SLIP_WANT_LOGITS) {
        pack_logits(results, step);
        unpack_logits(results, step, 0);
    } else if (step->want == SLIP_WANT_LIKELIEST) {
        take_likeliest(results, step);
    } else {
        find_candidates(results, step);
        take_histograms(results, step);
    }
}

slip_status slip_results_collect(slip_results *results, const slip_step *step, int from, const char *what)
{
    if (step->logit_rows > 0 && step->want == SLIP_WANT_LOGITS)
        return collect_logits(results, step, from, what);
    if (step->want == SLIP_WANT_LIKELIEST)
        return collect_likeliest(results, step, from, what);
    slip_status status = collect_candidates(results, step, from, what);
    return status == SLIP_OK ? collect_histograms(results, step, from, what) : status;
}

slip_status slip_results_finish(slip_results *results, const slip_step *step)
{
    results->best = results->candidates;
    if (slip_executor_row_candidates(results->kind, results->executor, step) == 1)
        return SLIP_OK;
    results->best = results->drafts;
    return results->kind->walk(results->executor, step, results->candidates, results->drafts);
}
