#!/usr/bin/env bash
# clang-tidy's bug checks, by .clang-tidy, over the C files that a build folder compiles.
#
# usage: tidy.sh BUILD [FILE...]   default: all but tests and generated code
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$1
shift
: "${CLANG_TIDY:=$(command -v clang-tidy-14 || command -v clang-tidy || true)}"
[ -n "$CLANG_TIDY" ] || { echo "tidy: clang-tidy 14 is not installed (bash jobs/demo/packages.sh clang-tidy-14)" >&2; exit 2; }
# kernels/cpu/math_body.c has no branch on data; in GNU vectors the analyzer only loses its way, for minutes.
files() {
    sed -n 's/^ *"file": "\(.*\)",*$/\1/p' "$build/compile_commands.json" | grep '\.c$' | grep -v -e '/tests/' -e math_body.c | sort -u
}
if [ $# -gt 0 ]; then printf '%s\n' "$@"; else files; fi | tr '\n' '\0' | xargs -0 -P "$(nproc)" -n 4 "$CLANG_TIDY" -p "$build" --quiet 2>&1 |
    { grep -v -e 'warnings generated' -e '^Suppressed' -e '^Use -header-filter' || true; }
