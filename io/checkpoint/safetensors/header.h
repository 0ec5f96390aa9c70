/* The header of one safetensors file: 8 bytes of little-endian length, then that many bytes of JSON
 * { NAME: { "dtype", "shape", "data_offsets": [begin, end] }, "__metadata__": { string: string } }, then the
 * data.
 *
 * Hostile input: sizes are checked before anything is allocated for them; every name is unique, every
 * tensor's bytes are its shape's, and the tensors cover the data exactly, without gap, overlap or trailing
 * byte. A type that is unknown takes what its offsets say: a folder may hold tensors of parts that we skip.
 */
#ifndef SLIP_IO_CHECKPOINT_SAFETENSORS_HEADER_H
#define SLIP_IO_CHECKPOINT_SAFETENSORS_HEADER_H

#include "io/checkpoint/safetensors/safetensors.h"

enum {
    SLIP_ST_HEADER_MAX = 100 * 1000 * 1000, /* the reference implementation's limit */
    SLIP_ST_TENSORS_MAX = 1 << 20,          /* of a file; the largest release has 160,000 in 34 files */
};

/* Check a header and list its tensors, in no promised order. `file` is copied into each; offsets count from
 * the start of the file. The caller frees (*tensors)[i].name and *tensors. SLIP_ERR_INPUT names `source`, the
 * tensor and the value. */
slip_status slip_st_header_parse(const char *header, size_t header_size, int64_t file_size, const char *source, int file,
                                 slip_st_tensor **tensors, size_t *count);

void slip_st_tensors_free(slip_st_tensor *tensors, size_t count);

#endif
