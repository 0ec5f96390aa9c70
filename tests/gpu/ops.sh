#!/usr/bin/env bash
# Every op of the GPU against the CPU's, buffer by buffer, on the shipped model and on the fixtures of tests/golden/forward: f32, bf16,
# e4m3 and mxfp4 weights, fused and split qkv, odd sizes, the drafter. The CPU rounds activations as the GPU does. Then the golden
# logits themselves, and the two engines against each other.
. "$(dirname "$0")/common.bash"
: "${COMPARE_OPS:=$TOOLS/compare_ops}" "${COMPARE:=$TOOLS/compare_logits}"
fixtures=$root/tests/golden/forward/fixtures

# A difference of one rounding step of e4m3 in one operand (1/16) is seen again by every op behind it, so that bounds on whole passes
# are wide; f32 and bf16 models have no such steps, and bounds of their own.
compare_ops() { # name, model, bound, score's input...
    local name=$1 model=$2 bound=$3
    shift 3
    on_ranks 1 score -m "$model" "$@" --quiet --device cpu --round-activations --trace-ops "$work/cpu.h5" >"$work/out" 2>"$work/log" &&
        on_ranks 1 score -m "$model" "$@" --quiet --engine launch --trace-ops "$work/gpu.h5" >"$work/out" 2>"$work/log" ||
        { fail "$name" "score --trace-ops failed" "$work/log"; return; }
    if "$COMPARE_OPS" "$work/gpu.h5" "$work/cpu.h5" --all "$bound" >"$work/log" 2>&1; then
        ok "$name, op by op" "$(tail -n 1 "$work/log"); $(sed 's/.*worst \([^ ]*\) .*/\1/' "$work/log" | sort -g | tail -n 1) at worst"
    else
        fail "$name, op by op" "beyond $bound" "$work/log"
    fi
}

logits() { # engine, model, file, input...
    on_ranks 1 score -m "$2" "${@:4}" --quiet --engine "$1" --logits "$work/$3" >"$work/out" 2>"$work/log"
}

head -c 700 "$root/jobs/train/tokenizer.py" >"$work/text"
compare_ops "shipped model" "$MODEL" 6e-2 -f "$work/text"

for folder in "$fixtures"/*/; do
    name=$(basename "$folder") model=$work/$(basename "$folder").h5
    case $name in *-f32 | *-bf16) bound=2e-2 tolerance=2e-2 ;; *) bound=0.15 tolerance=0.5 ;; esac
    on_ranks 1 convert "$folder" "$model" >"$work/log" 2>&1 || { fail "$name" "convert failed" "$work/log"; continue; }
    compare_ops "$name" "$model" "$bound" --ids "$folder/ids.json"
    for engine in persistent launch; do
        logits "$engine" "$model" "$engine.h5" --ids "$folder/ids.json" || { fail "$name, $engine" "score failed" "$work/log"; continue 2; }
    done
    if "$COMPARE" "$work/persistent.h5" "$folder/expected.bin" "$tolerance" >"$work/log" 2>&1; then
        ok "$name, golden logits" "$(cat "$work/log")"
    else
        fail "$name, golden logits" "beyond $tolerance" "$work/log"
    fi
    if cmp -s "$work/persistent.h5" "$work/launch.h5"; then ok "$name, both engines"; else fail "$name, both engines" "logits differ"; fi
done

finish
