/* Standard output as a file that can fail: a full disk, a reader that has gone. */
#ifndef SLIP_IO_BASE_FILE_STDOUT_H
#define SLIP_IO_BASE_FILE_STDOUT_H

#include "io/base/status.h"

/* All that was printed so far is out. SLIP_ERR_FAILED: it is not, or an earlier print has failed. */
slip_status slip_stdout_flush(void);

#endif
