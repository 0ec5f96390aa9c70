#include "kernels/cuda/host/fault.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

slip_status slip_cuda_fault(int *drop_op)
{
    const char *text = getenv("SLIPSTREAM_DROP_SIGNAL");
    *drop_op = -1;
    if (!text)
        return SLIP_OK;
    char *end;
    errno = 0;
    long op = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || op < 0 || op > INT_MAX)
        return slip_fail(SLIP_ERR_INPUT, "SLIPSTREAM_DROP_SIGNAL: %s: not the number of a device op", text);
    fprintf(stderr, "slipstream: SLIPSTREAM_DROP_SIGNAL: a fault is injected: SM 1 stays silent behind device op %ld\n", op);
    *drop_op = (int)op;
    return SLIP_OK;
}
