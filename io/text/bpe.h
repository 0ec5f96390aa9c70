/* Byte pair encoding: a piece of text starts as its bytes, and the neighbouring pair that was learnt first (the
 * merge of lowest rank, the leftmost of equals) becomes one token, until no pair is known. Time n log n in the
 * piece's size.
 *
 * Source: Sennrich et al. 2016, arXiv 1508.07909; the order of merges is that of Hugging Face `tokenizers`.
 */
#ifndef SLIP_IO_TEXT_BPE_H
#define SLIP_IO_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/table/map.h"
#include "io/base/status.h"
#include "io/text/vocab.h"

typedef struct {
    int32_t left, right; /* the key of the map, as 8 bytes */
    int32_t merged;
} slip_merge;

typedef struct {
    int32_t byte_ids[256]; /* the token that is one byte, -1 where the vocabulary has none */
    slip_merge *merges;    /* [count], in order of rank */
    size_t count, room;
    slip_map by_pair; /* (left, right) -> rank */
} slip_bpe;

/* Learn the single bytes of `vocab` and make room for `merges`. SLIP_ERR_FAILED: out of memory. */
slip_status slip_bpe_init(slip_bpe *bpe, const slip_vocab *vocab, size_t merges);
void slip_bpe_free(slip_bpe *bpe);

/* The next merge in order of rank; a pair that is named twice keeps its last rank. No more than there is room
 * for. */
void slip_bpe_add(slip_bpe *bpe, int32_t left, int32_t right, int32_t merged);

/* Tokens out, and what encoding needs meanwhile; zero it to start, slip_bpe_work_free() it at the end. */
typedef struct {
    int32_t *ids; /* [count] malloc'ed */
    size_t count, room;
    struct slip_symbol *symbols;
    size_t symbols_room;
    struct slip_candidate *heap;
    size_t heap_count, heap_room;
} slip_bpe_work;

void slip_bpe_work_free(slip_bpe_work *work);

/* Make room for `more` ids. SLIP_ERR_FAILED: out of memory. */
slip_status slip_bpe_reserve(slip_bpe_work *work, size_t more);

/* Append one id. SLIP_ERR_FAILED: out of memory. */
slip_status slip_bpe_push(slip_bpe_work *work, int32_t id);

/* Append the tokens of a piece of at most INT32_MAX bytes, all of which the vocabulary has.
 * SLIP_ERR_FAILED: out of memory. */
slip_status slip_bpe_encode(const slip_bpe *bpe, slip_bpe_work *work, const char *piece, size_t size);

#endif
