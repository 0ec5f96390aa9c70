#include "io/openai/request_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/openai/request.h"

static const char NAME[] = "standard input";

/* A file that is gone when it is closed. */
static slip_status open_nameless(const char *folder, int *file)
{
    char *path;
    if (asprintf(&path, "%s/slipstream-XXXXXX", folder) < 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: no memory to keep it", NAME);
    *file = mkostemp(path, O_CLOEXEC);
    slip_status status = *file >= 0 ? SLIP_OK
                                    : slip_fail(SLIP_ERR_FAILED, "%s: cannot be kept in %s (TMPDIR): %s", NAME, folder, strerror(errno));
    if (status == SLIP_OK)
        unlink(path);
    free(path);
    return status;
}

static slip_status copy(int from, int to, const char *folder)
{
    static char block[1 << 18];
    int64_t size = 0;
    for (;;) {
        ssize_t got = read(from, block, sizeof block);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return slip_fail(SLIP_ERR_FAILED, "%s: cannot be read: %s", NAME, strerror(errno));
        if (got == 0)
            return SLIP_OK;
        slip_status status = slip_file_write_at(to, folder, block, got, size);
        if (status != SLIP_OK)
            return status;
        size += got;
    }
}

static slip_status open_standard_input(int *file)
{
    struct stat info;
    int mode = fcntl(STDIN_FILENO, F_GETFL);
    const char *folder = getenv("TMPDIR");
    folder = folder != NULL && folder[0] != '\0' ? folder : "/tmp";
    if (mode < 0 || (mode & O_ACCMODE) == O_WRONLY)
        return slip_fail(SLIP_ERR_INPUT, "%s: is closed; -i names a file", NAME);
    if (fstat(STDIN_FILENO, &info) != 0)
        return slip_fail(SLIP_ERR_INPUT, "%s: cannot be read: %s", NAME, strerror(errno));
    if (S_ISREG(info.st_mode) && lseek(STDIN_FILENO, 0, SEEK_CUR) == 0) {
        *file = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
        return *file >= 0 ? SLIP_OK : slip_fail(SLIP_ERR_FAILED, "%s: cannot be read: %s", NAME, strerror(errno));
    }
    int kept;
    slip_status status = open_nameless(folder, &kept);
    if (status != SLIP_OK)
        return status;
    status = copy(STDIN_FILENO, kept, folder);
    if (status == SLIP_OK && lseek(kept, 0, SEEK_SET) != 0)
        status = slip_fail(SLIP_ERR_FAILED, "%s: cannot be read again: %s", NAME, strerror(errno));
    if (status != SLIP_OK)
        close(kept);
    else
        *file = kept;
    return status;
}

slip_status slip_request_input_open(const char *path, slip_lines *lines)
{
    int file;
    if (strcmp(path, "-") != 0)
        return slip_lines_open(path, SLIP_REQUEST_LINE_MAX, lines);
    slip_status status = open_standard_input(&file);
    return status == SLIP_OK ? slip_lines_adopt(file, NAME, SLIP_REQUEST_LINE_MAX, lines) : status;
}
