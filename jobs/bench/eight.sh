#!/usr/bin/env bash
# One node with several GPUs, eight by design: build, check and measure Slipstream on all of them, in under nine minutes on a bare machine.
#
#   jobs/bench/eight.sh [OUT]
#
# OUT (default eight.out) gets table.txt, a JSON object a run, trace.json (Perfetto: one verify step of rank 0) and the logs. Weights are
# random, acceptance is forced to 6.3; the JSON says so. Where the whole Pro does not fit, the deepest part of it that does is run, and
# the table says how deep. Exit status 1: a check failed.
#
#   RANKS    a GPU each (default: all that nvidia-smi lists)
#   BUILD    where to build (default build-eight)
#   LIMIT    seconds; what no longer fits is left out and named (default 530)
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${RANKS:=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')}" "${BUILD:=$root/build-eight}" "${LIMIT:=530}"
out=${1:-eight.out}
mkdir -p "$out" && out=$(realpath "$out") || exit 2
[ "$RANKS" -ge 1 ] || { echo "eight.sh: no GPU was found" >&2; exit 2; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export SLIPSTREAM=$BUILD/slipstream TOOLS=$BUILD/tests MODEL=$root/jobs/demo/model.h5
table=$out/table.txt failed=0
: >"$table"

say() { echo "[$SECONDS s] $*" | tee -a "$table"; }
END=50 # seconds that the last part takes
left() { echo $((LIMIT - END - SECONDS)); }
on_ranks() { # ranks, seconds, arguments of slipstream...
    timeout "$2" mpirun --bind-to none -n "$1" "$SLIPSTREAM" "${@:3}" </dev/null
}

verdict() { # name, exit status, remark
    if [ "$2" -eq 0 ]; then
        say "ok    $1${3:+: $3}"
    else
        say "FAIL  $1${3:+: $3}"
        failed=1
    fi
}

value() { # key, file: of the first object that has it
    sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$2" | head -n 1
}

# ---- build ----

{ cmake -S "$root" -B "$BUILD" -DCMAKE_CUDA_ARCHITECTURES=90a-real && cmake --build "$BUILD" -j "$(nproc)" --target slipstream exchange check_results; } \
    >"$out/build.log" 2>&1 || { tail -n 20 "$out/build.log"; exit 1; }
say "$RANKS x $(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1), $("$SLIPSTREAM" --version | head -n 1)"

# ---- fidelity: the shipped model on one GPU and on all ----

head -c 4000 "$root/tests/data/text.py" >"$out/text"
bits() { # name, ranks, options...
    on_ranks "$2" 60 score -m "$MODEL" -f "$out/text" --device cuda --quiet --json "${@:3}" >"$out/score-$1.json" 2>"$out/score-$1.log"
    value bits_per_byte "$out/score-$1.json"
}
one=$(bits one 1) all=$(bits all "$RANKS") again=$(bits again "$RANKS")
awk -v a="$one" -v b="$all" 'BEGIN { d = a > b ? a - b : b - a; exit !(a > 0 && b > 0 && d < 0.002 * a) }'
verdict "bits per byte within 0.2 % of one GPU's" $? "$one, $RANKS ranks $all"
[ -n "$all" ] && [ "$all" = "$again" ]
verdict "the same bits from run to run" $? "$again"
if [ "$RANKS" -gt 1 ]; then
    timeout 90 mpirun --bind-to none -n "$RANKS" "$TOOLS/exchange" </dev/null >"$out/exchange.txt" 2>"$out/exchange.log"
    verdict "the exchange, bit for bit" $? "$(grep -c '^ok' "$out/exchange.txt") cases"
    grep -E "^# .*(ranks|8 x 6144)" "$out/exchange.txt" | tee -a "$table"
fi

# ---- metrics ----

row() { printf '%-46s %9s %9s %9s %9s %11s %9s\n' "$@" | tee -a "$table"; }
metrics() { # name
    local brief=() number
    for number in "$(value median "$out/full.txt")" "$(value verify_median "$out/$1.json")" "$(value draft_median "$out/$1.json")" \
        "$(value tokens_per_second "$out/full.txt")" "$(value gb_per_second_per_gpu "$out/full.txt")" \
        "$(awk -v ms="$(value host_median "$out/$1.json")" 'BEGIN { print 1000 * ms }')"; do
        brief+=("$(printf '%.4g' "$number")")
    done
    row "$1" "${brief[@]}"
}

# Exit status 0: its row is in the table; 3: it did not fit into the GPUs' memory.
measure() { # name, arguments of bench...
    local name=$1 seconds=90 status=0
    [ "$(left)" -lt 25 ] && { say "left out, there is no time: $name"; return 1; }
    [ "$(left)" -lt "$seconds" ] && seconds=$(left)
    on_ranks "$RANKS" "$seconds" bench --device cuda --acceptance 6.3 -n 256 --json "${@:2}" >"$out/$name.json" 2>"$out/$name.log" || status=$?
    if [ "$status" -ne 0 ]; then
        rm "$out/$name.json"
        grep -q "out of memory" "$out/$name.log" && return 3
        verdict "$name" "$status" "$(grep -m 1 '^slipstream:' "$out/$name.log")"
        return 1
    fi
    # The steps in which all sequences verify; the object lies on a line or on several.
    tr -d '\n' <"$out/$name.json" | grep -o '"full_steps": *{[^}]*}' | tr ',' '\n' | sed 's/median_ms/median/; s/}//' >"$out/full.txt"
    metrics "$name"
}

row "a step of 8 tokens, acceptance 6.3" "step ms" "verify" "draft" "tokens/s" "GB/s a GPU" "host us"
if [ "$RANKS" -eq 1 ]; then
    shape="--shape pro --shard-of 8" deepest=pro-eighth
    measure pro-eighth $shape
    measure pro-eighth-32k $shape --prompt-tokens 32768 -n 64
    measure flash-24 --shape flash --layers 24
else
    deepest=
    for layers in 70 48 32 24 16 8; do # the Pro has 70
        shape="--shape pro --layers $layers"
        measure "pro-$layers" $shape && { deepest=pro-$layers; break; }
        [ $? -eq 3 ] || break
    done
    if [ -n "$deepest" ]; then
        for slices in 1 2 4 8; do
            [ "$slices" -le "$RANKS" ] && [ $((RANKS % slices)) -eq 0 ] && measure "$deepest-slices-$slices" $shape --expert-slices "$slices"
        done
        measure "$deepest-draft-on-rank-0" $shape --draft-ranks 1
        measure "$deepest-launch" $shape --engine launch
        measure "$deepest-32k" $shape --prompt-tokens 32768 -n 64
    fi
    measure flash --shape flash
fi
rm -f "$out/trace.json"
[ -n "$deepest" ] && [ "$(left)" -gt 25 ] &&
    on_ranks "$RANKS" "$(left)" bench --device cuda --acceptance 6.3 -n 256 $shape --profile "$out/trace.json" >"$out/profile.log" 2>&1
"$SLIPSTREAM" plan --shape pro --ranks 8 | grep -E "step  |acceptance length 6.30" | sed 's/^/# plan, Pro on 8: /' | tee -a "$table"

# ---- a rank that is killed takes the job down, and no GPU is left spinning ----

if [ "$RANKS" -gt 1 ]; then
    on_ranks "$RANKS" 30 bench --shape flash --layers 4 --device cuda -n 60000 --context 65536 --prompt-tokens 16 >"$out/kill.log" 2>&1 &
    job=$!
    sleep 6
    victim=$(pgrep -n -f "^$SLIPSTREAM bench --shape flash --layers 4")
    started=$SECONDS
    kill -KILL "$victim" 2>>"$out/kill.log"
    killed=$?
    wait "$job"
    status=$?
    [ "$killed" -eq 0 ] && [ "$status" -ne 0 ] && [ "$status" -ne 124 ] && [ $((SECONDS - started)) -le 10 ]
    verdict "a killed rank ends the job" $? "exit status $status after $((SECONDS - started)) s"
    [ "$(bits after "$RANKS")" = "$all" ]
    verdict "the GPUs are as good as before" $?
fi
say "done"
exit "$failed"
