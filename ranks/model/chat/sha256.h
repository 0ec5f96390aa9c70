/* SHA-256 (FIPS 180-4), by which chat templates are known: a library would be one more to install for one hash of some kilobytes. */
#ifndef SLIP_RANKS_MODEL_CHAT_SHA256_H
#define SLIP_RANKS_MODEL_CHAT_SHA256_H

#include <stddef.h>

#include "ranks/model/chat/template.h"

void slip_sha256(const char *bytes, size_t size, char hex[static SLIP_SHA256_HEX]);

#endif
