#!/usr/bin/env bash
# Ranks whose devices hand on steps by themselves (tests/mpi/tools/gather.c): the same answers as from ranks that do not, and what a host has to
# do then. And the sums over ranks that all answers rest on (tests/mpi/tools/sums.c).
. "$(dirname "$0")/common.bash"
for tool in gather sums; do
    [ -x "$TOOLS/$tool" ] || { echo "gather.sh: $TOOLS/$tool is not there" >&2; exit 2; }
done

for ranks in 1 2 3 4; do
    [ "$QUICK" = 1 ] && [ "$ranks" -gt 2 ] && continue
    if timeout "$seconds" mpirun --oversubscribe --bind-to none -n "$ranks" "$TOOLS/gather" "$MODEL" </dev/null >"$work/out" 2>"$work/log"; then
        ok "the same answers" "$(cat "$work/out")"
    else
        fail "$ranks ranks" "$(cat "$work/out")" "$work/log"
    fi
done
for ranks in 1 2 3 4; do
    if timeout "$seconds" mpirun --oversubscribe --bind-to none -n "$ranks" "$TOOLS/sums" </dev/null >"$work/out" 2>"$work/log"; then
        ok "$ranks ranks" "$(cat "$work/out")"
    else
        fail "sums on $ranks ranks" "$(cat "$work/out")" "$work/log"
    fi
done
finish
