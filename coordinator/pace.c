#include "coordinator/pace.h"

enum {
    SHORTEST_PAUSE = 16, /* plain steps after drafting has stopped paying */
    LONGEST_PAUSE = 512,
    PAUSE_GROWS = 4,     /* each try that fails makes the next wait this many times longer */
    DRAFTING_CHECK = 64, /* drafting steps until a plain one is timed again */
};

/* Drafting: now and then a plain step keeps its time fresh. */
static bool go_on_drafting(slip_pace *pace)
{
    pace->pause = SHORTEST_PAUSE;
    if (pace->since_other < DRAFTING_CHECK)
        return true;
    pace->since_other = 0;
    return false;
}

static bool try_drafting_again(slip_pace *pace)
{
    if (pace->since_other < pace->pause)
        return false;
    pace->since_other = 0;
    pace->pause = PAUSE_GROWS * pace->pause < LONGEST_PAUSE ? PAUSE_GROWS * pace->pause : LONGEST_PAUSE;
    return true;
}

bool slip_pace_drafts(slip_pace *pace, double expected)
{
    if (pace->draft_ms == 0)
        return true;
    if (pace->plain_ms == 0)
        return false;
    if (pace->pause == 0)
        pace->pause = SHORTEST_PAUSE;
    pace->since_other++;
    return expected * pace->plain_ms > pace->draft_ms ? go_on_drafting(pace) : try_drafting_again(pace);
}

double slip_pace_blend(double mean, double ms)
{
    if (mean == 0)
        return ms;
    return mean + (ms < 2 * mean ? ms - mean : mean) / 8;
}

void slip_pace_record(slip_pace *pace, int32_t sequences, bool drafted, double ms)
{
    double *mean = drafted ? &pace->draft_ms : &pace->plain_ms;
    *mean = slip_pace_blend(*mean, ms / sequences);
}

double slip_pace_ms(const slip_pace *pace, int32_t sequences, bool drafted)
{
    return sequences * (drafted ? pace->draft_ms : pace->plain_ms);
}

int slip_pace_size(int32_t sequences)
{
    int size = 0;
    while (size + 1 < SLIP_PACE_SIZES && sequences > 1 << size)
        size++;
    return size;
}

double slip_pace_expect(double old, int32_t tokens)
{
    return old == 0 ? tokens : (old + tokens) / 2;
}
