#!/usr/bin/env bash
# A job with nothing to decode (tests/mpi/tools/idle.c): it may last, as long as rank 0 says now and then that it is there.
. "$(dirname "$0")/common.bash"
[ -x "$TOOLS/idle" ] || { echo "idle.sh: $TOOLS/idle is not there" >&2; exit 2; }

idle() { # ranks, more arguments
    rm -f "$work/clock"
    timeout "$seconds" mpirun --oversubscribe --bind-to none -n "$1" "$TOOLS/idle" "$MODEL" "$DEVICE" "$work/clock" "${@:2}" </dev/null \
        >"$work/out" 2>"$work/log"
}

for ranks in 1 3; do
    if idle "$ranks"; then
        ok "an idle job lives on" "$(cat "$work/out")"
    else
        fail "an idle job lives on, $ranks ranks" "$(cat "$work/out")" "$work/log"
    fi
done

if idle 3 silent; then
    fail "a silent rank 0 is given up" "$(cat "$work/out")"
elif grep -q "no answer from rank 0 .* within 10 s" "$work/log"; then
    ok "a silent rank 0 is given up" "$(grep -m1 -o 'waiting for.*' "$work/log")"
else
    fail "a silent rank 0 is given up" "no word of it" "$work/log"
fi
finish
