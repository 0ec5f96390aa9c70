# Write the commit of SOURCE into the header OUT: "unknown" outside of a checkout, "-dirty" behind it where files were changed. A checkout
# that merely surrounds the sources (an unpacked release in somebody's repository) is not theirs.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git -C ${SOURCE} rev-parse --show-prefix RESULT_VARIABLE failed OUTPUT_VARIABLE prefix
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
set(commit unknown)
if(failed STREQUAL "0" AND prefix STREQUAL "")
    execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=* OUTPUT_VARIABLE commit
        OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define SLIP_COMMIT \"@commit@\"\n" @ONLY)
