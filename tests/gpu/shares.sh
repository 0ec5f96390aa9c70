#!/usr/bin/env bash
# Sums of wide steps that have owners, bit for bit, with 2 to 16 ranks that one GPU plays.
. "$(dirname "$0")/common.bash"
[ -x "$TOOLS/shares" ] || { echo "skipped: this build has no NCCL"; exit 77; }

if timeout 120 "$TOOLS/shares" </dev/null >"$work/out" 2>"$work/log"; then
    ok "ranks on one GPU" "$(grep -c '^ok' "$work/out") cases"
else
    fail "ranks on one GPU" "$(grep -m 1 '^FAIL' "$work/out")" "$work/log"
fi
finish
