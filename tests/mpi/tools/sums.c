/* Sums over ranks are made in rank order, by every rank: mpirun -n R sums. The partials are such that another order gives another sum.
 * In order, 1 + 2^53 is 2^53 (a tie, to even), and the rank behind takes 2^53 away: 0. Any other beginning keeps the 1.
 */
#include <stdbool.h>
#include <stdio.h>

#include "comm/comm.h"

enum { COUNT = 3 };

/* Columns: what any order gives; what only rank order gives; with every rank's own number. */
static slip_status check(slip_comm *comm)
{
    const int rank = slip_comm_rank(comm), ranks = slip_comm_ranks(comm);
    const double partial[COUNT] = {rank + 1, rank == 0 ? 1 : rank == 1 ? 0x1p53 : rank == 2 ? -0x1p53 : 0, rank % 2 ? -rank : rank * 0.5};
    const float ordered = ranks == 1 ? 1 : ranks == 2 ? 0x1p53f : 0;
    float out[COUNT] = {0, 0, 5}, number = 5;
    for (int r = 0; r < ranks; r++)
        number += r % 2 ? (float)-r : (float)r * 0.5f;
    slip_status status = slip_comm_set_sum_room(comm, COUNT);
    if (status == SLIP_OK)
        status = slip_comm_sum(comm, partial, COUNT, true, out, "a sum");
    if (status == SLIP_OK && (out[0] != (float)(ranks * (ranks + 1) / 2) || out[1] != ordered || out[2] != number))
        status = slip_fail(SLIP_ERR_FAILED, "rank %d of %d has %g, %g, %g", rank, ranks, (double)out[0], (double)out[1], (double)out[2]);
    return slip_comm_agree(comm, status);
}

int main(int argc, char **argv)
{
    slip_comm *comm;
    slip_status status = slip_comm_start(&argc, &argv, &comm);
    if (status != SLIP_OK)
        return slip_exit_status(status);
    status = check(comm);
    if (slip_comm_rank(comm) == 0)
        printf("%s\n", status == SLIP_OK ? "the sum in rank order, on every rank" : slip_cause());
    slip_comm_finish(comm);
    return slip_exit_status(status);
}
