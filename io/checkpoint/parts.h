/* The files of a checkpoint: the one that a user names and, where that is an index, a file a layer in the folder beside it.
 *
 *   MODEL.h5                     the index: external links target/layers/N and draft, and everything else itself
 *   MODEL.h5.d/layer-NNN.h5      /target/layers/N and its /checksums
 *   MODEL.h5.d/draft.h5          /draft and its /checksums
 *
 * A link of any other form is refused: nothing is read outside of that folder.
 */
#ifndef SLIP_IO_CHECKPOINT_PARTS_H
#define SLIP_IO_CHECKPOINT_PARTS_H

#include <stdbool.h>

#include "io/checkpoint/checkpoint.h"

/* The group that a weight's datasets stand in when layers are files: "target/layers/3", "draft"; false: the index keeps it. */
bool slip_part_of_weight(const char *weight, char group[SLIP_PART_GROUP]);

/* The link to a group's file, relative to the folder of the index at `path`: "MODEL.h5.d/layer-003.h5". malloc'ed; NULL: no memory, or
 * not such a group. Symbolic links in `path` are followed, as far as it exists. */
char *slip_part_link(const char *path, const char *group);

/* That folder and file, from here: malloc'ed; NULL as above. */
char *slip_part_folder(const char *path);
char *slip_part_path(const char *path, const char *group);

/* All files of a checkpoint, open for reading. */
typedef struct {
    char **paths;
    int *files;
    int32_t count;
} slip_checkpoint_files;

/* SLIP_ERR_INPUT for a file that is missing, or not as long as the table says: not the same file as on rank 0. */
slip_status slip_checkpoint_files_open(const slip_checkpoint *checkpoint, const char *path, slip_checkpoint_files *files);
void slip_checkpoint_files_close(slip_checkpoint_files *files); /* a zeroed one is fine */

#endif
