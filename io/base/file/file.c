#include "io/base/file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/activity/activity.h"

/* Linux moves at most 2 GiB - 4 KiB in one call; a smaller piece also keeps a slow disk interruptible. */
enum { PIECE = 1 << 30 };

/* What `mode` is, for a message. */
static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
}

slip_status slip_file_blame(int error)
{
    switch (error) {
    case EACCES:
    case EEXIST:
    case EINVAL:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case EPERM:
    case EROFS:
    case ETXTBSY: return SLIP_ERR_INPUT;
    default: return SLIP_ERR_FAILED;
    }
}

slip_status slip_file_check_regular(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return slip_fail(slip_file_blame(errno), "%s: cannot be opened: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return slip_fail(SLIP_ERR_INPUT, "%s: Is %s, not a regular file", path, kind_of(info.st_mode));
    return SLIP_OK;
}

/* The folder of a file, malloc'ed. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

slip_status slip_file_check_folder(const char *path)
{
    char *folder = folder_of(path);
    if (folder == NULL)
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    int error = access(folder, W_OK | X_OK) == 0 ? 0 : errno;
    free(folder);
    return error == 0 ? SLIP_OK : slip_fail(slip_file_blame(error), "%s: cannot be written: %s", path, strerror(error));
}

bool slip_file_is_there(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool is_one(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Two names that nothing has. */
static bool is_same_name(const char *a, const char *b)
{
    struct stat first, second;
    char *folder = folder_of(a), *other = folder_of(b);
    bool same = strcmp(a, b) == 0 || (folder != NULL && other != NULL && strcmp(base_of(a), base_of(b)) == 0 && stat(folder, &first) == 0 &&
                                      stat(other, &second) == 0 && is_one(&first, &second));
    free(folder);
    free(other);
    return same;
}

bool slip_file_is_same(const char *a, const char *b)
{
    struct stat first, second;
    bool there = stat(a, &first) == 0, other = stat(b, &second) == 0;
    if (there && other)
        return S_ISREG(first.st_mode) && is_one(&first, &second);
    return !there && !other && is_same_name(a, b);
}

/* Git LFS leaves such a text in the place of a file that it did not fetch; by its specification it has less than 1024 bytes. */
static bool is_lfs_pointer(int file, int64_t size)
{
    static const char first[] = "version https://git-lfs.github.com/spec/";
    char head[sizeof first - 1];
    return size < 1024 && pread(file, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, first, sizeof head) == 0;
}

const char *slip_file_slash(const char *folder)
{
    size_t size = strlen(folder);
    return size > 0 && folder[size - 1] == '/' ? "" : "/";
}

slip_status slip_file_open(const char *path, int *fd, int64_t *size)
{
    slip_status checked = slip_file_check_regular(path);
    if (checked != SLIP_OK)
        return checked;
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* should a FIFO have come in between, it does not hang */
    if (file < 0)
        return slip_fail(slip_file_blame(errno), "%s: cannot be opened: %s", path, strerror(errno));
    struct stat info;
    if (fstat(file, &info) != 0) {
        slip_status status = slip_fail(SLIP_ERR_FAILED, "%s: %s", path, strerror(errno));
        close(file);
        return status;
    }
    if (is_lfs_pointer(file, info.st_size)) {
        close(file);
        return slip_fail(SLIP_ERR_INPUT, "%s: is a Git LFS pointer, not the file itself: fetch that by git lfs pull", path);
    }
    *fd = file;
    *size = info.st_size;
    return SLIP_OK;
}

slip_status slip_file_read(const char *path, size_t limit, char **text, size_t *size)
{
    int fd;
    int64_t bytes;
    slip_status status = slip_file_open(path, &fd, &bytes);
    if (status != SLIP_OK)
        return status;
    char *buffer = NULL;
    if ((uint64_t)bytes > limit) {
        status = slip_fail(SLIP_ERR_INPUT, "%s: %lld bytes, more than the %zu allowed", path, (long long)bytes, limit);
        goto err_close;
    }
    buffer = malloc((size_t)bytes + 1);
    if (buffer == NULL) {
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for %lld bytes", path, (long long)bytes);
        goto err_close;
    }
    status = slip_file_read_at(fd, path, buffer, bytes, 0);
    if (status != SLIP_OK)
        goto err_free;
    buffer[bytes] = '\0';
    close(fd);
    *text = buffer;
    *size = (size_t)bytes;
    return SLIP_OK;

err_free:
    free(buffer);
err_close:
    close(fd);
    return status;
}

/* Some of the bytes that the places hold, PIECE at the most where there is one place. */
static slip_status read_some(int fd, const char *path, struct iovec *places, int32_t count, int64_t offset, int64_t left, size_t *got)
{
    size_t first = places[0].iov_len;
    if (count == 1 && first > PIECE)
        places[0].iov_len = PIECE;
    slip_activity_wait(SLIP_WAIT_CALL, "reading", path);
    ssize_t now = preadv(fd, places, count, offset);
    int error = errno;
    slip_activity_go_on();
    places[0].iov_len = first;
    if (now == 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: ends at byte %lld, %lld bytes early", path, (long long)offset, (long long)left);
    if (now < 0 && error != EINTR)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be read at byte %lld: %s", path, (long long)offset, strerror(error));
    *got = now > 0 ? (size_t)now : 0;
    return SLIP_OK;
}

slip_status slip_file_read_places(int fd, const char *path, struct iovec *places, int32_t count, int64_t offset)
{
    int64_t left = 0;
    for (int32_t i = 0; i < count; i++)
        left += (int64_t)places[i].iov_len;
    while (left > 0 && count > 0) {
        size_t got = 0;
        slip_status status = read_some(fd, path, places, count, offset, left, &got);
        if (status != SLIP_OK)
            return status;
        offset += (int64_t)got;
        left -= (int64_t)got;
        for (; count > 0 && got >= places[0].iov_len; places++, count--)
            got -= places[0].iov_len;
        if (count > 0)
            places[0] = (struct iovec){(char *)places[0].iov_base + got, places[0].iov_len - got};
    }
    return SLIP_OK;
}

slip_status slip_file_read_at(int fd, const char *path, void *out, int64_t bytes, int64_t offset)
{
    struct iovec place = {out, (size_t)bytes};
    return slip_file_read_places(fd, path, &place, 1, offset);
}

slip_status slip_file_write_at(int fd, const char *path, const void *data, int64_t bytes, int64_t offset)
{
    for (const char *from = data; bytes > 0;) {
        slip_activity_wait(SLIP_WAIT_CALL, "writing", path);
        ssize_t put = pwrite(fd, from, bytes < PIECE ? (size_t)bytes : PIECE, offset);
        slip_activity_go_on();
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return slip_fail(SLIP_ERR_FAILED, "%s: cannot be written at byte %lld: %s", path, (long long)offset,
                             put < 0 ? strerror(errno) : "nothing written");
        from += put;
        offset += put;
        bytes -= put;
    }
    return SLIP_OK;
}

void slip_file_ask_ahead(int fd, const char *path, int64_t bytes, int64_t offset)
{
    slip_activity_wait(SLIP_WAIT_CALL, "reading", path);
    posix_fadvise(fd, offset, bytes, POSIX_FADV_WILLNEED);
    slip_activity_go_on();
}
