/* CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum that CPUs compute by an instruction, fast enough to check every byte that is
 * read from a disk.
 */
#ifndef SLIP_IO_BASE_HASH_CRC32C_H
#define SLIP_IO_BASE_HASH_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t slip_crc32c(const void *data, size_t size);

/* That of all bytes, where `crc` is that of those before these; 0: there are none. */
uint32_t slip_crc32c_more(uint32_t crc, const void *data, size_t size);

/* Without the instruction: the same values. For machines that lack it, and for tests. */
uint32_t slip_crc32c_portable(uint32_t crc, const void *data, size_t size);

#endif
