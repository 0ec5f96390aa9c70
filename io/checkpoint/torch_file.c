#include "io/checkpoint/torch_file.h"

#include <stdbool.h>
#include <string.h>

/* Zip records, little-endian (PKWARE APPNOTE 4.3.7, 4.3.12 and 4.3.16). */
enum {
    END_SIGNATURE = 0x06054b50,
    END_SIZE = 22,
    END_COUNT = 10,
    END_DIRECTORY_SIZE = 12,
    END_DIRECTORY = 16,
    CENTRAL_SIGNATURE = 0x02014b50,
    CENTRAL_SIZE = 46,
    CENTRAL_METHOD = 10,
    CENTRAL_CRC = 16,
    CENTRAL_PACKED = 20,
    CENTRAL_BYTES = 24,
    CENTRAL_NAME = 28,
    CENTRAL_EXTRA = 30,
    CENTRAL_COMMENT = 32,
    CENTRAL_LOCAL = 42,
    LOCAL_SIGNATURE = 0x04034b50,
    LOCAL_SIZE = 30,
    LOCAL_NAME = 26,
    LOCAL_EXTRA = 28,
};

typedef struct {
    const unsigned char *bytes;
    size_t size;
    const char *source;
} archive;

typedef struct {
    const char *name; /* not terminated */
    size_t name_size;
    const unsigned char *data;
    size_t size;
} member;

static uint32_t read_u16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t read_u32(const unsigned char *p)
{
    return read_u16(p) | read_u16(p + 2) << 16;
}

static uint32_t crc32(const unsigned char *data, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static slip_status torn(const archive *zip)
{
    return slip_fail(SLIP_ERR_INPUT, "%s: not a whole zip archive as torch.save writes it", zip->source);
}

/* The directory: where its first record is, where it ends, and how many it holds. torch.save leaves no comment. */
static slip_status find_directory(const archive *zip, size_t *begin, size_t *end, size_t *count)
{
    if (zip->size < END_SIZE || read_u32(zip->bytes + zip->size - END_SIZE) != END_SIGNATURE)
        return torn(zip);
    const unsigned char *record = zip->bytes + zip->size - END_SIZE;
    size_t first = read_u32(record + END_DIRECTORY), bytes = read_u32(record + END_DIRECTORY_SIZE);
    if (first > zip->size - END_SIZE || bytes > zip->size - END_SIZE - first)
        return torn(zip);
    *begin = first;
    *end = first + bytes;
    *count = read_u16(record + END_COUNT);
    return SLIP_OK;
}

/* The member of the record at *at, which is moved to the next record. */
static slip_status read_member(const archive *zip, size_t *at, size_t end, member *out)
{
    const unsigned char *record = zip->bytes + *at;
    if (end - *at < CENTRAL_SIZE || read_u32(record) != CENTRAL_SIGNATURE)
        return torn(zip);
    size_t name_size = read_u16(record + CENTRAL_NAME);
    size_t record_size = CENTRAL_SIZE + name_size + read_u16(record + CENTRAL_EXTRA) + read_u16(record + CENTRAL_COMMENT);
    size_t local = read_u32(record + CENTRAL_LOCAL), size = read_u32(record + CENTRAL_BYTES);
    if (record_size > end - *at || local > zip->size || zip->size - local < LOCAL_SIZE || read_u32(zip->bytes + local) != LOCAL_SIGNATURE)
        return torn(zip);
    if (read_u16(record + CENTRAL_METHOD) != 0 || read_u32(record + CENTRAL_PACKED) != size)
        return slip_fail(SLIP_ERR_INPUT, "%s: a member is compressed, which torch.save does not do", zip->source);
    size_t data = local + LOCAL_SIZE + read_u16(zip->bytes + local + LOCAL_NAME) + read_u16(zip->bytes + local + LOCAL_EXTRA);
    if (data > zip->size || size > zip->size - data)
        return torn(zip);
    if (crc32(zip->bytes + data, size) != read_u32(record + CENTRAL_CRC))
        return slip_fail(SLIP_ERR_INPUT, "%s: a member's CRC does not fit its bytes", zip->source);
    *out = (member){(const char *)record + CENTRAL_SIZE, name_size, zip->bytes + data, size};
    *at += record_size;
    return SLIP_OK;
}

/* Whether the name is ANYTHING/tail; with `digits`, ANYTHING/tail and digits behind. */
static bool named(const member *m, const char *tail, bool digits)
{
    size_t size = m->name_size, tail_size = strlen(tail);
    while (digits && size > 0 && m->name[size - 1] >= '0' && m->name[size - 1] <= '9')
        size--;
    if (digits && size == m->name_size)
        return false;
    return size > tail_size && m->name[size - tail_size - 1] == '/' && memcmp(m->name + size - tail_size, tail, tail_size) == 0;
}

static bool mentions(const member *pickle, const char *text)
{
    return memmem(pickle->data, pickle->size, text, strlen(text)) != NULL;
}

slip_status slip_torch_file_find(const unsigned char *bytes, size_t size, const char *source, int64_t elements, slip_dtype *dtype,
                                 size_t *offset)
{
    archive zip = {bytes, size, source};
    size_t at = 0, end = 0, count = 0, found = 0;
    member storage = {0}, pickle = {0};
    slip_status status = find_directory(&zip, &at, &end, &count);
    for (size_t i = 0; i < count && status == SLIP_OK; i++) {
        member m;
        status = read_member(&zip, &at, end, &m);
        if (status != SLIP_OK)
            break;
        if (named(&m, "data.pkl", false))
            pickle = m;
        else if (named(&m, "byteorder", false) && (m.size != 6 || memcmp(m.data, "little", 6) != 0))
            status = slip_fail(SLIP_ERR_INPUT, "%s: its byte order is not little", source);
        else if (named(&m, "data/", true) && (m.size == (uint64_t)elements * 2 || m.size == (uint64_t)elements * 4)) {
            storage = m;
            found++;
        }
    }
    if (status != SLIP_OK)
        return status;
    if (found != 1 || pickle.data == NULL)
        return slip_fail(SLIP_ERR_INPUT, "%s: %zu storages of %lld values of bf16 or f32; one is expected", source, found,
                         (long long)elements);
    bool narrow = storage.size == (uint64_t)elements * 2;
    if (!mentions(&pickle, narrow ? "torch\nBFloat16Storage\n" : "torch\nFloatStorage\n"))
        return slip_fail(SLIP_ERR_INPUT, "%s: its storage of %zu bytes is not of type %s", source, storage.size, narrow ? "bf16" : "f32");
    *dtype = narrow ? SLIP_BF16 : SLIP_F32;
    *offset = (size_t)(storage.data - bytes);
    return SLIP_OK;
}
