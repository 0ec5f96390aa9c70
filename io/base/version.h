/* What this build is. */
#ifndef SLIP_IO_BASE_VERSION_H
#define SLIP_IO_BASE_VERSION_H

const char *slip_version(void); /* "0.1.0" */
const char *slip_commit(void);  /* twelve hexadecimal digits, "-dirty" behind them if files were changed; "unknown" outside of a checkout */

#endif
