/* The libraries that carry messages, as found at run time. */
#ifndef SLIP_COMM_VERSION_H
#define SLIP_COMM_VERSION_H

#include "io/base/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "Open MPI v4.1.4, ..." or "MPICH Version: 4.0.2": the first line of what MPI says of itself. */
void slip_mpi_version(char text[SLIP_VERSION_TEXT]);

/* The version of NCCL that this build was made for and whether its library can be loaded, which is tried here; or that this build has none. */
void slip_nccl_version(char text[SLIP_VERSION_TEXT]);

#ifdef __cplusplus
}
#endif

#endif
