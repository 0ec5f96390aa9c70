#include "coordinator/accept.h"

int32_t slip_accept_prefix(const int32_t *drafts, const int32_t *samples, int32_t count)
{
    int32_t accepted = 0;
    while (accepted < count && drafts[accepted] == samples[accepted])
        accepted++;
    return accepted;
}

void slip_acceptance_count(slip_acceptance *record, int32_t drafted, int32_t accepted)
{
    record->steps++;
    record->draft_tokens += drafted;
    record->accepted += accepted;
    record->histogram[accepted]++;
}

void slip_acceptance_add(slip_acceptance *record, const slip_acceptance *more)
{
    record->steps += more->steps;
    record->draft_tokens += more->draft_tokens;
    record->accepted += more->accepted;
    for (int j = 0; j < SLIP_MAX_BLOCK; j++)
        record->histogram[j] += more->histogram[j];
}

double slip_acceptance_mean(const slip_acceptance *record)
{
    return record->steps ? 1.0 + (double)record->accepted / (double)record->steps : 1.0;
}
