#include "comm/launcher.h"

#include <stdlib.h>

/* How launchers tell a process how many it is one of. SLURM_NTASKS is not here: it is the allocation's, and a shell in one has it, too,
 * while a step's count is told to what srun started. */
static const struct {
    const char *variable, *launcher, *remedy;
} launchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun", "use the mpirun of the MPI that slipstream --version names"},
    {"PMI_SIZE", "a launcher that speaks PMI", "use srun --mpi=pmix, or the mpirun of the MPI that slipstream --version names"},
    {"MPI_LOCALNRANKS", "MPICH's mpiexec", "use the mpirun of the MPI that slipstream --version names"},
    {"SLURM_STEP_NUM_TASKS", "srun", "use srun --mpi=pmix, or mpirun; for runs that are meant to be alone unset it"},
};
enum { LAUNCHERS = sizeof launchers / sizeof *launchers };

static long told(int i)
{
    const char *text = getenv(launchers[i].variable);
    return text ? strtol(text, NULL, 10) : 0;
}

bool slip_launcher_is_there(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("SLURM_PROCID");
}

slip_status slip_launcher_check(int ranks)
{
    if (ranks > 1 || told(0) == 1) /* an mpirun for one, wherever it was started: Open MPI's daemons are tasks of srun's */
        return SLIP_OK;
    for (int i = 0; i < LAUNCHERS; i++)
        if (told(i) > 1)
            return slip_fail(SLIP_ERR_INPUT, "%s started %ld processes (%s), and MPI sees one: each would do all the work; %s",
                             launchers[i].launcher, told(i), launchers[i].variable, launchers[i].remedy);
    return SLIP_OK;
}
