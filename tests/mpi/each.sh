#!/usr/bin/env bash
# Every call that can fail fails once (tests/mpi/tools/fail_after.c): memory, files, MPI. The run must end with exit status 1 and say why, leave
# no memory that it does not leave otherwise, and with --resume give what an undisturbed run gives; or get by without what failed, and give
# that at once. Never may it crash, hang, or end well with less than all answers.
#
#   each.sh                               a fixed part of all calls
#   EACH=all each.sh                      every call of one rank, and a sample of two ranks': half an hour
#   each.sh every WHOSE KIND STEP         one rank's calls of a kind, each STEPth
#   each.sh RANKS WHOSE KIND COUNT RANK   a sample of COUNT calls of a rank's
#
# EACH_SEED=N takes other ones. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"
preload=$TOOLS/fail_after.so
[ -e "$preload" ] || { echo "each.sh: $preload is not there" >&2; exit 2; }
if nm -D "$SLIPSTREAM" 2>/dev/null | grep -q __asan_init; then
    echo "each.sh: a sanitizer has the place of the calls that are to fail; left out"
    exit 77
fi
RANDOM=${EACH_SEED:=1}
echo "note  EACH_SEED=$EACH_SEED"

requests=$root/tests/data/each.jsonl reference=$work/reference.jsonl output=$work/results.jsonl log=$work/log

# Rank 0 alone needs no launcher. On one CPU it loads without more threads, which a child that goes on from a failing call would lack.
cpu=$(taskset -pc $$ | sed 's/.*: \([0-9]*\).*/\1/')
batch() { # ranks, options...
    local launch=(mpirun --oversubscribe --bind-to none -n "$1")
    [ "$1" = 1 ] && launch=(taskset -c "$cpu")
    timeout "$seconds" "${launch[@]}" "${preloaded[@]}" "$SLIPSTREAM" batch --device cpu -m "$MODEL" -i "$requests" --sequences 2 --quiet "${@:2}" </dev/null
}

# What is wrong with a run that a failing call has disturbed; nothing: "".
judge() { # kind, status
    local whole=0 left
    "$check" same "$output" "$reference" >/dev/null 2>&1 && whole=1
    case $2 in
    3) [ "$whole" = 1 ] || echo "exit status 3 without all answers" ;;
    1)
        grep -q '^slipstream: .' "$log" || echo "no word of why"
        [[ $1 != memory && $1 != json ]] || grep -qi 'memory' "$log" || echo "no word of memory"
        ;;
    *) echo "exit status $2" ;;
    esac
    sed -n 's/^fail_after: \([0-9]* not freed\) of /\1 /p' "$log" | while read -r left; do
        echo "$left $(addr2line -f -e "$SLIPSTREAM" "${left##* }" | tr '\n' ' ')"
    done
    [ "$whole" = 1 ] || resumes || echo "resumed, it is not the undisturbed run: $(head -n 3 "$work/why" "$work/resumed")"
}

# The files that are left are gone on with, and give the undisturbed run. What has been tried need not be tried again.
resumes() {
    local state
    state=$work/resumed-$(cat "$output"* 2>/dev/null | md5sum | cut -c -32)
    [ ! -e "$state" ] || return 0
    preloaded=()
    batch 1 -o "$output" --trace "${output%/*}/run.h5" --resume >"$work/stdout" 2>"$work/resumed"
    "$check" same "$output" "$reference" >/dev/null 2>"$work/why" && : >"$state"
}

# One call fails.
try() { # ranks, whose calls, kind, number, rank
    local status
    rm -f "$output"* "$work/run.h5"
    preloaded=(env LD_PRELOAD="$preload" FAIL_FROM="$2" FAIL_KIND="$3" FAIL_AT="$4" FAIL_RANK="$5")
    batch "$1" -o "$output" --trace "$work/run.h5" >"$work/stdout" 2>"$log"
    status=$?
    wrong=$(judge "$3" "$status")
    [ -z "$wrong" ] || fail "$2: $3 call $4 of rank $5 of $1" "$wrong" "$log"
    [ -z "$wrong" ]
}

# How many calls there are, and then so many of them, one of each part of the range.
sample() { # ranks, whose calls, kind, how many, rank
    local total number bad=0 tried=0 count=$4 from
    local calls=$work/calls-$1-$2-$5
    if [ ! -e "$calls" ]; then
        rm -f "$output"* "$work/run.h5"
        preloaded=(env LD_PRELOAD="$preload" FAIL_FROM="$2" FAIL_RANK="$5" FAIL_COUNT="$calls")
        batch "$1" -o "$output" --trace "$work/run.h5" >"$work/stdout" 2>"$log"
    fi
    total=$(sed -n "s/^$3 //p" "$calls")
    [ "$total" -gt 0 ] || { fail "$2: $3 calls of rank $5 of $1" "there are none"; return; }
    [ "$count" -le "$total" ] || count=$total
    for ((from = 0; from < count; from++)); do
        number=$((from * total / count))
        number=$((number + RANDOM % ((from + 1) * total / count - number) + 1))
        try "$1" "$2" "$3" "$number" "$5" || bad=$((bad + 1))
        tried=$((tried + 1))
    done
    [ "$bad" -gt 0 ] || [ "$tried" = 0 ] || ok "$2: $3 calls of rank $5 of $1" "$tried of $total failed, one at a time"
}

# ---- every call of a kind, each in a child process of one run (tests/mpi/tools/fail_fork.c) ----

# A child has ended: its files are copied, since the run goes on with them.
judge_child() { # kind, number, status
    local wrong
    rm -rf "$work/child"
    cp -r "$work/run" "$work/child"
    output=$work/child/results.jsonl
    wrong=$(judge "$1" "$3")
    [ -z "$wrong" ] || { echo "$1 call $2: $wrong"; grep -m 3 . "$log" || true; } >>"$work/wrong"
}

every() { # whose calls, kind, step
    local status settings tried step=$3
    [ "${EACH:-}" != all ] || step=1
    rm -rf "$work/run" "$work/wrong"
    mkdir "$work/run"
    [ -e "$work/calls" ] || {
        preloaded=(env LD_PRELOAD="$preload" FAIL_COUNT="$work/calls")
        batch 1 -o "$work/run/results.jsonl" --trace "$work/run/run.h5" >"$work/stdout" 2>"$work/log-run"
        rm "$work/run/"*
    }
    {
        declare -p seconds work check reference log SLIPSTREAM MODEL requests cpu
        declare -f judge judge_child resumes batch
        echo 'judge_child "$@"'
    } >"$work/judge"
    settings=(FAIL_HOW=all FAIL_FROM="$1" FAIL_KIND="$2" FAIL_AT="$((RANDOM % step + 1))" FAIL_STRIDE="$step"
        FAIL_FOLDER="$work/run" FAIL_LOG="$log" FAIL_JUDGE="env -u LD_PRELOAD bash $work/judge $2")
    [ "$1" = slipstream ] && settings+=(FAIL_LIVE="$work/calls") # what a library keeps is its own affair
    : >"$log"
    preloaded=(env LD_PRELOAD="$preload" "${settings[@]}")
    seconds=3600 batch 1 -o "$work/run/results.jsonl" --trace "$work/run/run.h5" >"$work/stdout" 2>"$work/log-run"
    status=$?
    tried=$(sed -n 's/^fail_after: \([0-9]*\) calls failed$/\1/p' "$work/log-run")
    output=$work/run/results.jsonl
    if [ "$status" != 3 ] || ! "$check" same "$output" "$reference" >/dev/null 2>"$work/why"
    then fail "$1: $2 calls" "the run itself ended with $status" "$work/log-run"
    elif [ -e "$work/wrong" ]
    then fail "$1: $2 calls" "$(wc -l <"$work/wrong") lines of faults" "$work/wrong"
    elif [ "${tried:-0}" = 0 ]
    then fail "$1: $2 calls" "there are none" "$work/log-run"
    else ok "$1: $2 calls" "$tried failed, one at a time"
    fi
}

preloaded=()
batch 1 -o "$reference" >"$work/stdout" 2>"$log"
status=$?
[ "$status" = 3 ] || { fail "undisturbed" "exit status $status" "$log"; finish; }

case ${1:-} in
every) every "${@:2}" ;;
[1-9]*) sample "$@" ;;
*)
    every slipstream memory 32
    every slipstream json 6000
    every slipstream open 1
    every slipstream read 120
    every slipstream write 5
    every slipstream sync 1
    every slipstream cut 1
    every slipstream close 1
    every slipstream mpi 2
    every libhdf5 read 40
    count=1
    [ "${EACH:-}" = all ] && count=60
    sample 2 slipstream memory "$count" 1
    sample 2 slipstream read "$count" 1
    sample 2 slipstream mpi "$((2 * count))" 1
    sample 2 slipstream mpi "$((count - 1))" 0
    ;;
esac
finish
