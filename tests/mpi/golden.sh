#!/usr/bin/env bash
# Golden logits on MPI ranks: convert every fixture of tests/golden/forward, score its ids on 1, 2, 3 and 4 ranks (and
# with experts cut in two where the ranks are even and the experts wide enough), compare with what a reference gave.
#
#   COMPARE      tests/golden/compare_logits.c, built   (default TOOLS/compare_logits)
#   FIXTURES     folder of fixtures    (default tests/golden/forward/fixtures)
#
# More settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

: "${COMPARE:=$TOOLS/compare_logits}" "${FIXTURES:=$root/tests/golden/forward/fixtures}"
tolerance=1e-4
narrowest_slice=32 # columns of an expert that a rank must keep (ranks/model/placement.h)
[ -x "$COMPARE" ] || { echo "$script: $COMPARE is not there" >&2; exit 2; }

# The value of a whole number in config.json.
config_number() { # file, key
    sed -n 's/^ *"'"$2"'": *\([0-9][0-9]*\),*$/\1/p' "$1"
}

score() { # fixture folder, ranks, more options
    local name golden logits=$work/logits.h5
    name="$(basename "$1") on $2${3:+, experts in $4}"
    rm -f "$logits"
    on_ranks "$2" score -m "$work/model.h5" --ids "$1/ids.json" --logits "$logits" --json "${@:3}" >"$work/score.log" 2>&1 ||
        { fail "$name" "score failed" "$work/score.log"; return; }
    for golden in "$1"/expected.bin "$1"/transformers.bin; do
        [ -e "$golden" ] || continue
        if "$COMPARE" "$logits" "$golden" "$tolerance" >"$work/compare.log" 2>&1
        then ok "$name, $(basename "$golden" .bin)" "$(cat "$work/compare.log")"
        else fail "$name" "logits differ from $(basename "$golden") by more than $tolerance" "$work/compare.log"
        fi
    done
}

for fixture in "$FIXTURES"/*/; do
    fixture=${fixture%/}
    rm -f "$work/model.h5"
    if ! on_ranks 1 convert "$fixture" "$work/model.h5" >"$work/convert.log" 2>&1; then
        fail "$(basename "$fixture")" "convert failed" "$work/convert.log"
        continue
    fi
    width=$(config_number "$fixture/config.json" moe_intermediate_size)
    for ranks in 1 2 3 4; do
        score "$fixture" "$ranks"
        if [ $((ranks % 2)) -eq 0 ] && [ "${width:-0}" -ge $((2 * narrowest_slice)) ]; then
            score "$fixture" "$ranks" --expert-slices 2
        fi
    done
done
finish
