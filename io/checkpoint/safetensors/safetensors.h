/* A folder of safetensors files (one file, or shards with model.safetensors.index.json), read-only.
 *
 * The header is hostile input: sizes are checked before anything is allocated; names unique, offsets
 * contiguous, in range, equal to the shape's bytes (where the type is known: tensors that nobody reads may be of any). Tensor bytes are read with pread on demand.
 */
#ifndef SLIP_IO_CHECKPOINT_SAFETENSORS_SAFETENSORS_H
#define SLIP_IO_CHECKPOINT_SAFETENSORS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "io/base/status.h"

enum { SLIP_TENSOR_DIMS = 8 }; /* vision and audio towers, which are skipped, have five */

typedef enum { SLIP_ST_F32, SLIP_ST_BF16, SLIP_ST_F16, SLIP_ST_F8E4M3, SLIP_ST_U8, SLIP_ST_F8E8M0, SLIP_ST_OTHER } slip_st_dtype;

typedef struct {
    const char *name; /* owned by the folder */
    slip_st_dtype dtype;
    int dims;
    int64_t shape[SLIP_TENSOR_DIMS];
    int file;       /* which file of the folder */
    int64_t offset; /* of the first byte, from the start of the file */
    int64_t bytes;
} slip_st_tensor;

typedef struct slip_safetensors slip_safetensors;

/* Open the files that model.safetensors.index.json of `folder` lists, each of its tensors being where it
 * says; without an index, every *.safetensors file. A tensor in two files is refused. The caller closes. */
slip_status slip_safetensors_open(const char *folder, slip_safetensors **folder_out);
void slip_safetensors_close(slip_safetensors *folder);

/* metadata.tp_size of the index: the chunks in which fused weights were saved. 0: it is not said. */
int32_t slip_safetensors_tp_size(const slip_safetensors *folder);

/* metadata.total_size of the index; -1: it is not said. Beside it what it may count: the bytes of all tensors, or of their files. */
int64_t slip_safetensors_total_size(const slip_safetensors *folder, int64_t *tensors, int64_t *files);

/* How many *.safetensors files of the folder an index does not list, and the first of them by name, printable. Without an index: 0. */
enum { SLIP_SAFETENSORS_NAME = 256 };
size_t slip_safetensors_unlisted(const slip_safetensors *folder, char name[static SLIP_SAFETENSORS_NAME]);

/* NULL when there is no such tensor. */
const slip_st_tensor *slip_safetensors_find(const slip_safetensors *folder, const char *name);

/* The path of the file that holds a tensor, for messages. Owned by the folder. */
const char *slip_safetensors_path(const slip_safetensors *folder, const slip_st_tensor *tensor);

/* Number of tensors, and the i-th in the order of names. */
size_t slip_safetensors_count(const slip_safetensors *folder);
const slip_st_tensor *slip_safetensors_at(const slip_safetensors *folder, size_t index);

/* Read `bytes` bytes of a tensor from its byte `offset` on. */
slip_status slip_safetensors_read(const slip_safetensors *folder, const slip_st_tensor *tensor, int64_t offset, int64_t bytes, void *out);

/* Check the header of one file given as bytes (`header_size` as read from the first 8 bytes, `file_size` of
 * the whole file): the part a fuzzer exercises. Returns the number of tensors through *count. */
slip_status slip_safetensors_check(const char *header, size_t header_size, int64_t file_size, const char *source, size_t *count);

#endif
