#include "io/report/output.h"

#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/file/file.h"
#include "io/base/file/leftover.h"
#include "io/base/file/lock.h"

struct slip_output {
    const char *path;
    slip_lock *lock;
};

static slip_status check(const char *path, bool replace)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return errno == ENOENT ? SLIP_OK : slip_fail(slip_file_blame(errno), "%s: cannot be written: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return slip_file_check_regular(path);
    if (access(path, W_OK) != 0)
        return slip_fail(slip_file_blame(errno), "%s: cannot be written: %s", path, strerror(errno));
    if (info.st_size > 0 && !replace)
        return slip_fail(SLIP_ERR_INPUT, "%s: exists already: remove it, or give another name", path);
    return SLIP_OK;
}

slip_status slip_output_check(const char *path, bool replace)
{
    slip_status status = check(path, replace);
    return status == SLIP_OK && !slip_file_is_there(path) ? slip_file_check_folder(path) : status;
}

slip_status slip_output_claim(const char *path, bool replace, bool whole, slip_output **output)
{
    slip_lock *lock;
    slip_status status = check(path, replace);
    if (status == SLIP_OK)
        status = slip_lock_take(path, &lock);
    if (status != SLIP_OK)
        return status;
    slip_output *made = malloc(sizeof *made);
    if (made == NULL) {
        slip_lock_release(lock);
        return slip_fail(SLIP_ERR_FAILED, "out of memory");
    }
    *made = (slip_output){path, lock};
    if (whole)
        slip_leftover_add(path);
    *output = made;
    return SLIP_OK;
}

void slip_output_close(slip_output *output, bool whole)
{
    if (output == NULL)
        return;
    slip_leftover_forget(output->path);
    if (!whole)
        unlink(output->path);
    slip_lock_release(output->lock);
    free(output);
}

/* The driver that met the fault tells errno in its message. */
static herr_t find_errno(unsigned n, const H5E_error2_t *error, void *context)
{
    static const char mark[] = "errno = ";
    const char *found = error->desc != NULL ? strstr(error->desc, mark) : NULL;
    (void)n;
    if (found != NULL)
        *(int *)context = atoi(found + strlen(mark));
    return found != NULL;
}

slip_status slip_output_failed(const char *path)
{
    int error = 0;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, find_errno, &error);
    return slip_fail(slip_file_blame(error), "%s: cannot be written: %s", path, error ? strerror(error) : "HDF5 does not say why");
}
