#!/usr/bin/env bash
# clang-format over all C and CUDA of the tree, by .clang-format.
#
# usage: format.sh [--check]   --check: change nothing; name the files that it would change, and fail
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${CLANG_FORMAT:=$(command -v clang-format-14 || command -v clang-format || true)}"
[ -n "$CLANG_FORMAT" ] || { echo "format: clang-format 14 is not installed (bash jobs/demo/packages.sh clang-format-14)" >&2; exit 2; }
"$CLANG_FORMAT" --version | grep -q 'version 14\.' || { echo "format: $CLANG_FORMAT is not version 14, and others format otherwise" >&2; exit 2; }
files() { find io ranks kernels comm coordinator jobs tests -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh'; }
if [ "${1:-}" = --check ]; then
    files | xargs -P "$(nproc)" -n 16 "$CLANG_FORMAT" --dry-run --Werror --ferror-limit=1
else
    files | xargs -P "$(nproc)" -n 16 "$CLANG_FORMAT" -i
fi
