#include "io/base/file/stdout.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

slip_status slip_stdout_flush(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return SLIP_OK;
    /* An earlier print may have met the fault: its reason is gone. */
    return slip_fail(SLIP_ERR_FAILED, "standard output: cannot be written%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
}
