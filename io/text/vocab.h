/* The vocabulary of a byte-level tokenizer: the bytes of each id, and the id of each byte string.
 *
 * tokenizer.json writes every byte as one visible character (GPT-2's byte alphabet: 'A' is byte 0x41, U+0120 is
 * byte 0x20); tokens are kept here as the bytes they stand for. Ids may have holes.
 */
#ifndef SLIP_IO_TEXT_VOCAB_H
#define SLIP_IO_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base/table/map.h"
#include "io/base/status.h"

typedef struct {
    const char *bytes; /* into the arena, not terminated; NULL: no such id */
    uint32_t size;
    bool special;
} slip_token;

typedef struct {
    slip_token *tokens; /* [ids] */
    int32_t ids;        /* one more than the largest id */
    slip_map by_bytes;  /* the model's own tokens, not the added ones */
    char *arena;
    size_t used, room;
} slip_vocab;

/* Room for `ids` ids, `tokens` distinct tokens and `bytes` bytes of them in all; the caller keeps within these.
 * SLIP_ERR_FAILED: out of memory. slip_vocab_free() takes it back. */
slip_status slip_vocab_init(slip_vocab *vocab, int32_t ids, size_t tokens, size_t bytes);
void slip_vocab_free(slip_vocab *vocab);

/* Give `id`, which is free and below `ids`, to a token of the model, spelled in the byte alphabet. One that is
 * not is out of reach of byte pairs (an added token listed in the vocabulary, usually) and stands for its own
 * UTF-8. */
void slip_vocab_add(slip_vocab *vocab, int32_t id, const char *spelling, size_t size);

/* Give an added token its bytes, its own content. */
void slip_vocab_add_literal(slip_vocab *vocab, int32_t id, const char *content, size_t size, bool special);

/* Id of a token of the model by its bytes, or by its spelling in the byte alphabet; -1 where there is none. */
int32_t slip_vocab_find(const slip_vocab *vocab, const void *bytes, size_t size);
int32_t slip_vocab_find_spelled(const slip_vocab *vocab, const char *spelling, size_t size);

/* Id of the token of the model that two others make when joined, -1 where there is none. */
int32_t slip_vocab_find_joined(const slip_vocab *vocab, int32_t left, int32_t right);

#endif
