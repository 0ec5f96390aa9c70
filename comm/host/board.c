#include "comm/host/board.h"

#include <stdlib.h>
#include <string.h>

#include "io/base/clock.h"

/* A rank's memory; the first one's holds the time of the last report for all. */
typedef struct {
    slip_activity_slot slot;
    double shown_s;
    int64_t rank;
} place;

static void see_self_alone(slip_board *board)
{
    board->count = 0;
    board->shown_s = &board->own_shown_s;
}

/* Every rank's place on this host. */
static bool find_places(slip_board *board, int count)
{
    board->ranks = malloc((size_t)count * sizeof *board->ranks);
    board->slots = malloc((size_t)count * sizeof *board->slots); /* NOLINT(bugprone-sizeof-expression): pointers are meant */
    if (!board->ranks || !board->slots)
        return false;
    for (int i = 0; i < count; i++) {
        MPI_Aint bytes;
        int unit;
        place *found;
        if (MPI_Win_shared_query(board->window, i, &bytes, &unit, &found) != MPI_SUCCESS)
            return false;
        board->ranks[i] = (int)found->rank;
        board->slots[i] = &found->slot;
        if (i == 0)
            board->shown_s = &found->shown_s;
    }
    return true;
}

/* Have all ranks of this host got so far? Tells them, too, that all places are written. */
static slip_status agree(MPI_Comm node, bool *ok)
{
    int mine = *ok, all = 0;
    if (MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MIN, node) != MPI_SUCCESS)
        return slip_fail(SLIP_ERR_FAILED, "starting MPI: MPI_Allreduce failed among the ranks of this host");
    *ok = all == 1;
    return SLIP_OK;
}

slip_status slip_board_open(slip_board *board, int rank)
{
    place *mine;
    int count = 1;
    *board = (slip_board){.node = MPI_COMM_NULL, .window = MPI_WIN_NULL};
    see_self_alone(board);
    if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &board->node) != MPI_SUCCESS)
        return slip_fail(SLIP_ERR_FAILED, "starting MPI: MPI_Comm_split_type failed");
    bool ok = MPI_Comm_size(board->node, &count) == MPI_SUCCESS;
    ok = MPI_Win_allocate_shared(sizeof *mine, 1, MPI_INFO_NULL, board->node, &mine, &board->window) == MPI_SUCCESS && ok;
    if (ok) {
        MPI_Win_set_errhandler(board->window, MPI_ERRORS_RETURN);
        memset(mine, 0, sizeof *mine);
        mine->rank = rank;
    } else {
        board->window = MPI_WIN_NULL;
    }
    slip_status status = agree(board->node, &ok);
    if (status != SLIP_OK || !ok) {
        board->window = MPI_WIN_NULL; /* a rank without one would not take part in freeing it */
        return status;
    }
    if (find_places(board, count))
        board->count = count;
    else
        see_self_alone(board);
    slip_activity_publish_in(&mine->slot);
    return SLIP_OK;
}

void slip_board_close(slip_board *board)
{
    slip_activity_publish_in(NULL);
    see_self_alone(board);
    if (board->window != MPI_WIN_NULL)
        MPI_Win_free(&board->window);
    if (board->node != MPI_COMM_NULL)
        MPI_Comm_free(&board->node);
    free(board->ranks);
    free(board->slots);
    board->ranks = NULL;
    board->slots = NULL;
}

bool slip_board_find(const slip_board *board, int rank, slip_activity *activity)
{
    for (int i = 0; i < board->count; i++)
        if (board->ranks[i] == rank) {
            *activity = slip_activity_read(board->slots[i]);
            return true;
        }
    return false;
}

bool slip_board_claim(slip_board *board, double seconds)
{
    double now = slip_now_s(), last;
    __atomic_load(board->shown_s, &last, __ATOMIC_RELAXED);
    return now - last >= seconds && __atomic_compare_exchange(board->shown_s, &last, &now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
