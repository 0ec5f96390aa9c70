#include "ranks/wire.h"

#include <stddef.h>
#include <string.h>

#include "ranks/model/sampling/sample.h"

/* The order comes first, then the step up to its spans. */
enum { ORDER = sizeof(int32_t), HEADER = ORDER + offsetof(slip_step, span) };

/* Bytes of the used part of each list. */
typedef struct {
    size_t spans, tokens, open;
} step_lists;

static step_lists lists_of(const slip_step *step)
{
    return (step_lists){(size_t)step->span_count * sizeof step->span[0], (size_t)step->row_count * sizeof step->token[0],
                        step->again ? (size_t)step->logit_rows * sizeof step->open[0] : 0};
}

size_t slip_wire_room(void)
{
    return ORDER + sizeof(slip_step);
}

size_t slip_wire_pack(slip_order order, const slip_step *step, unsigned char *out)
{
    const step_lists lists = lists_of(step);
    int32_t number = (int32_t)order;
    memcpy(out, &number, ORDER);
    memcpy(out + ORDER, step, HEADER - ORDER);
    memcpy(out + HEADER, step->span, lists.spans);
    memcpy(out + HEADER + lists.spans, step->token, lists.tokens);
    memcpy(out + HEADER + lists.spans + lists.tokens, step->open, lists.open);
    return HEADER + lists.spans + lists.tokens + lists.open;
}

slip_status slip_wire_unpack(const unsigned char *bytes, size_t size, slip_order *order, slip_step *step)
{
    int32_t number;
    if (size < HEADER)
        return slip_fail(SLIP_ERR_FAILED, "a step of %zu bytes came from rank 0", size);
    memcpy(&number, bytes, ORDER);
    memcpy(step, bytes + ORDER, HEADER - ORDER);
    const step_lists lists = lists_of(step);
    if (number < 0 || number >= SLIP_ORDERS)
        return slip_fail(SLIP_ERR_FAILED, "a step for program %d came from rank 0", number);
    if (step->span_count < 0 || step->span_count > SLIP_MAX_SPANS || step->row_count < 0 || step->row_count > SLIP_MAX_ROWS ||
        step->logit_rows < 0 || step->logit_rows > step->row_count || size != HEADER + lists.spans + lists.tokens + lists.open)
        return slip_fail(SLIP_ERR_FAILED, "a step of %d spans and %d rows came in %zu bytes", step->span_count, step->row_count, size);
    memcpy(step->span, bytes + HEADER, lists.spans);
    memcpy(step->token, bytes + HEADER + lists.spans, lists.tokens);
    memcpy(step->open, bytes + HEADER + lists.spans + lists.tokens, lists.open);
    *order = (slip_order)number;
    return SLIP_OK;
}

int32_t slip_wire_rows(const slip_step *step, int32_t rows[static SLIP_MAX_ROWS])
{
    int32_t count = 0, row = 0;
    for (int32_t s = 0; s < step->span_count; s++)
        for (int32_t i = 0; i < step->span[s].logit_rows; i++, row++)
            if (step->want == SLIP_WANT_LOGITS ? !step->again || step->open[row] != SLIP_NO_BINS
                                               : step->want == SLIP_WANT_HISTOGRAMS && slip_sampling_filters(&step->span[s].sampling))
                rows[count++] = row;
    return count;
}
