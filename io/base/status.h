/* Status codes, and the one sentence that explains a failure.
 *
 * Every function that can fail returns a slip_status. The function that first sees the fault calls slip_fail() with
 * the cause (which file, which field, which value); its callers pass the status on unchanged and add nothing.
 * main() prints the sentence once and turns the status into the exit status.
 *
 * The sentence is kept per process, in static storage: failing never allocates. One thread reports.
 */
#ifndef SLIP_IO_BASE_STATUS_H
#define SLIP_IO_BASE_STATUS_H

typedef enum {
    SLIP_OK = 0,
    SLIP_ERR_FAILED,      /* the machine or the job failed us: memory, disk, a peer, a deadline: exit status 1 */
    SLIP_ERR_INPUT,       /* wrong use or bad input: exit status 2 */
    SLIP_ERR_INTERRUPTED, /* stopped early on a signal, finished work is saved: exit status 75 */
    SLIP_ERR_SOME_FAILED, /* all is done and saved, but some requests were refused: exit status 3 */
} slip_status;

/* slip_fail(status, format, ...): record the cause and be `status`. The first cause since the last slip_clear() stands.
 * A macro, so that the compiler sees which status is returned. */
#define slip_fail(status, ...) (slip_record_cause(__VA_ARGS__), slip_same(status))
static inline slip_status slip_same(slip_status status)
{
    return status;
}
void slip_record_cause(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The recorded sentence, fit for a terminal (io/base/printable.h); "" when there is none. Valid until the next slip_fail() or slip_clear(). */
const char *slip_cause(void);

/* Forget the recorded cause: the fault has been answered (a refused request line, for instance). */
void slip_clear(void);

/* The program's exit status: 0, 1, 2, 3 or 75. */
int slip_exit_status(slip_status status);

#endif
