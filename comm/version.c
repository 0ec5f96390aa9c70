#include "comm/version.h"

#include <stdio.h>
#include <string.h>

#include <mpi.h>

void slip_mpi_version(char text[SLIP_VERSION_TEXT])
{
    char whole[MPI_MAX_LIBRARY_VERSION_STRING];
    int size;
    MPI_Get_library_version(whole, &size);
    snprintf(text, SLIP_VERSION_TEXT, "%.*s", (int)strcspn(whole, "\n"), whole);
    for (char *tab = text; (tab = strchr(tab, '\t')) != NULL;) /* MPICH's */
        *tab = ' ';
}
