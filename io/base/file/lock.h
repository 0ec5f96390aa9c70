/* One writer a file: a lock beside it, PATH.lock, that tells who holds it.
 *
 * The lock is flock()'s on that file. It belongs to the open file, not to the process, so that other parts may open and
 * close the output meanwhile (with fcntl()'s any close would end it); it ends with the process, however that ends; and Linux
 * makes it hold across hosts on NFS (since 2.6.12, as a lock of the server) and on Lustre (mounted with flock, its default
 * since 2.13). It is not on the output itself, whose file a repair replaces. Where a file system has no locks, that PATH.lock
 * was there before is taken for one. A mount with local locks only (NFS local_lock, Lustre localflock) hides other hosts.
 */
#ifndef SLIP_IO_BASE_FILE_LOCK_H
#define SLIP_IO_BASE_FILE_LOCK_H

#include "io/base/status.h"

typedef struct slip_lock slip_lock;

/* Lock `path`, which need not exist and may be a link. SLIP_ERR_INPUT: another holds it, and the message says who. */
slip_status slip_lock_take(const char *path, slip_lock **lock);

/* Give it back and remove PATH.lock. NULL is fine. */
void slip_lock_release(slip_lock *lock);

#endif
