#!/usr/bin/env bash
# Ranks whose devices hand on steps by themselves (tests/mpi/gather.c): the same answers as from ranks that do not, and what a host has to
# do then.
. "$(dirname "$0")/common.bash"
[ -x "$TOOLS/gather" ] || { echo "gather.sh: $TOOLS/gather is not there" >&2; exit 2; }

for ranks in 1 2 3 4; do
    [ "$QUICK" = 1 ] && [ "$ranks" -gt 2 ] && continue
    if timeout "$seconds" mpirun --oversubscribe --bind-to none -n "$ranks" "$TOOLS/gather" "$MODEL" </dev/null >"$work/out" 2>"$work/log"; then
        ok "the same answers" "$(cat "$work/out")"
    else
        fail "$ranks ranks" "$(cat "$work/out")" "$work/log"
    fi
done
finish
