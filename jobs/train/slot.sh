#!/usr/bin/env bash
# What follows a trained target, on a GPU machine that is there for minutes and keeps nothing: slot.sh HERE, with OUT set
#
# HERE holds what was carried there: text.N.xz, tokenizer.json and prose.jsonl of `train.py pack` (a seventh of the training text is enough), and
# either target.pt (matrices in BF16 are enough), which is then freed of loops, exported and followed by the branches of quantisation, or
# export.tar.xz, the target as a Hugging Face folder `export`, beside dflash.tar.xz, a drafter of it as `export/dflash`, where
# experiments are to start from one; or agree-NAME.tar.xz.aa .. as they came back, which hold both. Then the target writes text, and the
# experiments of plan.toml run in what is left of the time. With AGREE=codesign.toml, target and drafter are trained together instead
# (`train.py codesign`); with PLAN=further.toml the drafter of what came of that goes on alone, in a call of its own, or in the same where SEARCH says
# how many seconds codesign may have. The same
# call on the same machine goes on; on another one, put the results.jsonl that came back into HERE. Every part has a deadline of its own,
# every wait is for something that has one, and what a part made goes to $OUT as it ends, in pieces of 15 MiB: nothing is lost when the machine is.
set -u -o pipefail
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=true
HERE=${1:?usage: slot.sh HERE} D=${D:-$1/set} PY=${PY:-python3} CODE=$(dirname "$0")
T="$PY $CODE/train.py" BEGAN=$SECONDS
# seconds of all, and of codesign where more follows; minutes of unloop and teach; tokens a parameter that the branches go on to; the experiments; more arguments of `train.py plan` or `codesign`
: "${OUT:?}" "${AGREE:=}" "${SEARCH:=}" "${ALL:=565}" "${UNLOOP:=1.25}" "${TEACH:=1.25}" "${LONGER:=20.0}" "${PLAN:=$CODE/plan.toml}" "${CONFIG:=$CODE/slot.toml}" "${MORE:=}"
C=(--config "$CONFIG")
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
mkdir -p "$D"/run "$D"/data "$OUT"
nvidia-smi -L 2>/dev/null
if [ ! -f "$D"/data/train.u16 ]; then
    say unpack; part 90 $T unpack --dir "$D" --travel "$HERE" 2>&1 | tail -3
    if [ -f "$HERE"/results.jsonl ]; then cp "$HERE"/results.jsonl "$D"/; fi
fi
if [ -f "$HERE"/target.pt ] && [ ! -f "$D"/run/target.pt ]; then
    cp "$HERE"/target.pt "$D"/run/target.pt
    say unloop; part 110 $T unloop --dir "$D" "${C[@]}" --minutes $UNLOOP 2>&1 | tail -60 | cut -c1-160; keep
    say export; part 40 $T export --dir "$D" "${C[@]}" 2>&1 | tail -3
    pack export export & packing=$!
    (part 60 $T bits --dir "$D" "${C[@]}" --note unloop 2>&1 | cut -c1-200 | tail -10; keep) & bits=$!
    say branches
    for b in none:bf16 experts:experts; do
        cp "$HERE"/target.pt "$D"/run/target-${b#*:}.pt
        part 50 $T target --dir "$D" "${C[@]}" --branch ${b#*:} --set target.quantize=${b%:*} --set target.tokens_per_parameter=$LONGER --minutes 0.7 2>&1 | tail -1 | cut -c1-250
        keep
    done
    wait $packing $bits
    say bits; part 60 $T bits --dir "$D" "${C[@]}" --note branches 2>&1 | cut -c1-200 | tail -20; keep
elif [ ! -f "$D"/export/config.json ]; then
    say target
    for packed in export dflash; do [ -f "$HERE"/$packed.tar.xz ] && tar xJf "$HERE"/$packed.tar.xz -C "$D"; done
    if compgen -G "$HERE/agree-*.tar.xz.*" >/dev/null; then cat "$HERE"/agree-*.tar.xz.* | tar xJ -C "$D" && mv "$D"/agree-* "$D"/export; fi
fi
if [ -n "$AGREE" ]; then
    say codesign; part 9999 $T codesign --dir "$D" "${C[@]}" --plan "$AGREE" --seconds ${SEARCH:-$(($(left) - 5))} --out "$OUT" $MORE 2>&1 | cut -c1-600
    keep
    if [ -z "$SEARCH" ] || [ ! -f "$D"/run/best ]; then say done; ls -l "$OUT"; exit; fi
    export=agree-$(cat "$D"/run/best); say "$export goes on"
    if [ ! -d "$D"/before ]; then mv "$D"/export "$D"/before && cp -r "$D/$export" "$D"/export; fi
fi
say teach; part 110 $T teach --dir "$D" "${C[@]}" --minutes $TEACH 2>&1 | tail -4 | cut -c1-160; keep
say experiments
part 9999 $T plan --dir "$D" "${C[@]}" --plan "$PLAN" --seconds $(($(left) - 5)) --out "$OUT" $MORE 2>&1 | grep -v '"part"' | cut -c1-420
keep
say done; ls -l "$OUT"
