/* What a tokenizer is made of, and how tokenizer.json says so.
 *
 * Understood is the byte-level BPE of GPT-2, Qwen2 and MiMo: normalizer NFC or none; pre-tokenizer Split by an
 * expression and then ByteLevel, or ByteLevel alone with GPT-2's; added tokens that are found as they stand;
 * decoder ByteLevel. Any other part that would change ids or text is refused by name; what cannot change them
 * (unk_token and byte_fallback, since every byte has its token; trim_offsets) is passed over.
 */
#ifndef SLIP_IO_TEXT_TOKENIZER_JSON_H
#define SLIP_IO_TEXT_TOKENIZER_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "io/text/added.h"
#include "io/text/bpe.h"
#include "io/text/split.h"
#include "io/text/tokenizer.h"
#include "io/text/vocab.h"

struct slip_tokenizer {
    slip_vocab vocab;
    slip_bpe bpe;
    slip_added raw, normalized; /* looked for before and after normalisation */
    slip_splitter *splitter;
    bool nfc;
    bool ignore_merges; /* a piece that is a token as a whole is not merged from bytes */
};

/* Fill a zeroed tokenizer from the parsed file. On failure it may be half filled: slip_tokenizer_free() takes
 * that. SLIP_ERR_INPUT names the part that is missing, wrong or unsupported; SLIP_ERR_FAILED: out of memory. */
slip_status slip_tokenizer_fill(slip_tokenizer *tokenizer, const json_t *root, const char *source, int32_t vocabulary);

#endif
