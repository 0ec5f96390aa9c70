#include "io/checkpoint/parts.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/base/file/file.h"

static const char LAYERS[] = "target/layers/", DRAFT[] = "draft";

bool slip_part_of_weight(const char *weight, char group[SLIP_PART_GROUP])
{
    size_t length = strlen(LAYERS);
    if (strncmp(weight, LAYERS, length) == 0)
        length += strspn(weight + length, "0123456789");
    else if (strncmp(weight, DRAFT, strlen(DRAFT)) == 0)
        length = strlen(DRAFT);
    else
        return false;
    if (weight[length] != '/' || length >= SLIP_PART_GROUP)
        return false;
    memcpy(group, weight, length);
    group[length] = '\0';
    return true;
}

/* "layer-003.h5" */
static bool file_name(const char *group, char name[SLIP_PART_GROUP])
{
    if (strcmp(group, DRAFT) == 0)
        return snprintf(name, SLIP_PART_GROUP, "draft.h5") > 0;
    const char *number = group + strlen(LAYERS);
    if (strncmp(group, LAYERS, strlen(LAYERS)) != 0 || number[0] == '\0' || number[strspn(number, "0123456789")] != '\0' ||
        strlen(number) > 5 || (number[0] == '0' && number[1] != '\0'))
        return false;
    return snprintf(name, SLIP_PART_GROUP, "layer-%03d.h5", atoi(number)) > 0;
}

/* What a path leads to; what does not exist yet keeps its words. */
static char *resolve(const char *path)
{
    char *whole = realpath(path, NULL);
    return whole != NULL || errno != ENOENT ? whole : strdup(path);
}

char *slip_part_folder(const char *path)
{
    char *whole = resolve(path), *folder = NULL;
    if (whole != NULL && asprintf(&folder, "%s.d", whole) < 0)
        folder = NULL;
    free(whole);
    return folder;
}

char *slip_part_path(const char *path, const char *group)
{
    char name[SLIP_PART_GROUP], *folder = slip_part_folder(path), *joined = NULL;
    if (folder != NULL && (!file_name(group, name) || asprintf(&joined, "%s/%s", folder, name) < 0))
        joined = NULL;
    free(folder);
    return joined;
}

char *slip_part_link(const char *path, const char *group)
{
    char name[SLIP_PART_GROUP], *folder = slip_part_folder(path), *joined = NULL;
    if (folder != NULL && (!file_name(group, name) || asprintf(&joined, "%s/%s", basename(folder), name) < 0))
        joined = NULL;
    free(folder);
    return joined;
}

/* ---- all files ---- */

static slip_status open_file(slip_checkpoint_files *files, char *path, int64_t bytes)
{
    int64_t size = 0;
    if (path == NULL)
        return slip_fail(SLIP_ERR_FAILED, "no memory for the path of a checkpoint's file");
    int file = -1;
    slip_status status = slip_file_open(path, &file, &size);
    files->paths[files->count] = path;
    files->files[files->count++] = file;
    if (status == SLIP_OK && size != bytes)
        status =
            slip_fail(SLIP_ERR_INPUT, "%s: %lld bytes here, %lld on rank 0: not the same file", path, (long long)size, (long long)bytes);
    return status;
}

slip_status slip_checkpoint_files_open(const slip_checkpoint *checkpoint, const char *path, slip_checkpoint_files *files)
{
    size_t count = (size_t)checkpoint->part_count + 1;
    *files = (slip_checkpoint_files){calloc(count, sizeof *files->paths), calloc(count, sizeof *files->files), 0};
    slip_status status = files->paths != NULL && files->files != NULL ? open_file(files, strdup(path), checkpoint->file_size)
                                                                      : slip_fail(SLIP_ERR_FAILED, "%s: no memory for its files", path);
    for (int32_t i = 0; i < checkpoint->part_count && status == SLIP_OK; i++)
        status = open_file(files, slip_part_path(path, checkpoint->parts[i].group), checkpoint->parts[i].bytes);
    if (status != SLIP_OK)
        slip_checkpoint_files_close(files);
    return status;
}

void slip_checkpoint_files_close(slip_checkpoint_files *files)
{
    for (int32_t i = 0; i < files->count && files->files != NULL && files->paths != NULL; i++) {
        if (files->files[i] >= 0)
            close(files->files[i]);
        free(files->paths[i]);
    }
    free(files->paths);
    free(files->files);
    memset(files, 0, sizeof *files);
}
