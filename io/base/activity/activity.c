#include "io/base/activity/activity.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io/base/clock.h"

_Static_assert(sizeof(slip_activity) % sizeof(uint64_t) == 0, "it is copied by words");

enum { READ_TRIES = 1000 }; /* each one fails only if the writer spoke meanwhile */

static slip_activity now = {.layer = -1, .phase = "starting"}; /* the main thread's */
static slip_activity_slot own;
static slip_activity_slot *slot = &own;

/* The fence: whoever reads a word of this copy written over sees, too, that the version has moved on from it. */
static void publish(double since_s)
{
    uint64_t words[SLIP_ACTIVITY_WORDS];
    now.since_s = since_s;
    memcpy(words, &now, sizeof now);
    uint64_t next = __atomic_load_n(&slot->version, __ATOMIC_RELAXED) + 1;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    for (int i = 0; i < SLIP_ACTIVITY_WORDS; i++)
        __atomic_store_n(&slot->words[next % 2][i], words[i], __ATOMIC_RELAXED);
    __atomic_store_n(&slot->version, next, __ATOMIC_RELEASE);
}

void slip_activity_publish_in(slip_activity_slot *to)
{
    slot = to ? to : &own;
    publish(slip_now_s());
}

static void begin_phase(const char *format, va_list arguments, int32_t idle)
{
    vsnprintf(now.phase, sizeof now.phase, format, arguments);
    now.layer = -1;
    now.idle = idle;
    now.op[0] = now.wait_for[0] = '\0';
    now.wait = SLIP_WAIT_NONE;
    publish(slip_now_s());
}

void slip_activity_phase(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    begin_phase(format, arguments, 0);
    va_end(arguments);
}

void slip_activity_idle(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    begin_phase(format, arguments, 1);
    va_end(arguments);
}

void slip_activity_sequences(int32_t sequences)
{
    now.sequences = sequences;
}

void slip_activity_op(int32_t layer, const char *op)
{
    now.layer = layer;
    snprintf(now.op, sizeof now.op, "%s", op);
    now.wait_for[0] = '\0';
    now.wait = SLIP_WAIT_NONE;
    publish(slip_now_s());
}

void slip_activity_wait(slip_wait wait, const char *verb, const char *name)
{
    double since_s = now.wait ? now.since_s : slip_now_s();
    now.wait = (int32_t)wait;
    snprintf(now.wait_for, sizeof now.wait_for, "%s %s", verb, name);
    publish(since_s);
}

void slip_activity_go_on(void)
{
    now.wait = SLIP_WAIT_NONE;
    now.wait_for[0] = '\0';
    publish(slip_now_s());
}

slip_activity slip_activity_now(void)
{
    return slip_activity_read(slot);
}

slip_activity slip_activity_read(const slip_activity_slot *from)
{
    slip_activity read;
    uint64_t words[SLIP_ACTIVITY_WORDS];
    for (int i = 0; i < READ_TRIES; i++) {
        uint64_t version = __atomic_load_n(&from->version, __ATOMIC_ACQUIRE);
        for (int w = 0; w < SLIP_ACTIVITY_WORDS; w++)
            words[w] = __atomic_load_n(&from->words[version % 2][w], __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (version == __atomic_load_n(&from->version, __ATOMIC_RELAXED))
            break;
    }
    memcpy(&read, words, sizeof read);
    read.phase[sizeof read.phase - 1] = read.op[sizeof read.op - 1] = read.wait_for[sizeof read.wait_for - 1] = '\0';
    return read;
}

void slip_activity_describe(const slip_activity *activity, char text[SLIP_ACTIVITY_TEXT])
{
    char layer[24] = "";
    if (activity->layer >= 0)
        snprintf(layer, sizeof layer, "layer %d ", activity->layer);
    snprintf(text, SLIP_ACTIVITY_TEXT, "%s%s%s%s%s%s", activity->phase, activity->op[0] ? ", " : "", activity->op[0] ? layer : "",
             activity->op, activity->wait ? ", " : "", activity->wait_for);
}
