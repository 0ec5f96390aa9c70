#include "tiny_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/convert/convert.h"

/* Open MPI unloads plugins at its end that still own memory: a leak checker, where there is one, is not to look at them. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

int tiny_comm_start(void **state)
{
    slip_comm *comm;
    static char name[] = "test", *arguments[] = {name, NULL};
    int argc = 1;
    char **argv = arguments;
    if (__lsan_disable)
        __lsan_disable();
    slip_status status = slip_comm_start(&argc, &argv, &comm);
    if (__lsan_enable)
        __lsan_enable();
    if (status != SLIP_OK)
        return -1;
    *state = comm;
    return 0;
}

int tiny_comm_finish(void **state)
{
    slip_comm_finish(*state);
    return 0;
}

static tiny_checkpoint checkpoint;

/* `drafter`: a folder in that of the fixture; NULL: the one called dflash, where there is one. */
static slip_status make(const char *name, const char *drafter)
{
    char folder[256], draft[300];
    snprintf(folder, sizeof folder, "tests/golden/forward/fixtures/%s", name);
    snprintf(draft, sizeof draft, "%s/%s", folder, drafter ? drafter : "");
    slip_convert_options options = {
        .source_folder = folder, .out_path = checkpoint.path, .draft_folder = drafter ? draft : NULL, .experts = SLIP_CONVERT_KEEP};
    slip_status status = slip_convert_run(&options);
    if (status == SLIP_OK)
        status = slip_source_open(checkpoint.comm, checkpoint.path, &checkpoint.source);
    if (status != SLIP_OK)
        fprintf(stderr, "%s\n", slip_cause());
    return status;
}

int tiny_checkpoint_open(void **state, const char *name)
{
    void *comm = NULL;
    snprintf(checkpoint.path, sizeof checkpoint.path, "/tmp/slipstream-test-XXXXXX");
    if (tiny_comm_start(&comm) != 0 || mkdtemp(checkpoint.path) == NULL)
        return -1;
    checkpoint.comm = comm;
    strcat(checkpoint.path, "/model.h5");
    *state = &checkpoint;
    return make(name, NULL) == SLIP_OK ? 0 : -1;
}

slip_status tiny_checkpoint_change(tiny_checkpoint *c, const char *name, const char *drafter)
{
    slip_source_close(&c->source);
    unlink(c->path);
    return make(name, drafter);
}

int tiny_checkpoint_close(void **state)
{
    tiny_checkpoint *c = *state;
    void *comm = c->comm;
    slip_source_close(&c->source);
    unlink(c->path);
    *strrchr(c->path, '/') = '\0';
    rmdir(c->path);
    return tiny_comm_finish(&comm);
}
