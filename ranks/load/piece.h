/* A piece of a tensor on its way from the checkpoint to an executor: some of its experts, or of the rows of one that is not stacked, in the
 * checkpoint's encoding. */
#ifndef SLIP_RANKS_LOAD_PIECE_H
#define SLIP_RANKS_LOAD_PIECE_H

#include "ranks/load/strip.h"
#include "ranks/load/shard.h"

/* Memory that is used again and again, and grows. */
typedef struct {
    unsigned char *at;
    size_t room;
} slip_load_buffer;

typedef struct {
    const slip_tensor *tensor; /* NULL: nothing is on its way */
    const slip_part *parts;
    int32_t index;      /* of the tensor */
    int64_t first;      /* of its experts, counted from this rank's first */
    slip_weight weight; /* those experts or rows; data and scale are in the buffers */
    int64_t grid_bytes; /* f8e4m3: of an expert's block scales, all parts' one behind the other */
    slip_strip *strips;
    int32_t strip_count, strip_room;
    slip_load_buffer data, scale, grid;
} slip_piece;

/* The form of a tensor in memory: its sizes on this rank; data and scale are NULL. SLIP_ERR_INPUT names the dataset that is missing or of
 * another type than its neighbours. */
slip_status slip_piece_form(const slip_source *source, const slip_program *program, const slip_tensor *tensor, slip_weight *form);

/* Bytes of codes and scales of one expert of that form. */
size_t slip_piece_expert_bytes(const slip_weight *form);

/* These experts, and of each these rows, of tensor `index`: its buffers, and the strips that fill them. All experts or all rows. */
slip_status slip_piece_begin(slip_piece *piece, const slip_source *source, const slip_program *program, int32_t index,
                             const slip_weight *form, slip_range experts, slip_range rows);

/* All strips are there: spread the block scales of these rows of expert `expert` of the piece, counted from its first, to a row of scales a
 * row, and describe them as a weight. In any thread. */
slip_weight slip_piece_rows(slip_piece *piece, int64_t expert, slip_range rows);

/* Room for `bytes`; what was there is gone where it grows. */
slip_status slip_load_reserve(slip_load_buffer *buffer, size_t bytes);

void slip_piece_free(slip_piece *piece);

#endif
