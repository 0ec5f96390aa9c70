#!/usr/bin/env bash
# Loading NCCL: a build for GPUs starts where there is no library, and takes none that is not the one it was made for. No GPU is needed.
# Exit status 77 where the build has no NCCL.
#
# usage: nccl.sh SLIPSTREAM
set -u
program=$1 root=$(cd "$(dirname "$0")/../.." && pwd)
"$program" --version | grep -q 'NCCL: none' && { echo "skipped: this build has no NCCL"; exit 77; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
faults=0

built=$("$program" --version | sed -n 's/^ *NCCL: \([0-9.]*\);.*/\1/p')
calls=$(sed -n '/define SLIP_NCCL_CALLS/,/^$/s/CALL(\([A-Za-z]*\))/\n\1\n/gp' "$root/comm/nccl/load.h" | grep '^[A-Z][a-z]' | sort -u)
[ "$(wc -w <<<"$calls")" -gt 10 ] || { echo "nccl: comm/nccl/load.h has no list of calls" >&2; exit 1; }

library() { # version, calls...: a libnccl.so.2 that has nothing but a version and names
    { for call in TeamLsa "${@:2}"; do
        [ "$call" = GetVersion ] || echo "int nccl$call(void) { return 0; }"
    done
    echo "int ncclGetVersion(int *version) { *version = $1; return 0; }"; } >"$work/nccl.c"
    cc -shared -fPIC -o "$work/libnccl.so.2" "$work/nccl.c"
}

expect() { # name, pattern
    local said
    said=$(LD_LIBRARY_PATH=$work "$program" --version 2>&1) && grep -q "NCCL: $built; library: .*$2" <<<"$said" && { echo "ok    $1"; return; }
    echo "FAIL  $1: $said" >&2
    faults=$((faults + 1))
}

IFS=. read -r major minor patch <<<"$built"
# shellcheck disable=SC2086 # one argument a call
{
    library $((10000 * major + 100 * minor + patch)) $calls && expect "the version it was made for" "$built\$"
    library 22803 $calls && expect "an older one is refused" "found at run time is 2.28.3"
    library $((10000 * major + 100 * (minor + 1))) $calls && expect "a newer one is refused" "found at run time is $major.$((minor + 1)).0"
    library $((10000 * major + 100 * minor + patch)) ${calls//DevCommCreate/} && expect "one that lacks a call is refused" "has no ncclDevCommCreate"
}
: >"$work/libnccl.so.2"
expect "one that cannot be loaded is refused" "cannot be loaded"
[ "$faults" -eq 0 ]
