/* Preloaded into ranks (LD_PRELOAD): they find themselves on HOSTS hosts, host0, host1, ..., by turns, and share no memory across them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static int host = -1; /* -1: MPI, which has to know better, has not started */

int gethostname(char *name, size_t size)
{
    if (host < 0)
        return ((int (*)(char *, size_t))dlsym(RTLD_NEXT, "gethostname"))(name, size);
    return snprintf(name, size, "host%d", host) < 0 ? -1 : 0;
}

int MPI_Init_thread(int *argc, char ***argv, int level, int *given)
{
    const char *hosts = getenv("HOSTS");
    int rank, error = PMPI_Init_thread(argc, argv, level, given);
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    host = rank % (hosts ? atoi(hosts) : 1);
    return error;
}

int MPI_Comm_split_type(MPI_Comm comm, int type, int key, MPI_Info info, MPI_Comm *made)
{
    MPI_Comm mine;
    int error = PMPI_Comm_split(comm, host, 0, &mine);
    if (error == MPI_SUCCESS)
        error = PMPI_Comm_split_type(mine, type, key, info, made);
    if (error == MPI_SUCCESS)
        error = PMPI_Comm_free(&mine);
    return error;
}
