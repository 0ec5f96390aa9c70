#include "io/base/file/leftover.h"

#include <stddef.h>
#include <unistd.h>

enum { ROOM = 16 };

static const char *volatile paths[ROOM]; /* NULL: a free place */

void slip_leftover_add(const char *path)
{
    for (int i = 0; i < ROOM; i++)
        if (paths[i] == NULL) {
            paths[i] = path;
            return;
        }
}

void slip_leftover_forget(const char *path)
{
    for (int i = 0; i < ROOM; i++)
        if (paths[i] == path)
            paths[i] = NULL;
}

void slip_leftover_remove(void)
{
    for (int i = 0; i < ROOM; i++) {
        const char *path = paths[i];
        if (path != NULL)
            unlink(path);
    }
}
