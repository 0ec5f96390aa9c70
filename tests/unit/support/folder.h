/* A temporary folder for a test, and files in it. Include after cmocka.h. */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    char path[64];
    char joined[256];
} folder;

static inline folder *folder_make(void)
{
    folder *f = calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->path, sizeof f->path, "/tmp/slipstream-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    return f;
}

/* Valid until the next call. */
static inline const char *folder_join(folder *f, const char *name)
{
    snprintf(f->joined, sizeof f->joined, "%s/%s", f->path, name);
    return f->joined;
}

static inline void folder_write(folder *f, const char *name, const void *data, size_t size)
{
    FILE *file = fopen(folder_join(f, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* The bytes of a file; the caller frees them. */
static inline char *folder_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    data[*size] = '\0';
    fclose(file);
    return data;
}

static inline int folder_unlink(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

static inline void folder_remove(folder *f)
{
    nftw(f->path, folder_unlink, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
}

#endif
