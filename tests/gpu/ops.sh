#!/usr/bin/env bash
# Every op of the GPU against the CPU's, buffer by buffer, on the shipped model and on the fixtures of tests/golden/forward: f32, bf16,
# e4m3 and mxfp4 weights, fused and split qkv, odd sizes. The CPU rounds activations as the GPU does. Then the golden
# logits themselves, and the two engines against each other.
. "$(dirname "$0")/common.bash"
: "${COMPARE_OPS:=$TOOLS/compare_ops}" "${COMPARE:=$TOOLS/compare_logits}"
fixtures=$root/tests/golden/forward/fixtures

# Bounds are on the middle row: where rounding turns a tie between experts, a row becomes another computation. A difference of one
# rounding step of e4m3 in one operand (1/16) is seen again by every op behind it; bf16 and f32 models have only the bf16 of keys,
# values and probabilities.
compare_ops() { # name, model, bound, score's input...
    local name=$1 model=$2 bound=$3
    shift 3
    rm -f "$work/cpu.h5" "$work/gpu.h5"
    DEVICE=cpu on_ranks 1 score -m "$model" "$@" --quiet --round-activations --trace-ops "$work/cpu.h5" >"$work/out" 2>"$work/log" &&
        DEVICE=cuda on_ranks 1 score -m "$model" "$@" --quiet --engine launch --trace-ops "$work/gpu.h5" >"$work/out" 2>"$work/log" ||
        { fail "$name" "score --trace-ops failed" "$work/log"; return; }
    if "$COMPARE_OPS" "$work/gpu.h5" "$work/cpu.h5" --median --all "$bound" >"$work/log" 2>&1; then
        ok "$name, op by op" "$(tail -n 1 "$work/log"); at worst $(sed -n 's/.*worst \([^ ]*\) .*/\1/p' "$work/log" | sort -g | tail -n 1)"
    else
        fail "$name, op by op" "beyond $bound" "$work/log"
    fi
}

bits() { # engine, model, input...: to the last digit
    on_ranks 1 score -m "$2" "${@:3}" --quiet --json --engine "$1" 2>"$work/log" | sed -n 's/.*"bits_per_token": //p'
}

logits() { # model, input...
    rm -f "$work/logits.h5"
    on_ranks 1 score -m "$1" "${@:2}" --quiet --logits "$work/logits.h5" >"$work/out" 2>"$work/log"
}

head -c 700 "$root/tests/data/text.py" >"$work/text"
compare_ops "shipped model" "$MODEL" 0.1 -f "$work/text"

for folder in "$fixtures"/*/; do
    name=$(basename "$folder") model=$work/$(basename "$folder").h5
    case $name in *-f32 | *-bf16) bound=1e-2 ;; *) bound=0.2 ;; esac
    on_ranks 1 convert "$folder" "$model" >"$work/log" 2>&1 || { fail "$name" "convert failed" "$work/log"; continue; }
    compare_ops "$name" "$model" "$bound" --ids "$folder/ids.json"
    persistent=$(bits persistent "$model" --ids "$folder/ids.json") launch=$(bits launch "$model" --ids "$folder/ids.json")
    if [ -n "$persistent" ] && [ "$persistent" = "$launch" ]; then
        ok "$name, both engines" "${persistent%,} bits per token"
    else
        fail "$name, both engines" "$persistent and $launch bits per token" "$work/log"
    fi
    case $name in hf-*) ;; *) continue ;; esac # where experts' ties are rare enough for logits to be compared
    if logits "$model" --ids "$folder/ids.json" && "$COMPARE" "$work/logits.h5" "$folder/expected.bin" 0.1 >"$work/log" 2>&1; then
        ok "$name, golden logits" "$(cat "$work/log")"
    else
        fail "$name, golden logits" "beyond 0.1" "$work/log"
    fi
done

finish
