/* A program that all ranks run together: the target is one, the draft another, and the protocol of a run is here for both.
 *
 * Rank 0 begins a run and waits for it; the others follow. On CPUs rank 0 posts the step, every rank runs its share, the others send what
 * came of it (cost, then ranks/results.h), and rank 0 merges.
 *
 * Devices that collect (kernels/executor.h) do that among themselves: rank 0's GPU hands on the step and merges the results, with no host in
 * between. The step goes over MPI nevertheless, for the hosts: a host that waits for its GPU's part of a run notices when it does not come,
 * and says why; and the answers of the other hosts, heard while the next step runs, tell rank 0 that they are there. Only the target's
 * steps are answered then: one follows each draft.
 */
#ifndef SLIP_RANKS_RUNNER_H
#define SLIP_RANKS_RUNNER_H

#include "ranks/link.h"
#include "ranks/load/shard.h"

typedef struct slip_runner slip_runner;

typedef struct {
    slip_link *link;           /* borrowed; NULL: this rank runs the whole program alone */
    const slip_source *source; /* borrowed */
    const slip_executor_kind *kind;
    slip_limits limits;
    slip_executor_options executor;
    int32_t shards; /* pieces that the program's model is cut into */
    bool draft;     /* a step of it is the draft's: it may come in two phases, and nobody wants its logits */
} slip_runner_options;

/* Load the program's weights; `program` is taken over, and empty afterwards. Lockstep on all ranks of the link. */
slip_status slip_runner_create(slip_program *program, const slip_runner_options *options, slip_runner **runner);
void slip_runner_free(slip_runner *runner);

/* What came of a run, on rank 0. Valid until the next one. */
typedef struct {
    const slip_candidate *candidates; /* [logit_rows], the best over ranks (of steps that want them) */
    const slip_histogram *histograms; /* [logit_rows] of the whole vocabulary, of rows that filters apply to; valid until the next step that
                                          wants them (SLIP_WANT_HISTOGRAMS) */
    const slip_likeliest *likeliest;  /* [logit_rows] of the whole vocabulary, of rows that are not left out (SLIP_WANT_LIKELIEST) */
    const float *logits;              /* [logit_rows, vocabulary], `again` of the rows that are not left out (SLIP_WANT_LOGITS) */
    uint64_t weight_bytes;            /* read by an average rank */
    double device_ms;                 /* time of our own device */
} slip_outcome;

/* Rank 0: begin a phase of the program on a step, which must still be there for the wait. */
slip_status slip_runner_begin(slip_runner *runner, slip_phase phase, const slip_step *step);

/* Rank 0: wait for the oldest run begun, over all runners of the device: its SLIP_PHASE_RUN with all that came of it, or its
 * SLIP_PHASE_INJECT, which leaves nothing but its time. */
slip_status slip_runner_wait(slip_runner *runner, const slip_step *step, slip_outcome *outcome);
slip_status slip_runner_wait_inject(slip_runner *runner, double *device_ms);

/* Rank 0: runs that may be open at once (kernels/executor.h). */
int slip_runner_max_in_flight(const slip_runner *runner, const slip_step *step);

/* Other ranks: our part of a run. */
slip_status slip_runner_follow(slip_runner *runner, slip_phase phase, const slip_step *step);

/* All ranks: no run will come for a while. */
void slip_runner_rest(slip_runner *runner);

const slip_program *slip_runner_program(const slip_runner *runner);
const slip_executor_kind *slip_runner_kind(const slip_runner *runner);
slip_executor *slip_runner_executor(const slip_runner *runner);

#endif
