/* Input: four bytes, the size of the data (little-endian), then the header's text. */
#include <stddef.h>
#include <stdint.h>

#include "io/checkpoint/safetensors/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    uint32_t data_size = (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
    size_t header_size = size - 4, count = 0;
    slip_clear();
    if (slip_safetensors_check((const char *)data + 4, header_size, 8 + (int64_t)header_size + data_size, "fuzz", &count) == SLIP_OK &&
        count > size)
        __builtin_trap();
    return 0;
}
