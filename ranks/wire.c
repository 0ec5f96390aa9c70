#include "ranks/wire.h"

#include <stddef.h>
#include <string.h>

enum { HEADER = offsetof(slip_step, span) };

size_t slip_wire_room(void)
{
    return sizeof(slip_step);
}

size_t slip_wire_pack(const slip_step *step, unsigned char *out)
{
    size_t spans = (size_t)step->span_count * sizeof step->span[0], tokens = (size_t)step->row_count * sizeof step->token[0];
    memcpy(out, step, HEADER);
    memcpy(out + HEADER, step->span, spans);
    memcpy(out + HEADER + spans, step->token, tokens);
    return HEADER + spans + tokens;
}

slip_status slip_wire_unpack(const unsigned char *bytes, size_t size, slip_step *step)
{
    if (size < HEADER)
        return slip_fail(SLIP_ERR_FAILED, "a step of %zu bytes came from rank 0", size);
    memcpy(step, bytes, HEADER);
    size_t spans = (size_t)step->span_count * sizeof step->span[0], tokens = (size_t)step->row_count * sizeof step->token[0];
    if (step->span_count < 0 || step->span_count > SLIP_MAX_SPANS || step->row_count < 0 ||
        step->row_count > SLIP_MAX_ROWS || step->head_count < 0 || step->head_count > step->row_count || size != HEADER + spans + tokens)
        return slip_fail(SLIP_ERR_FAILED, "a step of %d spans and %d rows came in %zu bytes", step->span_count,
                         step->row_count, size);
    memcpy(step->span, bytes + HEADER, spans);
    memcpy(step->token, bytes + HEADER + spans, tokens);
    return SLIP_OK;
}
