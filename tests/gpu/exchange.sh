#!/usr/bin/env bash
# The exchange between ranks, bit for bit: ranks emulated on one GPU, then over NVLink as many as there are GPUs. Lines behind '#' are
# figures of this machine, for the table in comm/exchange.c; none is asserted.
. "$(dirname "$0")/common.bash"
[ -x "$TOOLS/exchange" ] || { echo "skipped: this build has no NCCL"; exit 77; }

exchange() { # ranks
    timeout 120 mpirun --oversubscribe --bind-to none -n "$1" "$TOOLS/exchange" </dev/null >"$work/out" 2>"$work/log"
    local status=$?
    if [ "$status" -eq 0 ]; then
        grep '^#' "$work/out"
        ok "$1 ranks on GPUs" "$(grep -c '^ok' "$work/out") cases; $(grep -m 1 'dropped message' "$work/out")"
    elif [ "$status" -ne 77 ] || [ "$1" -eq 1 ]; then
        fail "$1 ranks on GPUs" "exit status $status; $(grep -m 1 '^FAIL' "$work/out")" "$work/log"
    fi
}

for ranks in 1 2 4 8; do
    exchange "$ranks"
done
finish
