/* Files to take away should a signal end the process at once: a lock that it holds, an output that it has made and not written to. */
#ifndef SLIP_IO_BASE_FILE_LEFTOVER_H
#define SLIP_IO_BASE_FILE_LEFTOVER_H

/* `path` is borrowed until it is forgotten. A handful has room; more are left where they are. */
void slip_leftover_add(const char *path);

/* It stays from now on. One that was not added is ignored. */
void slip_leftover_forget(const char *path);

/* Remove them. For signal handlers. */
void slip_leftover_remove(void);

#endif
