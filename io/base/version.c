#include "io/base/version.h"

#include <slip_commit.h> // written at every build

const char *slip_version(void)
{
    return SLIP_VERSION;
}
const char *slip_commit(void)
{
    return SLIP_COMMIT;
}

const char *slip_compiler(void)
{
#ifdef __clang__
    return __VERSION__; /* names clang itself */
#else
    return "GCC " __VERSION__;
#endif
}
