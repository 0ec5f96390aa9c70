#include "io/report/trace/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

#include "io/base/file/file.h"

/* SIGKILL may end a write between two pages, so that a change that crosses one is written from its end: its count comes last. */
enum { PAGE = 4096, DRIVER_VALUE = 487 /* of those for a program's own use */ };
#define ADDRESS_MAX ((haddr_t)INT64_MAX)

/* New bytes of something that is in the file. */
typedef struct {
    haddr_t address;
    size_t size;
    int turn; /* when it is written: lowest first */
    unsigned char *bytes;
} change;

typedef struct {
    H5FD_t hdf5; /* first: HDF5 sees no more of it */
    int file;
    char *path;
    haddr_t end;       /* of what HDF5 has allocated */
    haddr_t committed; /* what is below may be in use in the file on the disk */
    bool begun;        /* `committed` is known */
    bool broken;       /* a write failed: the file stays as it was flushed last */
    change *changes;
    size_t count, room;
} trace_file;

static herr_t fail(const char *what)
{
    int error = errno;
    H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_IO, H5E_WRITEERROR, "%s: errno = %d", what, error);
    return -1;
}

/* ---- the order of changes ---- */

enum { TURN_END, TURN_NAMES, TURN_INDEX, TURN_LENGTHS = TURN_INDEX + 256 };

/* A node of an index begins with its kind and level, 0 for a leaf: a parent that knows a new child comes before the node that gives its
 * rows to it. */
static int turn_of(H5FD_mem_t type, const unsigned char *bytes, size_t size)
{
    switch (type) {
    case H5FD_MEM_SUPER: return TURN_END;
    case H5FD_MEM_LHEAP:
    case H5FD_MEM_GHEAP: return TURN_NAMES;
    case H5FD_MEM_BTREE: return TURN_INDEX + (size > 5 && memcmp(bytes, "TREE", 4) == 0 ? 255 - bytes[5] : 255);
    default: return TURN_LENGTHS;
    }
}

static int by_turn(const void *left, const void *right)
{
    const change *a = left, *b = right;
    return a->turn != b->turn ? (a->turn < b->turn ? -1 : 1) : (a->address > b->address) - (a->address < b->address);
}

/* The change at this address, of this size: there is one. */
static change *find(trace_file *file, haddr_t address, size_t size)
{
    for (size_t i = 0; i < file->count; i++)
        if (file->changes[i].address == address && file->changes[i].size == size)
            return &file->changes[i];
    if (file->count == file->room) {
        size_t room = 2 * file->room + 16;
        change *grown = realloc(file->changes, room * sizeof *grown);
        if (!grown)
            return NULL;
        file->changes = grown;
        file->room = room;
    }
    change *made = &file->changes[file->count];
    *made = (change){.address = address, .size = size, .bytes = malloc(size)};
    file->count += made->bytes != NULL;
    return made->bytes ? made : NULL;
}

static herr_t write_change(trace_file *file, const change *one)
{
    for (haddr_t end = one->address + one->size; end > one->address;) {
        haddr_t page = (end - 1) / PAGE * PAGE, from = page > one->address ? page : one->address;
        if (slip_file_write_at(file->file, file->path, one->bytes + (from - one->address), (int64_t)(end - from), (int64_t)from) != SLIP_OK)
            return fail("writing");
        end = from;
    }
    return 0;
}

static void forget_changes(trace_file *file)
{
    for (size_t i = 0; i < file->count; i++)
        free(file->changes[i].bytes);
    file->count = 0;
}

/* Bytes that an earlier end has left behind are cut off. */
static herr_t cut(const trace_file *file)
{
    struct stat info;
    if (fstat(file->file, &info) == 0 && (haddr_t)info.st_size > file->end && ftruncate(file->file, (off_t)file->end) != 0)
        return fail("cutting");
    return 0;
}

static herr_t commit(trace_file *file)
{
    if (file->broken)
        return -1;
    if (file->count > 0)
        qsort(file->changes, file->count, sizeof *file->changes, by_turn);
    for (size_t i = 0; i < file->count && !file->broken; i++)
        file->broken = write_change(file, &file->changes[i]) < 0;
    if (file->broken)
        return -1;
    forget_changes(file);
    file->committed = file->end;
    return cut(file);
}

/* ---- what HDF5 calls ---- */

static H5FD_t *open_file(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
    const int made = (flags & H5F_ACC_CREAT ? O_CREAT : 0) | (flags & H5F_ACC_TRUNC ? O_TRUNC : 0);
    trace_file *file = calloc(1, sizeof *file);
    (void)fapl;
    (void)maxaddr;
    if (file && (file->path = strdup(name)) != NULL) {
        file->begun = made != 0;
        file->file = open(name, O_RDWR | O_CLOEXEC | made, 0666);
        if (file->file >= 0)
            return &file->hdf5;
    }
    fail("opening");
    if (file)
        free(file->path);
    free(file);
    return NULL;
}

static herr_t close_file(H5FD_t *hdf5)
{
    trace_file *file = (trace_file *)hdf5;
    herr_t status = file->broken ? 0 : commit(file); /* what is broken has been told */
    forget_changes(file);
    free(file->changes);
    if (close(file->file) != 0)
        status = fail("closing");
    free(file->path);
    free(file);
    return status;
}

static int compare_files(const H5FD_t *left, const H5FD_t *right)
{
    struct stat a, b;
    if (fstat(((const trace_file *)left)->file, &a) != 0 || fstat(((const trace_file *)right)->file, &b) != 0)
        return left < right ? -1 : left > right;
    if (a.st_dev != b.st_dev)
        return a.st_dev < b.st_dev ? -1 : 1;
    return (a.st_ino > b.st_ino) - (a.st_ino < b.st_ino);
}

/* HDF5 gathers nothing on its side: each piece comes alone and with its kind. */
static herr_t query(const H5FD_t *hdf5, unsigned long *flags)
{
    (void)hdf5;
    *flags = 0;
    return 0;
}

/* Before the first change: the file ends where HDF5 has read that it does. What a killed process has left behind that is in nobody's use. */
static void begin(trace_file *file)
{
    if (!file->begun)
        file->committed = file->end;
    file->begun = true;
}

static haddr_t allocate(H5FD_t *hdf5, H5FD_mem_t type, hid_t dxpl, hsize_t size)
{
    trace_file *file = (trace_file *)hdf5;
    (void)type;
    (void)dxpl;
    begin(file);
    haddr_t address = file->end;
    if (size > ADDRESS_MAX - address)
        return HADDR_UNDEF;
    file->end += size;
    return address;
}

static haddr_t get_end(const H5FD_t *hdf5, H5FD_mem_t type)
{
    (void)type;
    return ((const trace_file *)hdf5)->end;
}

static herr_t set_end(H5FD_t *hdf5, H5FD_mem_t type, haddr_t end)
{
    (void)type;
    ((trace_file *)hdf5)->end = end;
    return 0;
}

static haddr_t get_file_end(const H5FD_t *hdf5, H5FD_mem_t type)
{
    struct stat info;
    (void)type;
    return fstat(((const trace_file *)hdf5)->file, &info) == 0 ? (haddr_t)info.st_size : HADDR_UNDEF;
}

static void overlay(const change *one, haddr_t address, size_t size, unsigned char *out)
{
    haddr_t from = one->address > address ? one->address : address;
    haddr_t end = one->address + one->size < address + size ? one->address + one->size : address + size;
    if (from < end)
        memcpy(out + (from - address), one->bytes + (from - one->address), (size_t)(end - from));
}

static herr_t read_bytes(H5FD_t *hdf5, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, void *out)
{
    trace_file *file = (trace_file *)hdf5;
    size_t done = 0;
    ssize_t got = 1;
    (void)type;
    (void)dxpl;
    while (done < size && got > 0) {
        got = pread(file->file, (char *)out + done, size - done, (off_t)(address + done));
        done += got > 0 ? (size_t)got : 0;
    }
    if (got < 0)
        return fail("reading");
    memset((char *)out + done, 0, size - done); /* allocated, and not written so far */
    for (size_t i = 0; i < file->count; i++)
        overlay(&file->changes[i], address, size, out);
    return 0;
}

static herr_t write_bytes(H5FD_t *hdf5, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size, const void *bytes)
{
    trace_file *file = (trace_file *)hdf5;
    (void)dxpl;
    begin(file);
    if (type == H5FD_MEM_DRAW || (type != H5FD_MEM_SUPER && address >= file->committed)) {
        if (slip_file_write_at(file->file, file->path, bytes, (int64_t)size, (int64_t)address) == SLIP_OK)
            return 0;
        file->broken = true;
        return fail("writing");
    }
    change *one = find(file, address, size);
    if (!one) {
        file->broken = true;
        errno = ENOMEM;
        return fail("writing");
    }
    memcpy(one->bytes, bytes, size);
    one->turn = turn_of(type, bytes, size);
    return 0;
}

static herr_t flush(H5FD_t *hdf5, hid_t dxpl, hbool_t closing)
{
    (void)dxpl;
    (void)closing;
    return commit((trace_file *)hdf5);
}

/* A file must not be shorter than its superblock says; shorter it becomes when that has been written. */
static herr_t lengthen(H5FD_t *hdf5, hid_t dxpl, hbool_t closing)
{
    trace_file *file = (trace_file *)hdf5;
    haddr_t now = get_file_end(hdf5, H5FD_MEM_DEFAULT);
    (void)dxpl;
    (void)closing;
    if (file->broken || now >= file->end || ftruncate(file->file, (off_t)file->end) == 0)
        return 0;
    file->broken = true;
    return fail("lengthening");
}

static const H5FD_class_t driver = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = DRIVER_VALUE,
#endif
    .name = "slipstream_trace",
    .maxaddr = ADDRESS_MAX,
    .fc_degree = H5F_CLOSE_WEAK,
    .open = open_file,
    .close = close_file,
    .cmp = compare_files,
    .query = query,
    .alloc = allocate,
    .get_eoa = get_end,
    .set_eoa = set_end,
    .get_eof = get_file_end,
    .read = read_bytes,
    .write = write_bytes,
    .flush = flush,
    .truncate = lengthen,
    .fl_map = H5FD_FLMAP_DEFAULT,
};

hid_t slip_trace_driver(void)
{
    static hid_t registered = -1; /* for as long as the process lives */
    if (registered < 0)
        registered = H5FDregister(&driver);
    hid_t list = registered < 0 ? -1 : H5Pcreate(H5P_FILE_ACCESS);
    if (list >= 0 && (H5Pset_driver(list, registered, NULL) < 0 || H5Pset_meta_block_size(list, 0) < 0)) {
        H5Pclose(list);
        return -1;
    }
    return list;
}
