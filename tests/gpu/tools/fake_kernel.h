/* The resident kernel of fake_cuda.c. */
#ifndef SLIP_TESTS_FAKE_KERNEL_H
#define SLIP_TESTS_FAKE_KERNEL_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* False: no thread can be had for it. */
bool fake_kernel_start(void **arguments);

/* It has left, or was never there. */
bool fake_kernel_has_left(void);

#ifdef __cplusplus
}
#endif

#endif
