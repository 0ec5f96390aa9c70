#include "coordinator/width.h"

#include <math.h>

enum {
    SHORTEST_PAUSE = 32, /* steps until a losing width is tried again */
    LONGEST_PAUSE = 512,
    PAUSE_GROWS = 2,
};

static const double FORGET = 0.9;                    /* what a block counts, seen from the next one */
static const double FIRST_HITS = 3, FIRST_TRIES = 4; /* what a sequence without a block is taken for */

static int32_t widths(int32_t block)
{
    return (block + SLIP_WIDTH_STEP - 1) / SLIP_WIDTH_STEP;
}

static int32_t rows_of(int32_t index, int32_t block)
{
    int32_t rows = SLIP_WIDTH_STEP * (index + 1);
    return rows < block ? rows : block;
}

/* Tokens that a block of `rows` rows commits where each draft agrees with chance `agree`: 1 + agree + agree^2 + ... */
static double expect(double agree, int32_t rows)
{
    double tokens = 0, chance = 1;
    for (int32_t j = 0; j < rows; j++, chance *= agree)
        tokens += chance;
    return tokens;
}

void slip_width_begin(slip_width *width, int32_t block)
{
    width->trial = 0;
    for (int32_t i = widths(block); i > 0; i--)
        if (width->ms[i - 1] == 0) {
            width->trial = i;
            return;
        }
    if (width->pause == 0)
        width->pause = SHORTEST_PAUSE;
    if (++width->since < width->pause || widths(block) == 1)
        return;
    width->since = 0;
    width->pause = PAUSE_GROWS * width->pause < LONGEST_PAUSE ? PAUSE_GROWS * width->pause : LONGEST_PAUSE;
    width->next = (width->next + 1) % widths(block);
    width->trial = width->next + 1;
}

/* Tokens a millisecond; a width that was never measured promises everything. */
static double rate_of(const slip_width *width, const slip_agreement *agreement, int32_t index, int32_t block)
{
    double agree = (agreement->hits + FIRST_HITS) / (agreement->tries + FIRST_TRIES);
    return width->ms[index] > 0 ? expect(agree, rows_of(index, block)) / width->ms[index] : INFINITY;
}

/* Of equal ones the widest. */
static int32_t best_of(const slip_width *width, const slip_agreement *agreement, int32_t block)
{
    int32_t best = widths(block) - 1;
    for (int32_t i = best - 1; i >= 0; i--)
        if (rate_of(width, agreement, i, block) > rate_of(width, agreement, best, block))
            best = i;
    return best;
}

int32_t slip_width_rows(const slip_width *width, const slip_agreement *agreement, int32_t block)
{
    return rows_of(width->trial > 0 ? width->trial - 1 : best_of(width, agreement, block), block);
}

double slip_width_rate(const slip_width *width, const slip_agreement *agreement, int32_t block)
{
    return rate_of(width, agreement, best_of(width, agreement, block), block);
}

/* Sequences of several widths count as their mean, rounded up. A slow step may be another program's turn and must not overturn the mean; a fast
 * one is the device's own, and where trials are rare it has to count. */
void slip_width_record(slip_width *width, int32_t sequences, int32_t rows, double ms)
{
    double *mean = &width->ms[((rows + sequences - 1) / sequences + SLIP_WIDTH_STEP - 1) / SLIP_WIDTH_STEP - 1];
    ms /= sequences;
    if (*mean == 0)
        *mean = ms;
    else if (ms < *mean)
        *mean += (ms - *mean) / 2;
    else
        *mean += (ms < 2 * *mean ? ms - *mean : *mean) / 8;
}

void slip_agreement_count(slip_agreement *agreement, int32_t drafted, int32_t accepted)
{
    agreement->hits = FORGET * agreement->hits + accepted;
    agreement->tries = FORGET * agreement->tries + (accepted < drafted ? accepted + 1 : drafted);
}
