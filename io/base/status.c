#include "io/base/status.h"

#include <stdarg.h>
#include <stdio.h>

#include "io/base/printable.h"

static char cause[1024];

void slip_record_cause(const char *format, ...)
{
    if (cause[0] != '\0')
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cause, sizeof cause, format, arguments);
    va_end(arguments);
    slip_make_printable(cause); /* it quotes names and values from anywhere */
}

const char *slip_cause(void)
{
    return cause;
}

void slip_clear(void)
{
    cause[0] = '\0';
}

int slip_exit_status(slip_status status)
{
    switch (status) {
    case SLIP_OK: return 0;
    case SLIP_ERR_INPUT: return 2;
    case SLIP_ERR_SOME_FAILED: return 3;
    case SLIP_ERR_INTERRUPTED: return 75;
    case SLIP_ERR_FAILED: break;
    }
    return 1;
}
