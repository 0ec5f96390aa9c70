/* How likely drafts are accepted, by their place in the block: what a sequence's last blocks say, and what all sequences' say where the
 * sequence itself has shown nothing yet. Counts are of chains: a draft is tried when all before it were accepted, so a place behind the first
 * draft that was refused, or behind what was verified, says nothing of itself, and cutting blocks does not bias what is believed of longer ones.
 */
#ifndef SLIP_COORDINATOR_PACE_CHANCES_H
#define SLIP_COORDINATOR_PACE_CHANCES_H

#include <stdint.h>

#include "ranks/model/model.h"

/* Plain data; zero it to start. Both are sums in which older blocks weigh less. */
typedef struct {
    float tried[SLIP_MAX_BLOCK], accepted[SLIP_MAX_BLOCK]; /* [j]: draft j + 1 of a block */
} slip_chances;

/* What older counts weigh after a block of the sequence, and after a step of it without drafts; and those of all sequences. What was seen long
 * ago is forgotten, so drafts are tried again. */
#define SLIP_CHANCES_KEPT 0.8f
#define SLIP_CHANCES_KEPT_UNDRAFTED 0.9f
#define SLIP_CHANCES_ALL_KEPT 0.99f
#define SLIP_CHANCES_ALL_KEPT_UNDRAFTED 0.998f

void slip_chances_fade(slip_chances *chances, float kept);

/* A block of which so many drafts were verified, and so many of these accepted. */
void slip_chances_count(slip_chances *chances, int32_t drafts, int32_t accepted);

/* Tokens to expect of a step that verifies the first so many drafts of a block of the sequence: tokens[drafts], 0 <= drafts < block. */
void slip_chances_expect(const slip_chances *sequence, const slip_chances *all, int32_t block, double *tokens);

#endif
