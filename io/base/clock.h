/* A clock that never goes back, and how long a wait has lasted by it. */
#ifndef SLIP_IO_BASE_CLOCK_H
#define SLIP_IO_BASE_CLOCK_H

#ifdef __cplusplus
extern "C" {
#endif

double slip_now_s(void);  /* seconds */
double slip_now_ms(void); /* the same in milliseconds */

/* How long a loop that polls has been waiting, for its deadline. A gap between two readings counts as one second at most: in a longer one this
 * process did not run. A job that is suspended and resumed (SIGSTOP, SIGCONT) has not waited meanwhile; who waits for a single process that is stopped has. */
typedef struct {
    double read_s, waited_s;
} slip_timer;

slip_timer slip_timer_start(double now_s);
double slip_timer_read(slip_timer *timer, double now_s);

#ifdef __cplusplus
}
#endif

#endif
