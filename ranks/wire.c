#include "ranks/wire.h"

#include <stddef.h>
#include <string.h>

/* The order comes first, then the step up to its spans. */
enum { ORDER = sizeof(int32_t), HEADER = ORDER + offsetof(slip_step, span) };

size_t slip_wire_room(void)
{
    return ORDER + sizeof(slip_step);
}

size_t slip_wire_pack(slip_order order, const slip_step *step, unsigned char *out)
{
    size_t spans = (size_t)step->span_count * sizeof step->span[0], tokens = (size_t)step->row_count * sizeof step->token[0];
    int32_t number = (int32_t)order;
    memcpy(out, &number, ORDER);
    memcpy(out + ORDER, step, HEADER - ORDER);
    memcpy(out + HEADER, step->span, spans);
    memcpy(out + HEADER + spans, step->token, tokens);
    return HEADER + spans + tokens;
}

slip_status slip_wire_unpack(const unsigned char *bytes, size_t size, slip_order *order, slip_step *step)
{
    int32_t number;
    if (size < HEADER)
        return slip_fail(SLIP_ERR_FAILED, "a step of %zu bytes came from rank 0", size);
    memcpy(&number, bytes, ORDER);
    memcpy(step, bytes + ORDER, HEADER - ORDER);
    size_t spans = (size_t)step->span_count * sizeof step->span[0], tokens = (size_t)step->row_count * sizeof step->token[0];
    if (number < 0 || number >= SLIP_ORDERS)
        return slip_fail(SLIP_ERR_FAILED, "a step for program %d came from rank 0", number);
    if (step->span_count < 0 || step->span_count > SLIP_MAX_SPANS || step->row_count < 0 || step->row_count > SLIP_MAX_ROWS ||
        step->logit_rows < 0 || step->logit_rows > step->row_count || size != HEADER + spans + tokens)
        return slip_fail(SLIP_ERR_FAILED, "a step of %d spans and %d rows came in %zu bytes", step->span_count, step->row_count, size);
    memcpy(step->span, bytes + HEADER, spans);
    memcpy(step->token, bytes + HEADER + spans, tokens);
    *order = (slip_order)number;
    return SLIP_OK;
}
