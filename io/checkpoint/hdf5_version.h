#ifndef SLIP_IO_CHECKPOINT_HDF5_VERSION_H
#define SLIP_IO_CHECKPOINT_HDF5_VERSION_H

#include "io/base/version.h"

/* The HDF5 library that was found at run time: "1.10.8". */
void slip_hdf5_version(char text[SLIP_VERSION_TEXT]);

#endif
