/* The CPU's executor in the manner of one whose device filters (kernels/executor.h): histograms of rows, and sampling again from the logits
 * that a step left. One target a process. */
#ifndef TESTS_UNIT_FILTER_DEVICE_H
#define TESTS_UNIT_FILTER_DEVICE_H

#include <math.h>

#include "kernels/executor.h"
#include "ranks/model/sampling/sample.h"

static struct {
    slip_range vocabulary; /* this rank's, of the target */
    slip_histogram histograms[SLIP_MAX_LOGIT_ROWS];
    int64_t histogram_rows, drawn_again, fetched, changed_or_told; /* rows so far */
} filter_device;

static inline slip_status filter_device_create(const slip_program *program, const slip_limits *limits, slip_comm *comm,
                                               const slip_executor_options *options, slip_executor **executor)
{
    slip_status status = slip_executor_cpu.create(program, limits, comm, options, executor);
    if (status == SLIP_OK && (!options || !options->target))
        filter_device.vocabulary = program->vocabulary;
    return status;
}

static inline void filter_device_fill(slip_executor *executor, const slip_span *span, int32_t row)
{
    const float *logits = slip_executor_cpu.row(executor, SLIP_BUFFER_LOGITS, row);
    float highest = -INFINITY;
    for (int64_t i = 0; i < filter_device.vocabulary.count; i++)
        highest = fmaxf(highest, logits[i]);
    slip_histogram_fill(logits, filter_device.vocabulary.count, highest, span->sampling.temperature, &filter_device.histograms[row]);
    filter_device.histogram_rows++;
}

static inline slip_status filter_device_begin(slip_executor *executor, slip_phase phase, const slip_step *step)
{
    const bool plain = step->again && !step->adjust && step->want != SLIP_WANT_LIKELIEST;
    for (int32_t row = 0; step->again && row < step->logit_rows; row++)
        *(!plain                           ? &filter_device.changed_or_told
          : step->want == SLIP_WANT_LOGITS ? &filter_device.fetched
                                           : &filter_device.drawn_again) += step->open[row] != SLIP_NO_BINS;
    slip_status status = slip_executor_cpu.begin(executor, phase, step);
    if (status != SLIP_OK || step->want != SLIP_WANT_HISTOGRAMS)
        return status;
    for (int32_t s = 0, row = 0; s < step->span_count; s++)
        for (int32_t i = 0; i < step->span[s].logit_rows; i++, row++)
            if (slip_sampling_filters(&step->span[s].sampling) && slip_is_binned(step->span[s].sampling.temperature) &&
                step->span[s].adjustments != SLIP_ADJUSTED_LATER && !(step->again && step->open[row] == SLIP_NO_BINS))
                filter_device_fill(executor, &step->span[s], row);
    return SLIP_OK;
}

static inline void filter_device_candidates(slip_executor *executor, const slip_step *step, slip_candidate *out)
{
    if (!step->again) {
        slip_executor_cpu.candidates(executor, step, out);
        return;
    }
    for (int32_t s = 0, row = 0; s < step->span_count; s++)
        for (int32_t i = 0; i < step->span[s].logit_rows; i++, row++) {
            const slip_span *span = &step->span[s];
            const int64_t position = span->position + span->count - span->logit_rows + i + 1;
            out[row] = (slip_candidate){0, -1};
            if (step->open[row] != SLIP_NO_BINS && span->sampling.temperature == 0)
                out[row] = slip_sample_best(slip_executor_cpu.row(executor, SLIP_BUFFER_LOGITS, row), filter_device.vocabulary.first,
                                            filter_device.vocabulary.count, &span->sampling, position);
            else if (step->open[row] != SLIP_NO_BINS)
                out[row] = slip_sample_above(slip_executor_cpu.row(executor, SLIP_BUFFER_LOGITS, row), filter_device.vocabulary.first,
                                             filter_device.vocabulary.count, &span->sampling, position, step->open[row]);
        }
}

static inline const slip_histogram *filter_device_histogram(const slip_executor *executor, int32_t row)
{
    (void)executor;
    return &filter_device.histograms[row];
}

static inline slip_executor_kind filter_device_kind(void)
{
    slip_executor_kind kind = slip_executor_cpu;
    kind.create = filter_device_create;
    kind.begin = filter_device_begin;
    kind.candidates = filter_device_candidates;
    kind.histogram = filter_device_histogram;
    return kind;
}

#endif
