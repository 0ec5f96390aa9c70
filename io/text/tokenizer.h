/* Byte-level BPE in the form of Hugging Face's tokenizer.json, as Qwen2 and MiMo use it.
 *
 * Text is cut at added tokens (special or not), normalised to NFC, split by the pre-tokenizer's own regular
 * expression (PCRE2 with UTF and UCP) and merged from bytes by rank. The result equals that of Hugging Face
 * `tokenizers`; what of the format is understood is said in io/text/tokenizer_json.h, the one known difference in
 * io/text/nfc.h. A slip_tokenizer is immutable after loading and owns everything it points to.
 */
#ifndef SLIP_IO_TEXT_TOKENIZER_H
#define SLIP_IO_TEXT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"

typedef struct slip_tokenizer slip_tokenizer;

/* Parse `size` bytes of tokenizer.json. `source` names them in errors (a path). Ids must be below `vocabulary`.
 * SLIP_ERR_INPUT: not JSON, a missing or unsupported part, an id out of range. The caller frees *tokenizer. */
slip_status slip_tokenizer_parse(const char *json, size_t size, const char *source, int32_t vocabulary, slip_tokenizer **tokenizer);
void slip_tokenizer_free(slip_tokenizer *tokenizer);

/* Encode `size` bytes of UTF-8 (invalid bytes are replaced by U+FFFD, as Python's errors="replace" does).
 * Special tokens inside the text become their ids when `special` is nonzero, else they are ordinary text.
 * *ids (malloc'ed, the caller frees it) and *count are set on success. */
slip_status slip_tokenizer_encode(const slip_tokenizer *tokenizer, const char *text, size_t size, int special, int32_t **ids,
                                  size_t *count);

/* The bytes of one token (not terminated; may be part of a UTF-8 character); NULL and *size = 0 for an unknown
 * id. A special token's bytes are its content. */
const char *slip_tokenizer_bytes(const slip_tokenizer *tokenizer, int32_t id, size_t *size);

/* 1 when the id is a special token (decoders drop it from the text). */
int slip_tokenizer_is_special(const slip_tokenizer *tokenizer, int32_t id);

/* Id of an added token by its content, -1 where there is none. */
int32_t slip_tokenizer_find(const slip_tokenizer *tokenizer, const char *content);

#endif
