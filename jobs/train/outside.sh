#!/usr/bin/env bash
# A drafter for a model from outside, end to end: outside.sh HF_FOLDER PROMPTS.jsonl DIR
#
# PROMPTS.jsonl holds lines for `slipstream batch`, the last HELD of which are for measuring alone. The engine answers the others, a drafter
# learns from its answers and the taps that transformers gives, and the engine says how much of an untrained and of the trained drafter it
# accepts. On a CPU and a small target: minutes. SETTINGS, TAPS, LAYERS, STEPS, SLIPSTREAM and PY may be given.
set -eu -o pipefail
FOLDER=${1:?usage: outside.sh HF_FOLDER PROMPTS.jsonl DIR} PROMPTS=${2:?} D=${3:?} CODE=$(dirname "$0")
: "${HELD:=12}" "${STEPS:=300}" "${TAPS:=[0, 2, 4, 5]}" "${LAYERS:=1}" "${SLIPSTREAM:=slipstream}" "${PY:=python3}" "${SETTINGS:=}"
T="$PY $CODE/train.py"
SET=(--set "drafter.taps=$TAPS" --set "drafter.layers=$LAYERS" --set drafter.steps="$STEPS" --set drafter.sequences=4 --set drafter.blocks=16)
for s in $SETTINGS; do SET+=(--set "$s"); done

measure() { # NAME: the engine's acceptance on the held prompts
    "$SLIPSTREAM" convert "$FOLDER" "$D/$1.h5" --draft "$D/dflash"
    "$SLIPSTREAM" batch -m "$D/$1.h5" -i "$D/held.jsonl" -o "$D/held-$1.jsonl" --always-draft --trace "$D/trace-$1.h5" --json >"$D/engine-$1.json"
}

mkdir -p "$D"
head -n -"$HELD" "$PROMPTS" >"$D/requests.jsonl"
tail -n "$HELD" "$PROMPTS" >"$D/held.jsonl"
"$SLIPSTREAM" convert "$FOLDER" "$D/target.h5"
"$SLIPSTREAM" batch -m "$D/target.h5" -i "$D/requests.jsonl" -o "$D/answers.jsonl" --sequences 8 --trace "$D/trace.h5"
$T teach --dir "$D" --target "$FOLDER" --responses "$D/requests.jsonl" "$D/answers.jsonl"
$T drafter --dir "$D" --target "$FOLDER" "${SET[@]}" --steps 0
measure untrained
$T drafter --dir "$D" --target "$FOLDER" "${SET[@]}"
measure trained
$PY - "$D" <<'E'
import json, sys
before, after = (json.load(open(f"{sys.argv[1]}/engine-{n}.json"))["acceptance"]["mean_acceptance_length"] for n in ("untrained", "trained"))
print(f"acceptance length: {before:.3f} untrained, {after:.3f} trained")
sys.exit(after <= before)
E
