#!/usr/bin/env bash
# NVIDIA's compute-sanitizer on the shipped model: memory, barriers and shared-memory races of every op, in both engines where the tool
# can follow. Skipped where it is not installed.
. "$(dirname "$0")/common.bash"
command -v compute-sanitizer >/dev/null || { echo "skipped: compute-sanitizer is not installed"; exit 77; }

# The launch engine decodes with its draft. Under the resident kernel 132 SMs poll through the tool: one step of 16 tokens, two row groups.
echo "[$(seq -s, 300 315)]" >"$work/ids.json"
decode=(generate -p "def f(x):" -n 4 --always-draft)
step=(score --ids "$work/ids.json")
# Steps of more than 64 rows have kernels of their own: whole sums, attention of many rows, and experts in one launch, or, with 150 rows, by the kernels
# for many.
echo "[$(seq -s, 300 379)]" >"$work/few.json"
echo "[$(seq -s, 300 449)]" >"$work/many.json"

# An SM has 21 mbarriers: racecheck has to be told to follow so many.
model=$MODEL
check() { # tool and its options, engine, command...
    # shellcheck disable=SC2086
    if timeout 240 compute-sanitizer --tool $1 --error-exitcode 9 "$SLIPSTREAM" "${@:3}" -m "$model" --device cuda --engine "$2" \
        --quiet --deadline 7200 </dev/null >"$work/log" 2>&1; then
        ok "$1, $2" "$(grep -m 1 SUMMARY "$work/log" | sed 's/=* *//')"
    else
        fail "$1, $2" "errors" "$work/log"
    fi
}

check memcheck launch "${decode[@]}"
check memcheck persistent "${step[@]}"
check synccheck launch "${decode[@]}"
check "racecheck --num-cuda-barriers 64" launch "${step[@]}"
for rows in few many; do
    for tool in memcheck synccheck "racecheck --num-cuda-barriers 64"; do
        check "$tool" launch score --ids "$work/$rows.json"
    done
done

# Attention's weights are e4m3 and bf16 there; the shipped model's are bf16.
model=$work/model.h5
"$SLIPSTREAM" convert "$root/tests/golden/forward/fixtures/pro-release" "$model" --quiet >"$work/log" 2>&1 || fail "convert" "it fails" "$work/log"
echo "[$(seq -s, 1 60),$(seq -s, 1 60),$(seq -s, 1 30)]" >"$work/many.json"
for tool in memcheck synccheck "racecheck --num-cuda-barriers 64"; do
    check "$tool" launch score --ids "$work/many.json"
done

finish
