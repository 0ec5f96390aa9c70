/* Input: mask_embedding.pt, wanted for 64 values. */
#include <stddef.h>
#include <stdint.h>

#include "io/checkpoint/torch_file.h"

enum { ELEMENTS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t offset;
    slip_dtype dtype;
    slip_clear();
    if (slip_torch_file_find(data, size, "fuzz", ELEMENTS, &dtype, &offset) == SLIP_OK &&
        (offset > size || ELEMENTS * (dtype == SLIP_F32 ? 4u : 2u) > size - offset))
        __builtin_trap();
    return 0;
}
