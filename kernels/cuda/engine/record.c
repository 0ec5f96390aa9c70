#include "kernels/cuda/engine/record.h"

#include "kernels/cuda/lower/lower.h"

static const char *role_name(int role)
{
    static const char *const names[SLIP_ROLES] = {"producer", "consumers", "control"};
    return role >= 0 && role < SLIP_ROLES ? names[role] : "?";
}

static const char *wait_name(int wait)
{
    static const char *const names[SLIP_WAITS] = {
        "nothing",
        "all SMs at the end of the op",
        "another rank",
        "a stage of weights",
        "room in the ring",
        "the list of experts",
        "the end of the product before",
        "the next step",
        "a router's logits",
        "a row's experts",
    };
    return wait >= 0 && wait < SLIP_WAITS ? names[wait] : "?";
}

slip_status slip_cuda_record_failed(const slip_cuda_record *r)
{
    if (r->wait == SLIP_WAIT_PEER)
        return slip_fail(SLIP_ERR_FAILED,
                         "GPU: rank %d does not send its part: step %llu, op %d (%s), layer %d: expected %u, seen %u "
                         "(SM %d)",
                         r->peer, (unsigned long long)r->step, r->op, slip_cuda_op_name(r->kind), r->layer, r->expected, r->seen, r->sm);
    return slip_fail(SLIP_ERR_FAILED, "GPU: SM %d, %s: waited too long for %s: step %llu, op %d (%s), layer %d: expected %u, seen %u",
                     r->sm, role_name(r->role), wait_name(r->wait), (unsigned long long)r->step, r->op, slip_cuda_op_name(r->kind),
                     r->layer, r->expected, r->seen);
}
