/* Unicode Normalization Form C of well-formed UTF-8 (Unicode annex 15), with utf8proc's tables.
 *
 * Hugging Face `tokenizers` (0.23) has the tables of Unicode 9: among marks that are out of canonical order, 99
 * rare ones that came later or were changed stay where they are there, and take their place here.
 */
#ifndef SLIP_IO_TEXT_NFC_H
#define SLIP_IO_TEXT_NFC_H

#include <stddef.h>

#include "io/base/status.h"

/* *normal is NFC of `text`, malloc'ed, the caller frees it; NULL when the text is ASCII and so its own normal
 * form. The time is linear in the size, whatever the order of combining marks. SLIP_ERR_FAILED: out of
 * memory. */
slip_status slip_nfc(const char *text, size_t size, char **normal, size_t *normal_size);

#endif
