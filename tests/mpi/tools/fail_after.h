/* What the files of fail_after.so share. */
#ifndef SLIP_TESTS_FAIL_AFTER_H
#define SLIP_TESTS_FAIL_AFTER_H

#include <stdbool.h>
#include <stddef.h>

/* The function behind ours. */
#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

const char *fail_setting(const char *name, const char *otherwise);

/* ---- fail_fork.c: FAIL_HOW=all ---- */

/* True in a child of fail_fork(): MPI and all threads but one are its parent's. */
extern bool fail_forked;

/* The call with this number is to fail, in a child of its own. True there; the parent gets false once the child has ended and been judged,
 * and the files are as they were before. */
bool fail_fork(long number);

/* ---- fail_live.c: memory that is not freed ---- */

/* `site`: where in the program it was allocated. */
void fail_live_add(const void *memory, size_t site);
void fail_live_remove(const void *memory);

/* Around fork(): no other thread is in here then. */
void fail_live_lock(void);
void fail_live_unlock(void);

/* Sites with memory, a line each, to FAIL_COUNT; or to standard error those that have more of it than such a file (FAIL_LIVE) says. */
void fail_live_write(const char *path);
void fail_live_compare(const char *path);

#endif
