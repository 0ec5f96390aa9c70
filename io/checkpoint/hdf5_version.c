#include "io/checkpoint/hdf5_version.h"

#include <hdf5.h>
#include <stdio.h>

void slip_hdf5_version(char text[SLIP_VERSION_TEXT])
{
    unsigned major, minor, release;
    H5get_libversion(&major, &minor, &release);
    snprintf(text, SLIP_VERSION_TEXT, "%u.%u.%u", major, minor, release);
}
