#include "comm/nccl/load.h"

#include <dlfcn.h>
#include <stdio.h>

#include "comm/version.h"

slip_nccl_table slip_libnccl;

static slip_status find(void *library, const char *name, void **address)
{
    *address = dlsym(library, name);
    if (*address)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_FAILED, "NCCL: libnccl.so.2 has no %s; this build needs %d.%d.%d", name, NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH);
}

static slip_status find_all(void *library, slip_nccl_table *table)
{
#define FIND(name) \
    { \
        slip_status status = find(library, "nccl" #name, (void **)&table->name); \
        if (status != SLIP_OK) \
            return status; \
    }
    SLIP_NCCL_CALLS(FIND)
    FIND(TeamLsa)
#undef FIND
    return SLIP_OK;
}

/* Device communicators have no fixed layout before 2.29: built for 2.28.9 and run on 2.28.3, a kernel hangs without a word. */
static slip_status check_version(const slip_nccl_table *table)
{
    int found = 0;
    if (table->GetVersion(&found) != ncclSuccess)
        return slip_fail(SLIP_ERR_FAILED, "NCCL: it does not tell its version");
    if (found / 100 == NCCL_VERSION_CODE / 100 && found >= NCCL_VERSION_CODE)
        return SLIP_OK;
    return slip_fail(SLIP_ERR_FAILED,
                     "this build is for NCCL %d.%d.%d, and the library found at run time is %d.%d.%d: "
                     "put the matching libnccl.so.2 first in LD_LIBRARY_PATH",
                     NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH, found / 10000, found / 100 % 100, found % 100);
}

slip_status slip_nccl_load(void)
{
    if (slip_libnccl.GetVersion)
        return SLIP_OK;
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return slip_fail(SLIP_ERR_FAILED,
                         "NCCL, which several ranks on GPUs need, cannot be loaded: %s: "
                         "put the folder of libnccl.so.2 into LD_LIBRARY_PATH",
                         dlerror());
    slip_nccl_table table;
    slip_status status = find_all(library, &table);
    if (status == SLIP_OK)
        status = check_version(&table);
    if (status == SLIP_OK)
        slip_libnccl = table; // the library stays for the life of the process
    else
        dlclose(library);
    return status;
}

extern "C" void slip_nccl_version(char text[SLIP_VERSION_TEXT])
{
    int found = 0;
    slip_status status = slip_nccl_load();
    if (status == SLIP_OK)
        slip_libnccl.GetVersion(&found);
    int size = snprintf(text, SLIP_VERSION_TEXT, "%d.%d.%d; library: ", NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH);
    if (status == SLIP_OK)
        snprintf(text + size, SLIP_VERSION_TEXT - size, "%d.%d.%d", found / 10000, found / 100 % 100, found % 100);
    else
        snprintf(text + size, SLIP_VERSION_TEXT - size, "%s", slip_cause());
    slip_clear();
}
