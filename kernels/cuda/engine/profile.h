/* What every SM did in one step, as a trace that https://ui.perfetto.dev and chrome://tracing open: a process a rank, a thread an
 * SM's role.
 */
#ifndef SLIP_KERNELS_CUDA_ENGINE_PROFILE_H
#define SLIP_KERNELS_CUDA_ENGINE_PROFILE_H

#ifdef __cplusplus
extern "C" {
#endif

#include "io/base/status.h"
#include "kernels/cuda/layout/step.h"

/* What was recorded, in host memory; all of it borrowed. */
typedef struct {
    int32_t rank, sms;
    const slip_cuda_event *events; /* [sms][SLIP_ROLES][SLIP_PROFILE_EVENTS] */
    const int32_t *counts;         /* [sms][SLIP_ROLES]; what lies beyond SLIP_PROFILE_EVENTS was not kept */
    /* Write the name of device op `op`, its kind and layer, in ASCII without quotes or backslashes. */
    void (*name)(void *context, int32_t op, char *text, size_t size);
    void *context;
} slip_cuda_profile;

/* Chrome's JSON trace format. Times count from the earliest event, in microseconds; `otherData` keeps that event's time on the
 * GPU's clock. Work is of category "op", the barrier behind it of category "barrier"; args.op is the device op. SLIP_ERR_FAILED
 * names the file. */
slip_status slip_cuda_profile_write(const char *path, const slip_cuda_profile *profile);

#ifdef __cplusplus
}
#endif

#endif
