/* What the files of fail_cuda share. */
#ifndef SLIP_TESTS_FAIL_CUDA_H
#define SLIP_TESTS_FAIL_CUDA_H

typedef enum { FAIL_NOT, FAIL_ERROR, FAIL_STICKY, FAIL_LATE } fail_way;

/* Count a call of this name, and say how it is to fail. */
fail_way fail_cuda(const char *name);

/* `count` more of `what` are held. */
void fail_cuda_hold(const char *what, int count);

/* None of it is held any more. */
void fail_cuda_forget(const char *what);

#endif
