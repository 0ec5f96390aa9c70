#include "io/checkpoint/packed.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/base/file/replace.h"

slip_status slip_packed_folder(const char *path, char **folder)
{
    return slip_file_beside(path, ".gpu", folder);
}

slip_status slip_packed_path(const char *path, const slip_packed_name *name, char **file)
{
    char *folder = NULL;
    slip_status status = slip_packed_folder(path, &folder);
    if (status == SLIP_OK && asprintf(file, "%s/%s-%d-of-%d.h5", folder, name->draft ? "draft" : "target", name->shard, name->shards) < 0)
        status = slip_fail(SLIP_ERR_FAILED, "%s: no memory for a path", folder);
    free(folder);
    return status;
}
