/* A clock that never goes back. */
#ifndef SLIP_IO_BASE_CLOCK_H
#define SLIP_IO_BASE_CLOCK_H

#ifdef __cplusplus
extern "C" {
#endif

double slip_now_s(void);  /* seconds */
double slip_now_ms(void); /* the same in milliseconds */

#ifdef __cplusplus
}
#endif

#endif
