#!/usr/bin/env bash
# NVIDIA's compute-sanitizer on the shipped model: memory, barriers and shared-memory races of every op, in both engines where the tool
# can follow. Skipped where it is not installed.
. "$(dirname "$0")/common.bash"
command -v compute-sanitizer >/dev/null || { echo "skipped: compute-sanitizer is not installed"; exit 77; }

check() { # tool, engine, options...
    if timeout 240 compute-sanitizer --tool "$1" --error-exitcode 9 "$SLIPSTREAM" generate -m "$MODEL" -p "def f(x):" -n 4 --device cuda \
        --engine "$2" --always-draft --quiet --deadline 7200 "${@:3}" </dev/null >"$work/log" 2>&1; then
        ok "$1, $2" "$(grep -m 1 SUMMARY "$work/log" | sed 's/=* *//')"
    else
        fail "$1, $2" "errors" "$work/log"
    fi
}

check memcheck launch
check memcheck persistent
check synccheck launch
check racecheck launch

finish
