/* Preloaded into a rank (LD_PRELOAD): makes the Nth call of a kind fail, never return, or be the process's last.
 *
 *   FAIL_KIND   memory, json (memory for jansson), open, read, write, sync, rename, cut (ftruncate), close, mpi; poll: MPI's tests of what
 *               is on its way, of which no two runs make the same number
 *   FAIL_AT     which call of that kind, from 1; 0: none
 *   FAIL_HOW    error (the default), hang, kill; all: every FAIL_STRIDEth call from FAIL_AT on fails, each in a child process (fail_fork.c)
 *   FAIL_RANK   the rank it is for; others run as ever
 *   FAIL_FROM   whose calls count, by a word in the name of the program or library: slipstream (the default), libjansson, libhdf5
 *   FAIL_COUNT  a file that gets the numbers of calls, "KIND COUNT" a line, when the process ends, and what memory it did not free
 *   FAIL_LIVE   such a file: what else is not freed when the process ends is told on standard error
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <mpi.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fail_after.h"

#define KINDS(X) X(memory) X(json) X(open) X(read) X(write) X(sync) X(rename) X(cut) X(close) X(mpi) X(poll)
typedef enum {
#define KIND(name) KIND_##name,
    KINDS(KIND)
#undef KIND
        KIND_COUNT
} kind;
static const char *const kind_names[KIND_COUNT] = {
#define NAME(name) #name,
    KINDS(NAME)
#undef NAME
};

enum { SPANS = 16 };
static struct {
    uintptr_t first, end;
} spans[SPANS]; /* code whose calls count */
static int span_count;
static bool ready, is_wanted;
static kind wanted = KIND_COUNT;
static long at, stride, tried, counts[KIND_COUNT];
static uintptr_t loaded; /* where the code is that counts */
static char how = 'e';

const char *fail_setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static int note_object(struct dl_phdr_info *info, size_t size, void *from)
{
    (void)size;
    char program[4096] = "";
    const char *name = info->dlpi_name;
    if (!*name && readlink("/proc/self/exe", program, sizeof program - 1) > 0)
        name = program;
    const char *base = strrchr(name, '/');
    if (strstr(base ? base : name, from))
        loaded = info->dlpi_addr;
    for (int i = 0; strstr(base ? base : name, from) && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) && span_count < SPANS) {
            spans[span_count].first = info->dlpi_addr + segment->p_vaddr;
            spans[span_count].end = spans[span_count].first + segment->p_memsz;
            span_count++;
        }
    }
    return 0;
}

__attribute__((constructor)) static void start(void)
{
    const char *rank = fail_setting("OMPI_COMM_WORLD_RANK", fail_setting("PMIX_RANK", "0"));
    char from[64];
    snprintf(from, sizeof from, "%s", fail_setting("FAIL_FROM", "slipstream"));
    dl_iterate_phdr(note_object, from);
    at = atol(fail_setting("FAIL_AT", "0"));
    stride = atol(fail_setting("FAIL_STRIDE", "1"));
    how = fail_setting("FAIL_HOW", "error")[0];
    for (int k = 0; k < KIND_COUNT; k++)
        if (strcmp(kind_names[k], fail_setting("FAIL_KIND", "")) == 0)
            wanted = (kind)k;
    is_wanted = span_count > 0 && strcmp(rank, fail_setting("FAIL_RANK", "0")) == 0; /* helpers of MPI's are preloaded, too */
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("FAIL_COUNT");
    FILE *file = ready && !fail_forked && path ? fopen(path, "w") : NULL;
    for (int k = 0; file && k < KIND_COUNT; k++)
        fprintf(file, "%s %ld\n", kind_names[k], counts[k]);
    if (file) {
        fclose(file);
        fail_live_write(path);
    }
    if (ready && how == 'a' && !fail_forked)
        fprintf(stderr, "fail_after: %ld calls failed\n", tried);
    if (ready && fail_forked && getenv("FAIL_LIVE"))
        fail_live_compare(getenv("FAIL_LIVE"));
}

static uintptr_t json_code; /* what allocates for jansson */

static bool counts_here(uintptr_t caller)
{
    for (int i = 0; i < span_count; i++)
        if (caller >= spans[i].first && caller < spans[i].end)
            return true;
    return false;
}

/* Count this call of `caller`; is it the one that is to fail? */
static bool fails(kind of, const void *caller)
{
    if (!ready || fail_forked || !counts_here((uintptr_t)caller))
        return false;
    long number = __atomic_add_fetch(&counts[of], 1, __ATOMIC_RELAXED);
    if (of != wanted || (how == 'a' ? number < at || (number - at) % stride != 0 : number != at))
        return false;
    if (how == 'a') {
        tried++;
        return fail_fork(number);
    }
    static const char note[] = "fail_after: here\n";
    if (getenv("FAIL_LOUD"))
        (void)!syscall(SYS_write, 2, note, sizeof note - 1);
    if (how == 'k')
        kill(getpid(), SIGKILL);
    for (; how == 'h';)
        pause();
    return true;
}

#define CALLER __builtin_return_address(0)
#define FAIL(of, error, result) \
    if (fails(KIND_##of, CALLER)) { \
        errno = error; \
        return result; \
    }

/* ---- memory: dlsym() itself allocates, so glibc's own names are called ---- */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { CODE_OF_A_FUNCTION = 64 };

void json_set_alloc_funcs(void *(*allocate)(size_t), void (*release)(void *))
{
    json_code = (uintptr_t)allocate;
    REAL(void, json_set_alloc_funcs, void *(*)(size_t), void (*)(void *))(allocate, release);
}

/* What the program allocates is remembered until anybody frees it. */
static void *noted(void *memory, const void *caller)
{
    if (ready && counts_here((uintptr_t)caller))
        fail_live_add(memory, (uintptr_t)caller - loaded);
    return memory;
}

void *malloc(size_t size)
{
    bool json = json_code != 0 && (uintptr_t)CALLER - json_code < CODE_OF_A_FUNCTION;
    if (fails(json ? KIND_json : KIND_memory, CALLER)) {
        errno = ENOMEM;
        return NULL;
    }
    return noted(__libc_malloc(size), CALLER);
}
void free(void *memory)
{
    if (ready)
        fail_live_remove(memory);
    __libc_free(memory);
}
void *calloc(size_t count, size_t size)
{
    FAIL(memory, ENOMEM, NULL)
    return noted(__libc_calloc(count, size), CALLER);
}
void *realloc(void *memory, size_t size)
{
    FAIL(memory, ENOMEM, NULL)
    if (ready)
        fail_live_remove(memory);
    return noted(__libc_realloc(memory, size), CALLER);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    FAIL(memory, ENOMEM, NULL)
    return noted(__libc_memalign(alignment, size), CALLER);
}
char *strdup(const char *text)
{
    FAIL(memory, ENOMEM, NULL)
    size_t size = strlen(text) + 1;
    char *copy = noted(__libc_malloc(size), CALLER);
    return copy ? memcpy(copy, text, size) : NULL;
}
int asprintf(char **text, const char *format, ...)
{
    FAIL(memory, ENOMEM, -1)
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(text, format, arguments);
    va_end(arguments);
    if (length >= 0)
        noted(*text, CALLER);
    return length;
}
char *realpath(const char *restrict path, char *restrict resolved)
{
    FAIL(memory, ENOMEM, NULL)
    return REAL(char *, realpath, const char *, char *)(path, resolved);
}

/* ---- files ---- */

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int mode = va_arg(arguments, int);
    va_end(arguments);
    FAIL(open, EIO, -1)
    return REAL(int, open, const char *, int, ...)(path, flags, mode);
}
FILE *fopen(const char *path, const char *mode)
{
    FAIL(open, EMFILE, NULL)
    return REAL(FILE *, fopen, const char *, const char *)(path, mode);
}
int mkostemp(char *path, int flags)
{
    FAIL(open, ENOSPC, -1)
    return REAL(int, mkostemp, char *, int)(path, flags);
}
ssize_t read(int file, void *to, size_t size)
{
    FAIL(read, EIO, -1)
    return REAL(ssize_t, read, int, void *, size_t)(file, to, size);
}
ssize_t pread(int file, void *to, size_t size, off_t offset)
{
    FAIL(read, EIO, -1)
    return REAL(ssize_t, pread, int, void *, size_t, off_t)(file, to, size, offset);
}
ssize_t preadv(int file, const struct iovec *places, int count, off_t offset)
{
    FAIL(read, EIO, -1)
    return REAL(ssize_t, preadv, int, const struct iovec *, int, off_t)(file, places, count, offset);
}
size_t fread(void *to, size_t size, size_t count, FILE *file)
{
    FAIL(read, EIO, 0)
    return REAL(size_t, fread, void *, size_t, size_t, FILE *)(to, size, count, file);
}
ssize_t write(int file, const void *from, size_t size)
{
    FAIL(write, ENOSPC, -1)
    return REAL(ssize_t, write, int, const void *, size_t)(file, from, size);
}
ssize_t pwrite(int file, const void *from, size_t size, off_t offset)
{
    FAIL(write, ENOSPC, -1)
    return REAL(ssize_t, pwrite, int, const void *, size_t, off_t)(file, from, size, offset);
}
size_t fwrite(const void *from, size_t size, size_t count, FILE *file)
{
    FAIL(write, ENOSPC, 0)
    return REAL(size_t, fwrite, const void *, size_t, size_t, FILE *)(from, size, count, file);
}
int fsync(int file)
{
    FAIL(sync, EIO, -1)
    return REAL(int, fsync, int)(file);
}
int fdatasync(int file)
{
    FAIL(sync, EIO, -1)
    return REAL(int, fdatasync, int)(file);
}
int rename(const char *from, const char *to)
{
    FAIL(rename, EIO, -1)
    return REAL(int, rename, const char *, const char *)(from, to);
}
int ftruncate(int file, off_t size)
{
    FAIL(cut, EIO, -1)
    return REAL(int, ftruncate, int, off_t)(file, size);
}
/* As close() does: what could not be written is lost, and the file is closed. */
int close(int file)
{
    if (!fails(KIND_close, CALLER))
        return REAL(int, close, int)(file);
    REAL(int, close, int)(file);
    errno = EIO;
    return -1;
}

/* ---- MPI ---- */

#define MPI(name, ...) CALL(mpi, name, __VA_ARGS__)
#define CALL(of, name, parameters, ...) \
    int MPI_##name parameters \
    { \
        FAIL(of, 0, MPI_ERR_OTHER) \
        return PMPI_##name(__VA_ARGS__); \
    }
/* The other ranks have their part of it, and it fails here. */
#define COLLECTIVE(name, parameters, ...) \
    int MPI_##name parameters \
    { \
        bool failing = fails(KIND_mpi, CALLER); \
        int error = PMPI_##name(__VA_ARGS__); \
        return failing ? MPI_ERR_OTHER : error; \
    }
MPI(Init_thread, (int *argc, char ***argv, int level, int *given), argc, argv, level, given)
MPI(Comm_rank, (MPI_Comm comm, int *rank), comm, rank)
MPI(Comm_size, (MPI_Comm comm, int *size), comm, size)
COLLECTIVE(Allgather, (const void *from, int n, MPI_Datatype t, void *to, int m, MPI_Datatype u, MPI_Comm comm), from, n, t, to, m, u, comm)
MPI(Iallgather, (const void *from, int n, MPI_Datatype t, void *to, int m, MPI_Datatype u, MPI_Comm comm, MPI_Request *request), from, n, t,
    to, m, u, comm, request)
MPI(Ibcast, (void *data, int n, MPI_Datatype t, int root, MPI_Comm comm, MPI_Request *request), data, n, t, root, comm, request)
MPI(Isend, (const void *data, int n, MPI_Datatype t, int to, int tag, MPI_Comm comm, MPI_Request *request), data, n, t, to, tag, comm,
    request)
MPI(Irecv, (void *data, int n, MPI_Datatype t, int from, int tag, MPI_Comm comm, MPI_Request *request), data, n, t, from, tag, comm,
    request)
CALL(poll, Test, (MPI_Request * request, int *done, MPI_Status *status), request, done, status)
CALL(poll, Testall, (int count, MPI_Request requests[], int *done, MPI_Status statuses[]), count, requests, done, statuses)
MPI(Get_count, (const MPI_Status *status, MPI_Datatype t, int *count), status, t, count)
COLLECTIVE(Comm_split_type, (MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *made), comm, type, key, info, made)
MPI(Comm_set_errhandler, (MPI_Comm comm, MPI_Errhandler handler), comm, handler)
COLLECTIVE(Win_allocate_shared, (MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *window), size, unit, info,
           comm, base, window)
MPI(Win_shared_query, (MPI_Win window, int rank, MPI_Aint *size, int *unit, void *base), window, rank, size, unit, base)
COLLECTIVE(Allreduce, (const void *from, void *to, int n, MPI_Datatype t, MPI_Op op, MPI_Comm comm), from, to, n, t, op, comm)
/* The ends of what the ranks of a host share. */
int MPI_Win_free(MPI_Win *window)
{
    bool failing = fails(KIND_mpi, CALLER);
    int error = fail_forked ? MPI_SUCCESS : PMPI_Win_free(window);
    return failing ? MPI_ERR_OTHER : error;
}
int MPI_Comm_free(MPI_Comm *comm)
{
    FAIL(mpi, 0, MPI_ERR_OTHER)
    return fail_forked ? MPI_SUCCESS : PMPI_Comm_free(comm);
}
int MPI_Finalize(void)
{
    FAIL(mpi, 0, MPI_ERR_OTHER)
    return fail_forked ? MPI_SUCCESS : PMPI_Finalize();
}

/* What is called before main() is not the program's: a CUDA runtime that is linked into it registers its kernels then. */
static int (*program_main)(int, char **, char **);

static int main_from_here(int argc, char **argv, char **environment)
{
    ready = is_wanted;
    return program_main(argc, argv, environment);
}

int __libc_start_main(int (*begin)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    program_main = begin;
    return REAL(int, __libc_start_main, int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void),
                void *)(main_from_here, argc, argv, init, fini, rtld_fini, stack_end);
}
