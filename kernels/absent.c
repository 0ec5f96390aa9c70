/* The GPU's executor in a build that has none: CMake chooses between this file and kernels/cuda. */
#include <string.h>

#include "kernels/cuda/lower/work.h"
#include "kernels/cuda/layout/cache.h"
#include "kernels/executor.h"
#include "kernels/version.h"

static const char no_build[] = "this build computes on CPUs only";

static slip_status create(const slip_program *program, const slip_limits *limits, slip_comm *comm, const slip_executor_options *options,
                          slip_executor **executor)
{
    (void)program, (void)limits, (void)comm, (void)options, (void)executor;
    return slip_fail(SLIP_ERR_INPUT, "--device cuda: %s", no_build);
}

const slip_executor_kind slip_executor_cuda = {.name = "cuda",
                                               .prompt_rows = SLIP_CUDA_PROMPT_ROWS,
                                               .create = create,
                                               .cache_bytes = slip_cuda_cache_bytes,
                                               .work_bytes = slip_cuda_work_bytes};

bool slip_cuda_present(int ranks, int here, const char **why_not)
{
    (void)ranks, (void)here;
    *why_not = no_build;
    return false;
}

bool slip_cuda_expected(void)
{
    return false;
}

void slip_cuda_first(char name[SLIP_GPU_NAME])
{
    name[0] = '\0';
}

double slip_cuda_memory(void)
{
    return 0;
}

void slip_cuda_version(char text[SLIP_VERSION_TEXT])
{
    strcpy(text, "none in this build");
}
