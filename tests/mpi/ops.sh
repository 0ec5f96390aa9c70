#!/usr/bin/env bash
# --trace-ops: a run equals itself, op by op; activations rounded as on a GPU change every op a little and no more.
# And the tools that hold a GPU's choices against the CPU's (tests/gpu/greedy.sh): the CPU that rounds takes the GPU's place.
# Settings: tests/mpi/common.bash; COMPARE_OPS, COMPARE_PARTINGS and COMPARE_GREEDY are the programs of tests/golden.
. "$(dirname "$0")/common.bash"
: "${COMPARE_OPS:=$TOOLS/compare_ops}" "${COMPARE_PARTINGS:=$TOOLS/compare_partings}" "${COMPARE_GREEDY:=$TOOLS/compare_greedy}"
[ -x "$COMPARE_OPS" ] || { echo "$script: $COMPARE_OPS is not there" >&2; exit 2; }

head -c 700 "$root/tests/data/text.py" >"$work/text"

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

expect() { # name, exit status, command...
    local status
    "${@:3}" >"$work/log" 2>&1
    status=$?
    if [ "$status" = "$2" ]; then ok "$1" "$(tail -n 1 "$work/log")"; else fail "$1" "exit status $status, not $2" "$work/log"; fi
}

# Where values part, there was a near-tie of experts: not so if no tie is near enough, nor if hardly a row is like another.
expect "rounding parts at near-ties" 0 "$COMPARE_PARTINGS" "$work/round.h5" "$work/exact.h5" "$MODEL" 0.15 0.03
expect "no tie is that near" 1 "$COMPARE_PARTINGS" "$work/round.h5" "$work/exact.h5" "$MODEL" 0.15 1e-6
expect "no row is that close" 1 "$COMPARE_PARTINGS" "$work/round.h5" "$work/exact.h5" "$MODEL" 1e-4 0.03
expect "a token that did not part" 1 "$COMPARE_PARTINGS" "$work/exact.h5" "$work/again.h5" "$MODEL" 0.15 0.03 7

for kind in exact round; do
    on_ranks 1 score -m "$MODEL" -f "$work/text" --quiet $([ $kind = exact ] || echo --round-activations) --logits "$work/logits-$kind.h5" \
        >"$work/score" 2>"$work/log" || fail "score --logits" "score failed" "$work/log"
done
exact=$work/logits-exact.h5 round=$work/logits-round.h5
expect "rounding is as far off as rounding" 0 "$COMPARE_GREEDY" "$round" "$exact" "$round" 0.25 0.25 1 1 0.02
expect "a row too far off" 3 "$COMPARE_GREEDY" "$exact" "$exact" "$round" 0.25 1e-3 1 1 0.02
expect "rounding is further off than nothing" 1 "$COMPARE_GREEDY" "$round" "$exact" "$exact" 0.25 0.25 2 1 0.02

# The draft's ops are there as well: a file without them has fewer. Two tokens take as many steps with a draft as without, whatever it proposes.
for draft in --always-draft --no-draft; do
    on_ranks 1 generate -m "$MODEL" -p "def quicksort(" -n 2 $draft --quiet --trace-ops "$work/$draft.h5" >"$work/text" 2>"$work/log" ||
        fail "generate --trace-ops $draft" "generate failed" "$work/log"
done
compare "generate --trace-ops" --always-draft.h5 --always-draft.h5 --all 0
drafted=$(tail -n 1 "$work/log" | cut -d' ' -f1)
compare "generate --trace-ops --no-draft" --no-draft.h5 --no-draft.h5 --all 0
plain=$(tail -n 1 "$work/log" | cut -d' ' -f1)
if [ "$drafted" -gt "$plain" ]; then ok "the draft is traced"; else fail "the draft is traced" "$drafted and $plain ops"; fi

finish
