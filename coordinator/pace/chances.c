#include "coordinator/pace/chances.h"

/* What is believed of drafts before any was tried, how many tries that weighs among those of all sequences, and how many all of them weigh
 * beside the sequence's own. A guess that is high and weighs several blocks keeps a few bad ones from ending all drafting. */
static const double first_guess = 0.8, guess_weighs = 4, all_weigh = 4;

void slip_chances_fade(slip_chances *chances, float kept)
{
    for (int j = 0; j < SLIP_MAX_BLOCK; j++) {
        chances->tried[j] *= kept;
        chances->accepted[j] *= kept;
    }
}

void slip_chances_count(slip_chances *chances, int32_t drafts, int32_t accepted)
{
    for (int32_t j = 0; j < drafts && j <= accepted; j++) {
        chances->tried[j]++;
        chances->accepted[j] += j < accepted;
    }
}

void slip_chances_expect(const slip_chances *sequence, const slip_chances *all, int32_t block, double *tokens)
{
    double reached = 1, guess = first_guess;
    tokens[0] = 1;
    for (int32_t j = 0; j + 1 < block; j++) {
        /* A place that nothing reached yet is taken to be like the one before it. */
        guess = (all->accepted[j] + guess_weighs * guess) / (all->tried[j] + guess_weighs);
        reached *= (sequence->accepted[j] + all_weigh * guess) / (sequence->tried[j] + all_weigh);
        tokens[j + 1] = tokens[j] + reached;
    }
}
