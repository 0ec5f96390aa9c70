#!/bin/sh
# Golden logits on MPI ranks: convert every fixture of tests/golden/forward, score its ids on 1, 2, 3 and 4 ranks (and
# with experts cut in two where the ranks are even and the experts wide enough), compare with what a reference gave.
#
#   SLIPSTREAM   the program           (default build/slipstream)
#   COMPARE      tests/golden/compare_logits.c, built   (default build/compare_logits)
#   FIXTURES     folder of fixtures    (default tests/golden/forward/fixtures)
#
# One line a case and a closing count; exit status 1 when a case fails. Writes to a temporary folder only.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
: "${SLIPSTREAM:=$root/build/slipstream}" "${COMPARE:=$root/build/compare_logits}"
: "${FIXTURES:=$root/tests/golden/forward/fixtures}"
tolerance=1e-4
narrowest_slice=32 # columns of an expert that a rank must keep (ranks/model/placement.h)
seconds=120        # a case; ranks that wait for each other for ever must not hang the suite

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMP_NUM_THREADS=1

for program in "$SLIPSTREAM" "$COMPARE"; do
    [ -x "$program" ] || { echo "golden.sh: $program is not there" >&2; exit 2; }
done
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

passed=0 failed=0

fail() { # name, what happened, file with the reason
    failed=$((failed + 1))
    echo "FAIL  $1: $2"
    tail -n 5 "$3" | sed 's/^/      /'
}

# The value of a whole number in config.json.
config_number() { # file, key
    sed -n 's/^ *"'"$2"'": *\([0-9][0-9]*\),*$/\1/p' "$1"
}

on_ranks() { # count, command...
    count=$1
    shift
    timeout "$seconds" mpirun --oversubscribe --bind-to none -n "$count" "$@" </dev/null
}

score() { # fixture folder, ranks, slices (0: the program's own choice)
    name="$(basename "$1") on $2"
    set -- "$1" "$2" "$3" "$work/logits.h5" "$work/score.log"
    rm -f "$4"
    if [ "$3" -gt 0 ]; then
        name="$name, experts in $3"
        on_ranks "$2" "$SLIPSTREAM" score --device cpu -m "$work/model.h5" --ids "$1/ids.json" --logits "$4" --json \
            --expert-slices "$3" >"$5" 2>&1
    else
        on_ranks "$2" "$SLIPSTREAM" score --device cpu -m "$work/model.h5" --ids "$1/ids.json" --logits "$4" --json >"$5" 2>&1
    fi || { fail "$name" "score failed" "$5"; return; }
    for golden in "$1"/expected.bin "$1"/transformers.bin; do
        [ -e "$golden" ] || continue
        if "$COMPARE" "$4" "$golden" "$tolerance" >"$work/compare.log" 2>&1; then
            passed=$((passed + 1))
            echo "ok    $name, $(basename "$golden" .bin): $(cat "$work/compare.log")"
        else
            fail "$name" "logits differ from $(basename "$golden") by more than $tolerance" "$work/compare.log"
        fi
    done
}

for fixture in "$FIXTURES"/*/; do
    fixture=${fixture%/}
    rm -f "$work/model.h5"
    if ! on_ranks 1 "$SLIPSTREAM" convert "$fixture" "$work/model.h5" >"$work/convert.log" 2>&1; then
        fail "$(basename "$fixture")" "convert failed" "$work/convert.log"
        continue
    fi
    width=$(config_number "$fixture/config.json" moe_intermediate_size)
    for ranks in 1 2 3 4; do
        score "$fixture" "$ranks" 0
        if [ $((ranks % 2)) -eq 0 ] && [ "${width:-0}" -ge $((2 * narrowest_slice)) ]; then
            score "$fixture" "$ranks" 2
        fi
    done
done

echo "golden: $passed passed, $failed failed"
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
