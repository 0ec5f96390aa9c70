#include "ranks/wire.h"

#include <stddef.h>
#include <string.h>

#include "ranks/model/sampling/sample.h"

/* The order comes first, then the step up to its spans. */
enum { ORDER = sizeof(int32_t), HEADER = ORDER + offsetof(slip_step, span) };

/* Bytes of the used part of each list. */
typedef struct {
    size_t spans, tokens, open, adjustments;
} step_lists;

static step_lists lists_of(const slip_step *step)
{
    return (step_lists){(size_t)step->span_count * sizeof step->span[0], (size_t)step->row_count * sizeof step->token[0],
                        step->again ? (size_t)step->logit_rows * sizeof step->open[0] : 0,
                        (size_t)step->adjustment_count * sizeof step->adjustments[0]};
}

size_t slip_wire_room(void)
{
    return ORDER + sizeof(slip_step) + SLIP_MAX_ADJUSTMENTS * sizeof(slip_adjustment);
}

static unsigned char *put(unsigned char *out, const void *list, size_t bytes)
{
    if (bytes > 0)
        memcpy(out, list, bytes);
    return out + bytes;
}

size_t slip_wire_pack(slip_order order, const slip_step *step, unsigned char *out)
{
    const step_lists lists = lists_of(step);
    int32_t number = (int32_t)order;
    unsigned char *end = put(out, &number, ORDER);
    end = put(end, step, HEADER - ORDER);
    end = put(end, step->span, lists.spans);
    end = put(end, step->token, lists.tokens);
    end = put(end, step->open, lists.open);
    return (size_t)(put(end, step->adjustments, lists.adjustments) - out);
}

static bool is_sized(const slip_step *step, size_t size)
{
    if (step->span_count < 0 || step->span_count > SLIP_MAX_SPANS || step->row_count < 0 || step->row_count > SLIP_MAX_ROWS ||
        step->logit_rows < 0 || step->logit_rows > step->row_count || step->logit_rows > SLIP_MAX_LOGIT_ROWS ||
        step->adjustment_count < 0 || step->adjustment_count > SLIP_MAX_ADJUSTMENTS)
        return false;
    const step_lists lists = lists_of(step);
    return size == HEADER + lists.spans + lists.tokens + lists.open + lists.adjustments;
}

/* Do the spans' adjustments, and the logits that they change, add up to what the step says and executors hold? */
static slip_status check_adjustments(const slip_step *step)
{
    int64_t count = 0, adjusted = 0;
    for (int32_t s = 0; s < step->span_count; s++) {
        const slip_span *span = &step->span[s];
        if (span->adjustments < (step->again ? 0 : SLIP_ADJUSTED_LATER) || span->adjustments > step->adjustment_count)
            return slip_fail(SLIP_ERR_FAILED, "a step came with %d adjustments of a span", span->adjustments);
        count += span->adjustments > 0 ? span->adjustments : 0;
        adjusted += span->adjustments > 0 ? (int64_t)span->adjustments * span->logit_rows : 0;
    }
    if (count == step->adjustment_count && adjusted <= SLIP_MAX_ADJUSTED && step->adjust >= 0 && step->adjust < SLIP_ADJUSTS)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_FAILED, "a step came with %d adjustments, its spans with %lld, of %lld logits", step->adjustment_count,
                     (long long)count, (long long)adjusted);
}

slip_status slip_wire_unpack(const unsigned char *bytes, size_t size, slip_order *order, slip_step *step, slip_adjustment *adjustments)
{
    int32_t number;
    if (size < HEADER)
        return slip_fail(SLIP_ERR_FAILED, "a step of %zu bytes came from rank 0", size);
    memcpy(&number, bytes, ORDER);
    memcpy(step, bytes + ORDER, HEADER - ORDER);
    if (number < 0 || number >= SLIP_ORDERS)
        return slip_fail(SLIP_ERR_FAILED, "a step for program %d came from rank 0", number);
    if (!is_sized(step, size))
        return slip_fail(SLIP_ERR_FAILED, "a step of %d spans and %d rows came in %zu bytes", step->span_count, step->row_count, size);
    const step_lists lists = lists_of(step);
    const unsigned char *list = bytes + HEADER;
    memcpy(step->span, list, lists.spans);
    memcpy(step->token, list += lists.spans, lists.tokens);
    memcpy(step->open, list += lists.tokens, lists.open);
    memcpy(adjustments, list + lists.open, lists.adjustments);
    step->adjustments = adjustments;
    *order = (slip_order)number;
    return check_adjustments(step);
}

/* Does more than a candidate of this row travel? */
static bool travels(const slip_step *step, const slip_span *span, int32_t row)
{
    if (step->again && step->open[row] == SLIP_NO_BINS)
        return false;
    if (step->want == SLIP_WANT_HISTOGRAMS)
        return slip_sampling_filters(&span->sampling) && span->adjustments != SLIP_ADJUSTED_LATER;
    return step->want != SLIP_WANT_TOKENS;
}

int32_t slip_wire_rows(const slip_step *step, int32_t rows[static SLIP_MAX_LOGIT_ROWS])
{
    int32_t count = 0, row = 0;
    for (int32_t s = 0; s < step->span_count; s++)
        for (int32_t i = 0; i < step->span[s].logit_rows; i++, row++)
            if (travels(step, &step->span[s], row))
                rows[count++] = row;
    return count;
}
