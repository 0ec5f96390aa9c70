#include "comm/exchange.h"

/* One-shot sends a message to R - 1 peers; two-shot sends 2 (R - 1) / R of it in two hops, one after the other.
 *
 *     ranks   one-shot up to   measured
 *     2       always           two H200: us beside a barrier of 1.09   rows of 6144     1     8    16    32    64
 *                                                                      one-shot      1.39  2.06  2.91  4.61  9.32
 *                                                                      its sends     0.36  0.95  1.80  3.44  6.61
 *                                                                      two-shot      2.58  3.17  3.64  4.75  9.33
 *     3       320 KiB          no
 *     4       144 KiB          no
 *     8        40 KiB          no
 *
 * The rows that were not measured are a model: 1.2 us for the second hop (an LSA barrier between two GPUs takes 1.4 us, a one-shot
 * exchange of 96 KiB 1.2 us), 366 GB/s of writes to peers (measured, both directions at once), and twice the bytes for the epochs:
 * the two are equal at 1.2 us * 366 GB/s / (2 (R - 1) (R - 2) / R). Emulated on one GPU, where L2 is the wire, they are equal at about
 * 1 MiB for 3 ranks, 150 KiB for 4 and 36 KiB for 8. All of this is for messages of 1024 bytes; with 688 the model says 480, 212 and 60 KiB,
 * and emulated they are equal at about 1 MiB, 400 and 50 KiB. tests/gpu/exchange.sh prints what to put here. */
static const struct {
    int ranks; /* up to */
    size_t bytes;
} one_shot[] = {{2, SIZE_MAX}, {3, 320 << 10}, {4, 144 << 10}, {8, 40 << 10}};

size_t slip_exchange_one_shot_bytes(int ranks)
{
    for (size_t i = 0; i < sizeof one_shot / sizeof *one_shot; i++)
        if (ranks <= one_shot[i].ranks)
            return one_shot[i].bytes;
    return 0;
}

static size_t aligned(size_t bytes)
{
    return (bytes + SLIP_EXCHANGE_HEAD - 1) / SLIP_EXCHANGE_HEAD * SLIP_EXCHANGE_HEAD;
}

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Behind the sets; without rows nothing. */
static void plan_shares(slip_exchange_layout *l, int rows)
{
    const size_t each = SLIP_SHARE_GROUP / SLIP_SHARE_ROWS, groups = ((size_t)rows + SLIP_SHARE_GROUP - 1) / SLIP_SHARE_GROUP;
    const size_t ranks = (size_t)l->ranks, owned = (groups + ranks - 1) / ranks * each;
    const size_t partials = owned * (size_t)l->row_blocks * ranks, results = groups * each * (size_t)l->row_blocks;
    l->share_results = aligned(partials * SLIP_SHARE_QUAD);
    l->share_sent = l->share_results + aligned(results * SLIP_SHARE_QUAD);
    l->share_done = l->share_sent + aligned(partials * sizeof(uint32_t));
    const size_t set_bytes = l->share_done + aligned(results * sizeof(uint32_t));
    l->share_set[0] = l->bytes;
    l->share_set[1] = l->share_set[0] + set_bytes;
    l->share_picks = l->share_set[1] + set_bytes;
    l->bytes = l->share_picks + aligned(groups * SLIP_SHARE_GROUP * SLIP_SHARE_PICKS * SLIP_EXCHANGE_LINE);
}

slip_exchange_layout slip_exchange_plan(int ranks, int rows, int hidden, size_t mail_bytes, size_t one_shot_bytes, int shared_rows)
{
    size_t row_bytes = (size_t)hidden * sizeof(float), fit = one_shot_bytes / row_bytes;
    size_t row_blocks = ((size_t)hidden + SLIP_EXCHANGE_COLUMNS - 1) / SLIP_EXCHANGE_COLUMNS, blocks = (size_t)rows * row_blocks;
    slip_exchange_layout l = {.ranks = ranks, .row_blocks = (int32_t)row_blocks};
    l.one_shot_rows = fit < (size_t)rows ? (int32_t)fit : rows;
    size_t messages = (size_t)l.one_shot_rows * row_blocks * (size_t)ranks;
    if (l.one_shot_rows < rows) {
        size_t partials = (blocks + (size_t)ranks - 1) / (size_t)ranks * (size_t)ranks;
        messages = largest(messages, partials + blocks);
        l.sums = partials * SLIP_EXCHANGE_MESSAGE;
    }
    size_t set_bytes = aligned(messages * SLIP_EXCHANGE_MESSAGE);
    l.mail = SLIP_EXCHANGE_HEAD;
    l.set[0] = l.mail + aligned(mail_bytes);
    l.set[1] = l.set[0] + set_bytes;
    l.bytes = l.set[1] + set_bytes;
    plan_shares(&l, shared_rows);
    return l;
}
