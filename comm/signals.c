#include "comm/signals.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "io/base/clock.h"
#include "io/base/file/leftover.h"
#include "io/base/status.h"

static const int caught[] = {SIGUSR1, SIGTERM, SIGINT};
enum { CAUGHT = sizeof caught / sizeof *caught };

static const double SAME_S = 1;

static volatile sig_atomic_t noted, deferred;
static const slip_signal_words *volatile spoken; /* NULL: another rank speaks */
static volatile double noted_s;                  /* set before `noted` */

const char *slip_signal_name(int number)
{
    return number == SIGUSR1 ? "SIGUSR1" : number == SIGTERM ? "SIGTERM" : number == SIGINT ? "SIGINT" : "a signal";
}

/* Only what a signal handler may call. */
static void end_process(int number, const char *why)
{
    const char *const words[] = {"slipstream: ", slip_signal_name(number), why, "\n"};
    for (size_t i = 0; why && i < sizeof words / sizeof *words; i++)
        if (write(STDERR_FILENO, words[i], strlen(words[i])) < 0)
            break;
    slip_leftover_remove();
    _exit(slip_exit_status(SLIP_ERR_INTERRUPTED));
}

static void handle(int number)
{
    const slip_signal_words *words = spoken;
    if (!deferred)
        end_process(number, words ? words->early : NULL);
    if (!noted) {
        noted_s = slip_now_s();
        noted = number;
    } else if (slip_now_s() - noted_s > SAME_S) {
        end_process(number, words ? words->second : NULL);
    }
}

void slip_signals_catch(const slip_signal_words *words)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    spoken = words;
    for (int i = 0; i < CAUGHT; i++)
        sigaddset(&action.sa_mask, caught[i]);
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &action, NULL);
}

void slip_signals_defer(void)
{
    deferred = 1;
}

void slip_signals_settle(void)
{
    deferred = 1;
    spoken = NULL;
}

int slip_signals_noted(void)
{
    return noted;
}
