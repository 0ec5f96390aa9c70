/* What this build is. */
#ifndef SLIP_IO_BASE_VERSION_H
#define SLIP_IO_BASE_VERSION_H

enum { SLIP_VERSION_TEXT = 256 }; /* room for what the folders say of their libraries */

const char *slip_version(void); /* "0.1.0" */
const char *slip_commit(void);  /* twelve hexadecimal digits, "-dirty" behind them if files were changed; "unknown" outside of a checkout */
const char *slip_compiler(void); /* "GCC 12.2.0" */

#endif
