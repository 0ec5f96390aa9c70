/* FNV-1a in 64 bits: names requests, runs and results across runs. It guards against mistakes, not malice: a
 * collision costs one request of a resumed run. Source: RFC 9923, The FNV Non-Cryptographic Hash Algorithm.
 */
#ifndef SLIP_IO_BASE_HASH_HASH_H
#define SLIP_IO_BASE_HASH_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SLIP_HASH_START UINT64_C(0xcbf29ce484222325)

/* Continue `hash` over `size` bytes. */
static inline uint64_t slip_hash(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Continue `hash` over one field: its size first, so that neighbouring fields cannot run together. */
static inline uint64_t slip_hash_field(uint64_t hash, const void *data, size_t size)
{
    uint64_t wide = size;
    return slip_hash(slip_hash(hash, &wide, sizeof wide), data, size);
}

static inline uint64_t slip_hash_text(uint64_t hash, const char *text)
{
    return slip_hash_field(hash, text, strlen(text));
}

typedef unsigned __int128 slip_hash128;

#define SLIP_HASH128_START ((slip_hash128)UINT64_C(0x6c62272e07bb0142) << 64 | UINT64_C(0x62b821756295c58d))

/* The same in 128 bits: for sets of names that keep no names. */
static inline slip_hash128 slip_hash128_on(slip_hash128 hash, const void *data, size_t size)
{
    const slip_hash128 prime = (slip_hash128)1 << 88 | 0x13b;
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * prime;
    return hash;
}

#endif
