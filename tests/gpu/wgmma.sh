#!/usr/bin/env bash
# Products by wgmma and by mma: the same bits, on which attention of wide steps relies.
. "$(dirname "$0")/common.bash"
[ -x "$TOOLS/wgmma" ] || { echo "skipped: this build has no CUDA"; exit 77; }

if timeout 60 "$TOOLS/wgmma" </dev/null >"$work/out" 2>"$work/log"; then
    ok "wgmma and mma" "$(grep -c '^ok' "$work/out") forms"
else
    fail "wgmma and mma" "$(grep -m 1 '^FAIL' "$work/out")" "$work/log"
fi
finish
