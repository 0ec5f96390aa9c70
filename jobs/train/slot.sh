#!/usr/bin/env bash
# All that follows a trained target, on a GPU machine that is there for ten minutes and keeps nothing: slot.sh HERE, with OUT set
#
# HERE holds what was carried there: target.pt (matrices in BF16 are enough), text.N.xz, tokenizer.json and prose.jsonl of `train.py pack` (a
# fifth of the training text is enough: 12 MB). Every part has a deadline of its own, every wait is for something that has one, and
# after each part what it made goes to $OUT, in pieces of 15 MiB: nothing is lost when the machine is.
set -u -o pipefail
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=true
HERE=${1:?usage: slot.sh HERE} D=${D:-$1/set} PY=${PY:-python3} CODE=$(dirname "$0")
T="$PY $CODE/train.py" BEGAN=$SECONDS
# seconds of all; minutes of unloop, teach and the drafter; steps of a variant; tokens a parameter that the branches go on to
: "${OUT:?}" "${ALL:=565}" "${UNLOOP:=1.25}" "${TEACH:=1.0}" "${MAIN:=2.5}" "${STEPS:=1500}" "${LONGER:=20.0}"
C=(--config "$CODE/slot.toml")
left() { echo $((ALL - (SECONDS - BEGAN))); }
say() { echo "=== $((SECONDS - BEGAN)) s: $*"; }
part() { # LIMIT COMMAND...: with a deadline, and none where no time is left
    local limit=$1 rest; shift; rest=$(left)
    [ "$rest" -gt 5 ] || return 1
    timeout -k 3 $((limit < rest ? limit : rest)) "$@"
}
keep() { cp -f "$D"/results.jsonl "$D"/run/train.jsonl "$OUT"/ 2>/dev/null; }
pack() { # NAME FOLDER...: to $OUT in pieces, under its name when whole
    local name=$1; shift
    tar c -C "$D" "$@" | xz -T0 -4 > "$D"/$name.tar.xz && split -b 15m "$D"/$name.tar.xz "$OUT"/$name.tar.xz.
}
variant() { # NAME SETTINGS...
    local name=$1; shift
    part 110 $T drafter --dir "$D" "${C[@]}" --branch "$name" --set drafter.steps=$STEPS "$@" 2>&1 | tail -1 &&
    part 60 $T evaluate --dir "$D" "${C[@]}" --branch "$name" --temperature 0 1.0 2>&1 | cut -c1-330
    keep
}

mkdir -p "$D"/run "$D"/data
nvidia-smi -L 2>/dev/null
say unpack; part 90 $T unpack --dir "$D" --travel $HERE 2>&1 | tail -3
cp $HERE/target.pt "$D"/run/target.pt

say unloop; part 110 $T unloop --dir "$D" "${C[@]}" --minutes $UNLOOP 2>&1 | tail -60 | cut -c1-160; keep
say export
part 40 $PY - "$CODE" "$D" <<'P' 2>&1 | tail -3
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from learn import settings
from nets.export import export_target
from nets.target import Config, Target
D = Path(sys.argv[2])
target = Target(Config(**settings.load(sys.argv[1] + "/slot.toml").target.shape))
target.load_state_dict(torch.load(D / "run/target.pt", map_location="cpu", weights_only=True)["model"])
export_target(target, D / "data/tokenizer.json", D / "export")
P
pack export export & packing=$!
(part 60 $T bits --dir "$D" "${C[@]}" --note unloop 2>&1 | cut -c1-200 | tail -10; keep) & bits=$!
say teach; part 100 $T teach --dir "$D" "${C[@]}" --minutes $TEACH 2>&1 | tail -4; keep
wait $packing $bits; ls "$OUT"

say two losses
variant dpace --set drafter.loss=dpace & a=$!
variant distill --set drafter.loss=distill & b=$!
wait $a $b
LOSS=$($PY - "$D/results.jsonl" <<'P'
import json, sys
rows = [r for r in map(json.loads, open(sys.argv[1])) if r["what"] == "acceptance" and r["temperature"] == 0]
best = {r["drafter"]: max(r["code"]["without_loops"], 1.0) for r in rows}
print(max(best, key=best.get) if best else "dpace")
P
)
say "drafter by ${LOSS:=dpace}"
part 200 $T drafter --dir "$D" "${C[@]}" --set drafter.loss=$LOSS --fit --minutes $MAIN 2>&1 | tail -3; keep
pack dflash export/dflash
say evaluate
(part 120 $T evaluate --dir "$D" "${C[@]}" --temperature 0 0.7 1.0 2>&1 | cut -c1-700; keep) & main=$!

($PY - "$D" <<'P' && pack weights weights.pt; ls "$OUT") & weights=$!
import sys, torch
saved = torch.load(sys.argv[1] + "/run/target.pt", map_location="cpu", weights_only=True)
model = {n: t if t.dim() < 2 or "router" in n else t.bfloat16() for n, t in saved["model"].items()}
torch.save({"model": model, "done": saved["done"]}, sys.argv[1] + "/weights.pt")
P

say branches
for b in none:bf16 experts:experts; do
    cp $HERE/target.pt "$D"/run/target-${b#*:}.pt
    part 50 $T target --dir "$D" "${C[@]}" --branch ${b#*:} --set target.quantize=${b%:*} --set target.tokens_per_parameter=$LONGER --minutes 0.7 2>&1 | tail -1 | cut -c1-250
    keep
done
wait $main $weights
say bits; part 60 $T bits --dir "$D" "${C[@]}" --note branches 2>&1 | cut -c1-200 | tail -20; keep

say variants
variant adamw --set drafter.optimizer=adamw --set drafter.loss=$LOSS & a=$!
variant plain --set drafter.loss=plain & b=$!
variant block16 --set drafter.block=16 --set drafter.loss=$LOSS & c=$!
wait $a $b $c
variant block4 --set drafter.block=4 --set drafter.loss=$LOSS & a=$!
variant block12 --set drafter.block=12 --set drafter.loss=$LOSS & b=$!
variant taps --set 'drafter.taps=[1,3,5]' --set drafter.loss=$LOSS & c=$!
wait $a $b $c
keep
say done; ls -l "$OUT"
