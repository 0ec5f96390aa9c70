/* The process of a rank, for the other ranks on its host. A stopped process (SIGSTOP, a debugger, a suspended job) answers nobody and closes
 * no connection; only /proc tells. Linux; elsewhere no process counts as stopped. */
#ifndef SLIP_COMM_HOST_PROCESS_H
#define SLIP_COMM_HOST_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* `start` tells a process from another that has its number later, or in another container. */
typedef struct {
    int64_t pid;
    uint64_t start; /* clock ticks after boot; 0: unknown */
} slip_process;

slip_process slip_process_self(void);

/* For a process on this host. False where it cannot be told. */
bool slip_process_stopped(const slip_process *process);

#endif
