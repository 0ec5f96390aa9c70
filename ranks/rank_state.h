/* What a rank owns, shared by its files:
 *   rank.c       how it is made, and what a worker does that is not rank 0
 *   rank_lead.c  what rank 0 does: begin a step, collect its results
 */
#ifndef SLIP_RANKS_RANK_STATE_H
#define SLIP_RANKS_RANK_STATE_H

#include "ranks/rank.h"

enum { SLIP_WHAT = 64 }; /* bytes of what errors call a step */

struct slip_rank {
    slip_comm *comm;
    const slip_source *source;
    slip_rank_options options;
    slip_placement placement;
    slip_program program;
    slip_executor *executor;    /* NULL on a dedicated rank 0 */
    slip_step step;             /* workers: the step in hand */
    unsigned char *wire;        /* [slip_wire_room()] */
    slip_candidate *candidates; /* [head_rows] ours, and on rank 0 the best */
    slip_candidate *received;   /* rank 0: [head_rows] of one worker */
    float *logits;              /* rank 0: [head_rows, vocabulary] */
    float *share;               /* [head_rows, most vocabulary rows of a rank]: logits as they travel */
    float *taps;                /* dedicated rank 0: [rows, taps * hidden] */
    bool gathers;               /* the devices hand on steps and results by themselves (kernels/executor.h) */
    bool began;                 /* rank 0, then: a step */
    int unanswered;             /* rank 0, then: steps that the other hosts have not said they saw the end of */
};

/* How many pieces the model is cut into. */
int32_t slip_rank_shards(const slip_rank *rank);

/* Our rows of the head, one after the other without padding, to rank->share. */
void slip_rank_pack_logits(slip_rank *rank, const slip_step *step);

#endif
