#include "io/base/file/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file/file.h"

/* As slip_file_beside(), without a suffix; NULL with errno when memory or the folder fails. */
static char *resolve(const char *path)
{
    char *whole = realpath(path, NULL), *copy = NULL, *folder = NULL, *joined = NULL;
    if (whole != NULL || errno != ENOENT)
        return whole;
    copy = strdup(path);
    folder = copy != NULL ? realpath(dirname(copy), NULL) : NULL;
    const char *slash = strrchr(path, '/');
    if (folder != NULL && asprintf(&joined, "%s/%s", folder, slash != NULL ? slash + 1 : path) < 0)
        joined = NULL;
    free(copy);
    free(folder);
    return joined;
}

slip_status slip_file_beside(const char *path, const char *suffix, char **beside)
{
    char *real = resolve(path), *made;
    if (real == NULL)
        return slip_fail(slip_file_blame(errno), "%s: cannot be written: %s", path, strerror(errno));
    int length = asprintf(&made, "%s%s", real, suffix);
    free(real);
    if (length < 0)
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be written: out of memory", path);
    *beside = made;
    return SLIP_OK;
}

void slip_file_sync_folder(const char *path)
{
    char *copy = strdup(path);
    int folder = copy == NULL ? -1 : open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        (void)fsync(folder);
        close(folder);
    }
    free(copy);
}

static slip_status failed(const char *partial)
{
    return slip_fail(SLIP_ERR_FAILED, "%s: cannot be written: %s", partial, strerror(errno));
}

/* Fill the file at `partial` and sync it. */
static slip_status fill(const char *partial, const char *real, slip_status (*write)(void *context, FILE *file), void *context)
{
    struct stat info;
    FILE *file = fopen(partial, "we");
    if (file == NULL)
        return failed(partial);
    slip_status status = write(context, file);
    if (status == SLIP_OK && (fflush(file) != 0 || ferror(file) || fsync(fileno(file)) != 0))
        status = failed(partial);
    if (status == SLIP_OK && stat(real, &info) == 0 && fchmod(fileno(file), info.st_mode & 07777) != 0)
        status = failed(partial);
    if (fclose(file) != 0 && status == SLIP_OK)
        status = failed(partial);
    return status;
}

slip_status slip_file_replace(const char *path, slip_status (*write)(void *context, FILE *file), void *context)
{
    char *real = resolve(path), *partial = NULL;
    if (real == NULL || asprintf(&partial, "%s.partial", real) < 0) {
        free(real);
        return slip_fail(SLIP_ERR_FAILED, "%s: cannot be replaced: %s", path, strerror(errno));
    }
    slip_status status = fill(partial, real, write, context);
    if (status == SLIP_OK && rename(partial, real) != 0)
        status = slip_fail(SLIP_ERR_FAILED, "%s: cannot take the place of %s: %s", partial, real, strerror(errno));
    if (status == SLIP_OK)
        slip_file_sync_folder(real);
    else
        unlink(partial);
    free(partial);
    free(real);
    return status;
}
