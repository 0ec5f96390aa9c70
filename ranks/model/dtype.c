#include "ranks/model/dtype.h"

#include <string.h>

static const char *const names[SLIP_DTYPES] = {"f32", "bf16", "f8e4m3", "mxfp4"};

const char *slip_dtype_name(slip_dtype dtype)
{
    return names[dtype];
}

int slip_dtype_parse(const char *name)
{
    for (int i = 0; i < SLIP_DTYPES; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}
