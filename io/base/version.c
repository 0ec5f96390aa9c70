#include "io/base/version.h"

#include <slip_commit.h> // written at every build

const char *slip_version(void) { return SLIP_VERSION; }
const char *slip_commit(void) { return SLIP_COMMIT; }
