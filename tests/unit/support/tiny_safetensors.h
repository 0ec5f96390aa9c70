/* A small safetensors file made in memory, a tensor after the other. Include after cmocka.h. */
#ifndef TESTS_UNIT_TINY_SAFETENSORS_H
#define TESTS_UNIT_TINY_SAFETENSORS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "folder.h"

enum { TINY_SAFETENSORS_HEAD = 8 + (1 << 14), TINY_SAFETENSORS_ROOM = 1 << 19 };

typedef struct {
    char *bytes; /* length, header padded to the data's begin, data */
    size_t header, data;
} tiny_safetensors;

static inline tiny_safetensors tiny_safetensors_begin(void)
{
    tiny_safetensors f = {.bytes = calloc(TINY_SAFETENSORS_HEAD + TINY_SAFETENSORS_ROOM, 1), .header = 8};
    assert_non_null(f.bytes);
    return f;
}

/* A tensor of zeros, to be filled. `rows` 0: a vector. `item`: bytes of an element. */
static inline unsigned char *tiny_safetensors_put(tiny_safetensors *f, const char *name, const char *dtype, int rows, int columns, int item)
{
    size_t size = (size_t)(rows > 0 ? rows : 1) * (size_t)columns * (size_t)item;
    unsigned char *at = (unsigned char *)f->bytes + TINY_SAFETENSORS_HEAD + f->data;
    char shape[32];
    assert_true(f->data + size <= TINY_SAFETENSORS_ROOM && f->header + 300 < TINY_SAFETENSORS_HEAD);
    snprintf(shape, sizeof shape, rows > 0 ? "%d,%d" : "%.0d%d", rows, columns);
    f->header += (size_t)sprintf(f->bytes + f->header, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                 f->header == 8 ? '{' : ',', name, dtype, shape, f->data, f->data + size);
    f->data += size;
    return at;
}

/* Write it into a folder; it is gone then. */
static inline void tiny_safetensors_end(tiny_safetensors *f, folder *at, const char *name)
{
    f->bytes[f->header++] = '}';
    memset(f->bytes + f->header, ' ', TINY_SAFETENSORS_HEAD - f->header);
    f->bytes[1] = (TINY_SAFETENSORS_HEAD - 8) >> 8;
    folder_write(at, name, f->bytes, TINY_SAFETENSORS_HEAD + f->data);
    free(f->bytes);
}

#endif
