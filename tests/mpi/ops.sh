#!/usr/bin/env bash
# --trace-ops: a run equals itself, op by op; activations rounded as on a GPU change every op a little and no more.
# Settings: tests/mpi/common.bash; COMPARE_OPS is tests/golden/compare_ops.c, built.
. "$(dirname "$0")/common.bash"
: "${COMPARE_OPS:=$TOOLS/compare_ops}"
[ -x "$COMPARE_OPS" ] || { echo "$script: $COMPARE_OPS is not there" >&2; exit 2; }

head -c 700 "$root/jobs/train/tokenizer.py" >"$work/text"

trace() { # file, ranks, options...
    on_ranks "$2" score -m "$MODEL" -f "$work/text" --quiet --trace-ops "$work/$1" "${@:3}" >"$work/score" 2>"$work/log" ||
        fail "score --trace-ops ${*:3}" "score failed" "$work/log"
}

compare() { # name, have, want, bounds...
    if "$COMPARE_OPS" "$work/$2" "$work/$3" "${@:4}" >"$work/log" 2>&1; then
        ok "$1" "$(tail -n 1 "$work/log")"
    else
        fail "$1" "beyond ${*:4}" "$work/log"
    fi
}

trace exact.h5 1
trace again.h5 1
trace round.h5 1 --round-activations
compare "the same run twice" again.h5 exact.h5 --all 0
compare "rounded activations" round.h5 exact.h5 --all 0.1 --EMBED 0
if "$COMPARE_OPS" "$work/round.h5" "$work/exact.h5" --all 0 >"$work/log" 2>&1; then
    fail "bounds are held against" "rounding changed nothing" "$work/log"
else
    ok "bounds are held against" "$(grep -c ^FAIL "$work/log") kinds of op differ"
fi

# The draft's ops are there as well: a file without them has fewer.
for draft in --always-draft --no-draft; do
    on_ranks 1 generate -m "$MODEL" -p "def quicksort(" -n 8 $draft --quiet --trace-ops "$work/$draft.h5" >"$work/text" 2>"$work/log" ||
        fail "generate --trace-ops $draft" "generate failed" "$work/log"
done
compare "generate --trace-ops" --always-draft.h5 --always-draft.h5 --all 0
drafted=$(tail -n 1 "$work/log" | cut -d' ' -f1)
compare "generate --trace-ops --no-draft" --no-draft.h5 --no-draft.h5 --all 0
plain=$(tail -n 1 "$work/log" | cut -d' ' -f1)
if [ "$drafted" -gt "$plain" ]; then ok "the draft is traced"; else fail "the draft is traced" "$drafted and $plain ops"; fi

finish
