/* The one tensor of a drafter's mask_embedding.pt, without Python's pickle.
 *
 * torch.save writes a zip archive of stored (not compressed) members: NAME/data.pkl describes the object,
 * NAME/data/K holds the bytes of storage K. The pickle is never run: the wanted storage is the only one with
 * as many bytes as the tensor needs, and its type is the one whose name stands in data.pkl.
 */
#ifndef SLIP_IO_CHECKPOINT_TORCH_FILE_H
#define SLIP_IO_CHECKPOINT_TORCH_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"
#include "ranks/model/model.h"

/* Find the storage of `elements` values of f32 or bf16 in an archive given as bytes: *dtype, and where its
 * bytes begin. SLIP_ERR_INPUT names `source` and what is wrong: torn, compressed, CRC, no such storage, or
 * more than one. */
slip_status slip_torch_file_find(const unsigned char *archive, size_t size, const char *source, int64_t elements, slip_dtype *dtype,
                                 size_t *offset);

#endif
