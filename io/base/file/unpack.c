#include "io/base/file/unpack.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { BLOCK = 1 << 18, WITH_GZIP_HEADER = 15 + 16 };

static const unsigned char GZIP[] = {0x1f, 0x8b};

struct slip_unpack {
    int file;
    const char *path;
    bool packed, inside; /* inside of a gzip stream */
    bool ended;          /* the file has no more bytes to give */
    z_stream stream;
    unsigned char *at; /* what has been read and not been used: `left` bytes in `block` */
    size_t left;
    int64_t unread_from; /* where in the file the next read begins */
    unsigned char block[BLOCK];
};

/* Read on until the block is full or the file ends. */
static slip_status fill(slip_unpack *unpack)
{
    memmove(unpack->block, unpack->at, unpack->left);
    unpack->at = unpack->block;
    while (!unpack->ended && unpack->left < BLOCK) {
        ssize_t got = read(unpack->file, unpack->block + unpack->left, BLOCK - unpack->left);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return slip_fail(errno == EISDIR ? SLIP_ERR_INPUT : SLIP_ERR_FAILED, "%s: cannot be read: %s", unpack->path, strerror(errno));
        unpack->ended = got == 0;
        unpack->left += (size_t)got;
        unpack->unread_from += got;
    }
    return SLIP_OK;
}

/* Whether the file begins with these bytes. */
static bool begins(const slip_unpack *unpack, const void *bytes, size_t size)
{
    return unpack->left >= size && memcmp(unpack->at, bytes, size) == 0;
}

/* The length of a header, and the header: no text has bytes of 0 so early. */
static bool is_safetensors(const char *bytes, size_t size)
{
    return size > 8 && memcmp(bytes + 4, "\0\0\0\0{", 5) == 0;
}

slip_status slip_unpack_refuse_foreign(const char *path, const void *bytes, size_t size)
{
    static const struct {
        const char *bytes, *kind, *advice;
        size_t size;
    } foreign[] = {
        {"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc", 4},
        {"\xfd"
         "7zXZ",
         "compressed with xz", "xz -dc", 5},
        {"BZh", "compressed with bzip2", "bzip2 -dc", 3},
        {"PK\x03\x04", "a zip archive", "unzip -p", 4},
        {"\x89HDF\r\n\x1a\n", "an HDF5 file, as models and traces are", NULL, 8},
        {"PAR1", "a Parquet file", NULL, 4},
        {"ARROW1", "an Arrow file", NULL, 6},
        {"SQLite format 3", "an SQLite database", NULL, 16},
        {"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8", 2},
        {"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8", 2},
    };
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (size >= foreign[i].size && memcmp(bytes, foreign[i].bytes, foreign[i].size) == 0)
            return slip_fail(SLIP_ERR_INPUT, "%s: is %s, not text in UTF-8 or gzip%s%s%s", path, foreign[i].kind,
                             foreign[i].advice ? ": " : "", foreign[i].advice ? foreign[i].advice : "",
                             foreign[i].advice ? " makes it so" : "");
    if (is_safetensors(bytes, size))
        return slip_fail(SLIP_ERR_INPUT, "%s: is a safetensors file, not text in UTF-8 or gzip", path);
    return SLIP_OK;
}

/* The first block says what the file is. */
static slip_status begin(slip_unpack *unpack)
{
    slip_status status = fill(unpack);
    if (status == SLIP_OK)
        status = slip_unpack_refuse_foreign(unpack->path, unpack->at, unpack->left);
    unpack->packed = unpack->inside = status == SLIP_OK && begins(unpack, GZIP, sizeof GZIP);
    return status;
}

slip_status slip_unpack_open(int file, const char *path, slip_unpack **unpack)
{
    slip_unpack *opened = calloc(1, sizeof *opened);
    if (opened == NULL || inflateInit2(&opened->stream, WITH_GZIP_HEADER) != Z_OK) {
        free(opened);
        close(file);
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to read it", path);
    }
    opened->file = file;
    opened->path = path;
    opened->at = opened->block;
    slip_status status = begin(opened);
    if (status != SLIP_OK) {
        slip_unpack_close(opened);
        return status;
    }
    *unpack = opened;
    return SLIP_OK;
}

bool slip_unpack_packed(const slip_unpack *unpack)
{
    return unpack->packed;
}

static void use(slip_unpack *unpack, size_t size)
{
    unpack->at += size;
    unpack->left -= size;
}

/* The end of a gzip stream: of the file, too, unless another stream follows (gzip files may be joined). */
static slip_status end_stream(slip_unpack *unpack)
{
    slip_status status = unpack->left < sizeof GZIP ? fill(unpack) : SLIP_OK;
    if (status != SLIP_OK)
        return status;
    unpack->inside = unpack->left > 0;
    if (unpack->inside && (!begins(unpack, GZIP, sizeof GZIP) || inflateReset(&unpack->stream) != Z_OK))
        return slip_fail(SLIP_ERR_INPUT, "%s: what follows its gzip stream, from byte %lld on, is not gzip", unpack->path,
                         (long long)unpack->unread_from - (long long)unpack->left);
    return SLIP_OK;
}

/* Unpack what is there into out[0 .. room); *size may stay 0. */
static slip_status inflate_some(slip_unpack *unpack, void *out, size_t room, size_t *size)
{
    z_stream *stream = &unpack->stream;
    stream->next_in = unpack->at;
    stream->avail_in = (uInt)unpack->left;
    stream->next_out = out;
    stream->avail_out = (uInt)room;
    int code = inflate(stream, Z_NO_FLUSH);
    use(unpack, unpack->left - stream->avail_in);
    *size = room - stream->avail_out;
    if (code == Z_STREAM_END)
        return end_stream(unpack);
    if (code == Z_MEM_ERROR)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to unpack it", unpack->path);
    if (code != Z_OK && code != Z_BUF_ERROR)
        return slip_fail(SLIP_ERR_INPUT, "%s: is no sound gzip file: %s before byte %lld", unpack->path,
                         stream->msg != NULL ? stream->msg : "damaged", (long long)unpack->unread_from);
    return SLIP_OK;
}

slip_status slip_unpack_read(slip_unpack *unpack, void *out, size_t room, size_t *size)
{
    slip_status status = SLIP_OK;
    room = room < BLOCK ? room : BLOCK;
    for (*size = 0; status == SLIP_OK && *size == 0;) {
        if (unpack->packed && !unpack->inside)
            return SLIP_OK;
        if (unpack->left == 0 && (status = fill(unpack)) != SLIP_OK)
            return status;
        if (unpack->left == 0 && unpack->packed)
            return slip_fail(SLIP_ERR_INPUT, "%s: ends inside of its gzip stream, at byte %lld: it was cut short", unpack->path,
                             (long long)unpack->unread_from);
        if (unpack->left == 0)
            return SLIP_OK;
        if (unpack->packed) {
            status = inflate_some(unpack, out, room, size);
            continue;
        }
        *size = unpack->left < room ? unpack->left : room;
        memcpy(out, unpack->at, *size);
        use(unpack, *size);
    }
    return status;
}

slip_status slip_unpack_rewind(slip_unpack *unpack)
{
    if (lseek(unpack->file, 0, SEEK_SET) != 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be read again: %s", unpack->path, strerror(errno));
    inflateReset(&unpack->stream);
    unpack->at = unpack->block;
    unpack->left = 0;
    unpack->unread_from = 0;
    unpack->ended = false;
    return begin(unpack);
}

void slip_unpack_close(slip_unpack *unpack)
{
    inflateEnd(&unpack->stream);
    close(unpack->file);
    free(unpack);
}
