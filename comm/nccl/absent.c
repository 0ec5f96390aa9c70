/* Windows and NCCL's host calls in a build that has no NCCL: CMake chooses between this file and nccl/host.cu, nccl/window.cu. */
#include <string.h>

#include "comm/nccl/host.h"
#include "comm/version.h"
#include "comm/window.h"

static slip_status absent(void)
{
    return slip_fail(SLIP_ERR_INPUT, "this build has no NCCL, which several ranks on GPUs need: "
                                     "configure with NCCL 2.28.7 or later (-DNCCL_ROOT=...)");
}

bool slip_windows_built(void)
{
    return false;
}

slip_status slip_windows_open(slip_comm *comm, int device, size_t bytes, slip_windows **out)
{
    (void)comm, (void)device, (void)bytes, (void)out;
    return absent();
}

slip_status slip_windows_emulate(int device, int ranks, size_t bytes, slip_windows **out)
{
    (void)device, (void)ranks, (void)bytes, (void)out;
    return absent();
}

void *const *slip_windows_peers(const slip_windows *windows)
{
    (void)windows;
    return NULL;
}

void slip_windows_close(slip_windows *windows)
{
    (void)windows;
}

slip_status slip_nccl_open(slip_comm *comm, int device, slip_nccl **out)
{
    (void)comm, (void)device, (void)out;
    return absent();
}

slip_status slip_nccl_allgather(slip_nccl *nccl, const float *from, float *to, size_t count, void *stream)
{
    (void)nccl, (void)from, (void)to, (void)count, (void)stream;
    return absent();
}

slip_status slip_nccl_check(slip_nccl *nccl)
{
    (void)nccl;
    return absent();
}

void slip_nccl_close(slip_nccl *nccl, bool failed)
{
    (void)nccl, (void)failed;
}

void slip_nccl_version(char text[SLIP_VERSION_TEXT])
{
    strcpy(text, "none in this build");
}
