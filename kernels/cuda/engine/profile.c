#include "kernels/cuda/engine/profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const role_name[SLIP_ROLES] = {
    [SLIP_ROLE_PRODUCER] = "producer", [SLIP_ROLE_CONSUMER] = "consumer", [SLIP_ROLE_CONTROL] = "control"};

/* The events of one role of one SM; returns how many. */
static int32_t lane_events(const slip_cuda_profile *profile, int32_t sm, int32_t role, const slip_cuda_event **events)
{
    int64_t lane = (int64_t)sm * SLIP_ROLES + role;
    int32_t count = profile->counts[lane];
    *events = profile->events + lane * SLIP_PROFILE_EVENTS;
    return count < 0 ? 0 : count < SLIP_PROFILE_EVENTS ? count : SLIP_PROFILE_EVENTS;
}

static uint64_t earliest(const slip_cuda_profile *profile)
{
    uint64_t first = UINT64_MAX;
    const slip_cuda_event *events;
    for (int32_t sm = 0; sm < profile->sms; sm++)
        for (int32_t role = 0; role < SLIP_ROLES; role++)
            for (int32_t i = 0, count = lane_events(profile, sm, role, &events); i < count; i++)
                first = events[i].start < first ? events[i].start : first;
    return first == UINT64_MAX ? 0 : first;
}

static int32_t thread_of(int32_t sm, int32_t role)
{
    return sm * 4 + role;
}

/* Threads are shown in the order of their numbers. */
static void write_thread(FILE *file, const slip_cuda_profile *profile, int32_t sm, int32_t role)
{
    int32_t thread = thread_of(sm, role);
    fprintf(file, ",\n{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"SM %d %s\"}}", profile->rank,
            thread, sm, role_name[role]);
    fprintf(file, ",\n{\"ph\":\"M\",\"name\":\"thread_sort_index\",\"pid\":%d,\"tid\":%d,\"args\":{\"sort_index\":%d}}", profile->rank,
            thread, thread);
}

static void write_time(FILE *file, const char *key, uint64_t nanoseconds)
{
    fprintf(file, ",\"%s\":%" PRIu64 ".%03u", key, nanoseconds / 1000, (unsigned)(nanoseconds % 1000));
}

static void write_event(FILE *file, const slip_cuda_profile *profile, int32_t thread, uint64_t origin, const slip_cuda_event *event)
{
    static const char *const kinds[SLIP_EVENTS] = {"op", "barrier", "operands"};
    const char *kind = event->what >= 0 && event->what < SLIP_EVENTS ? kinds[event->what] : "?";
    char name[64];
    snprintf(name, sizeof name, "%s", kind);
    if (event->what == SLIP_EVENT_OP)
        profile->name(profile->context, event->op, name, sizeof name);
    fprintf(file, ",\n{\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%d,\"tid\":%d", name, kind, profile->rank, thread);
    write_time(file, "ts", event->start - origin);
    write_time(file, "dur", event->end > event->start ? event->end - event->start : 0);
    fprintf(file, ",\"args\":{\"op\":%d}}", event->op);
}

static void write_trace(FILE *file, const slip_cuda_profile *profile)
{
    uint64_t origin = earliest(profile);
    fprintf(file, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"origin_ns\":\"%" PRIu64 "\"},\n\"traceEvents\":[\n", origin);
    fprintf(file, "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"rank %d\"}}", profile->rank, profile->rank);
    for (int32_t sm = 0; sm < profile->sms; sm++)
        for (int32_t role = 0; role < SLIP_ROLES; role++) {
            const slip_cuda_event *events;
            int32_t count = lane_events(profile, sm, role, &events);
            if (count > 0)
                write_thread(file, profile, sm, role);
            for (int32_t i = 0; i < count; i++)
                write_event(file, profile, thread_of(sm, role), origin, &events[i]);
        }
    fprintf(file, "\n]}\n");
}

slip_status slip_cuda_profile_write(const char *path, const slip_cuda_profile *profile)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot write the profile: %s", path, strerror(errno));
    write_trace(file, profile);
    int failed = ferror(file); /* a full disk may show only when what is buffered goes out */
    if (fclose(file) != 0 || failed)
        return slip_fail(SLIP_ERR_FAILED, "%s: writing the profile failed: %s", path, strerror(errno));
    return SLIP_OK;
}
