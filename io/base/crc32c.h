/* CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum that CPUs compute by an instruction, fast enough to check every byte that is
 * read from a disk.
 */
#ifndef SLIP_IO_BASE_CRC32C_H
#define SLIP_IO_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t slip_crc32c(const void *data, size_t size);

/* Without the instruction: the same value. For machines that lack it, and for tests. */
uint32_t slip_crc32c_portable(const void *data, size_t size);

#endif
