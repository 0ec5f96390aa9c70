#!/usr/bin/env bash
# Every call of CUDA and NCCL fails once, alone or with all that follow it (tests/gpu/tools/fail_cuda.c). The run must end with exit status 1
# and say why in CUDA's or NCCL's words, release what it holds, and with --resume give what an undisturbed run gives; or, where nothing hangs
# on the call, give that at once. Never may it crash or hang.
#
#   each.sh                     a sample of all calls by both engines, on one rank and, where there are two GPUs, on two
#   each.sh NAME [N]            the calls of this name alone, or the Nth of them, in all ways
#
#   RUNS    how many calls fail on one rank, and a third as many on two (default 18; all: each name's first and last call, and one in between, in
#           all ways)
#   EACH_SEED=N takes other ones
#   FAKE    1: no GPU, but a runtime that computes nothing (tests/gpu/tools/fake_cuda.c)
: "${FAKE:=0}" "${TOOLS:=$(dirname "$0")/../../build/tests}"
TOOLS=$(realpath "$TOOLS")
SLIPSTREAM=$TOOLS/slipstream_fails
[ "$FAKE" = 0 ] || SLIPSTREAM=$TOOLS/slipstream_fake
[ -x "$SLIPSTREAM" ] || { echo "skipped: $SLIPSTREAM is not there: this build has no CUDA"; exit 77; }
if [ "$FAKE" = 0 ]; then
    . "$(dirname "$0")/common.bash"
else
    . "$(dirname "$0")/../mpi/common.bash"
    DEVICE=cuda
    export LD_LIBRARY_PATH=$TOOLS/fake${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
RANDOM=${EACH_SEED:=1}
echo "note  EACH_SEED=$EACH_SEED"
: "${RUNS:=$([ "$QUICK" = 1 ] && echo 8 || echo 18)}"

# ---- none is missing: what the objects want of the runtime, but for words about errors and what nvcc adds ----

nm -u "$TOOLS"/../kernels/libslip_cuda.a "$TOOLS"/../comm/libslip_windows.a 2>/dev/null | grep -o '\b_*cuda[A-Za-z0-9_]*' | sort -u |
    grep -v -e '^cudaGetErrorString$' -e '^__cuda\(GetKernel\|PushCall\|PopCall\|Register\|Unregister\)' >"$work/wanted"
nm "$SLIPSTREAM" | grep -o '__wrap__*cuda[A-Za-z0-9_]*' | sed 's/^__wrap_//' | sort -u >"$work/wrapped"
comm -23 "$work/wanted" "$work/wrapped" >"$work/missing"
if [ ! -s "$work/wanted" ] || [ -s "$work/missing" ]; then
    fail "calls of the runtime" "missing in fail_cuda_calls.c: $(tr '\n' ' ' <"$work/missing")"
else
    ok "calls of the runtime" "all $(wc -l <"$work/wanted") can fail"
fi

# ---- runs ----

requests=$root/tests/data/each.jsonl output=$work/results.jsonl log=$work/log

batch() { # ranks, engine, options...
    local launch=(mpirun --oversubscribe --bind-to none -n "$1")
    [ "$1" = 1 ] && launch=()
    timeout "$seconds" "${launch[@]}" "${settings[@]}" "$SLIPSTREAM" batch --device cuda --engine "$2" -m "$MODEL" -i "$requests" --sequences 2 --quiet \
        "${@:3}" </dev/null
}

# An undisturbed run: what all others are held to, and how often it calls what.
settings=()
prepare() { # ranks
    local engine status
    for engine in persistent launch; do
        rm -f "$output"*
        settings=(env FAIL_COUNT="$work/calls-$1-$engine")
        batch "$1" "$engine" -o "$output" >"$work/stdout" 2>"$log"
        status=$?
        [ -e "$work/reference-$1" ] || cp "$output" "$work/reference-$1"
        if [ "$status" != 3 ] || grep -q "not released" "$log" || ! "$check" same "$output" "$work/reference-$1" >"$work/why"; then
            fail "undisturbed, $1 ranks, $engine" "exit status $status" "$log"
            return 1
        fi
    done
}

# A run may do without these: they release or measure, ask what is known otherwise, or see only how a kernel leaves that has done its work.
harmless() { # name
    case $1 in
    cudaFree* | cuda*Destroy | nccl*Destroy | ncclMemFree | ncclCommWindowDeregister | ncclCommAbort) return 0 ;;
    cudaEvent* | cudaMemGetInfo | cuda*GetVersion | cudaGetDeviceProperties* | cudaStreamQuery | ncclTeamLsa) return 0 ;;
    esac
    return 1
}

# What is wrong with a run that a failing call has disturbed; nothing: "".
judge() { # ranks, engine, way, name, rank, status
    local whole=0 reason="out of memory|unknown error|illegal memory access|captur|unhandled|CUDA error [0-9]|NCCL error [0-9]"
    "$check" same "$output" "$work/reference-$1" >/dev/null 2>&1 && whole=1
    case $6 in
    3)
        [ "$whole" = 1 ] || echo "exit status 3 without all answers"
        harmless "$4" || echo "nobody has noticed"
        ;;
    1 | 2)
        grep -E '^slipstream: .*(GPU|NCCL|--device cuda): ' "$log" | grep -q -i -E "$reason|does not tell its version" || echo "no word of why"
        [ "$1" = 1 ] || [ "$5" = 0 ] || grep -q "^slipstream: rank $5 on " "$log" || echo "no word of rank $5"
        [ "$6" = 1 ] || grep -q -- "--device cuda: " "$log" || echo "exit status 2"
        ;;
    *) echo "exit status $6" ;;
    esac
    grep "not released" "$log"
    [ "$whole" = 1 ] || resumes "$1" "$2" || echo "resumed, it is not the undisturbed run: $(head -n 3 "$work/why" "$work/resumed")"
}

# What has been tried need not be tried again.
resumes() { # ranks, engine
    local state
    state=$work/resumed-$1-$(cat "$output"* 2>/dev/null | md5sum | cut -c -32)
    [ ! -e "$state" ] || return 0
    settings=()
    batch "$1" "$2" -o "$output" --resume >"$work/stdout" 2>"$work/resumed"
    "$check" same "$output" "$work/reference-$1" >/dev/null 2>"$work/why" && : >"$state"
}

tried=0 unreached=0
try() { # ranks, engine, way, name, number, rank
    local status wrong
    rm -f "$output"*
    settings=(env FAIL_HOW="$3" FAIL_CALL="$4" FAIL_AT="$5" FAIL_RANK="$6")
    batch "$1" "$2" -o "$output" >"$work/stdout" 2>"$log"
    status=$?
    if ! grep -q "^fail_cuda: $4 .* fails" "$log" && [ "$status" = 3 ]; then # no two runs poll the same number of times
        unreached=$((unreached + 1))
        return
    fi
    wrong=$(judge "$1" "$2" "$3" "$4" "$6" "$status")
    tried=$((tried + 1))
    [ -z "$wrong" ] || fail "$4, call $5 of rank $6 of $1, $2, $3" "$wrong" "$log"
}

# ---- which calls ----

# Every name's first and last call and one in between, as the arguments of try, in any order.
list() { # ranks
    local file engine rank name count way number
    for file in "$work/calls-$1-"*; do
        engine=${file#*/calls-"$1"-} rank=${file##*-}
        engine=${engine%-*}
        while read -r name count; do
            [ "$name" = "${wanted:-$name}" ] || continue
            for way in error sticky late; do
                case $way-$name in late-*Launch*) ;; late-*) continue ;; esac
                for number in ${wanted_number:-1 $((RANDOM * RANDOM % count + 1)) "$count"}; do
                    echo "$1 $engine $way $name $number $rank"
                done
            done
        done <"$file"
    done | sort -u | awk -v seed="$EACH_SEED" 'BEGIN { srand(seed) } { print rand(), $0 }' | sort -g | cut -d ' ' -f 2-
}

# Each name about as often, until there are so many.
sample() { # ranks, how many
    local before=$failed case count=$2
    tried=0 unreached=0
    prepare "$1" || return
    list "$1" | awk '{ print seen[$4]++, $0 }' | sort -s -n -k 1,1 | cut -d ' ' -f 2- >"$work/list"
    [ "$count" = all ] && count=$(wc -l <"$work/list")
    while read -r case; do
        # shellcheck disable=SC2086 # several words
        try $case
    done < <(head -n "$count" "$work/list")
    [ "$failed" != "$before" ] || [ "$tried" = 0 ] ||
        ok "calls on $1 ranks" "$tried of $(wc -l <"$work/list") failed, one at a time; $unreached were not reached"
    [ "$tried" -gt 0 ] || fail "calls on $1 ranks" "none has failed"
}

# ---- without --device ----

# Every call fails from the first look at the device on: the run is one of the CPU, and says so once. That nothing is said where nothing
# fails shows that the words are about the failure.
falls_back() { # ranks
    local launch=(mpirun --oversubscribe --bind-to none -n "$1") status
    [ "$1" = 1 ] && launch=()
    timeout "$seconds" "${launch[@]}" env FAIL_CALL=cudaGetDeviceCount FAIL_AT=1 FAIL_HOW=sticky "$SLIPSTREAM" generate -m "$MODEL" -p "def f(" -n 4 \
        >"$work/stdout" 2>"$log" </dev/null
    status=$?
    if [ "$status" = 0 ] && [ "$(grep -c "^warning: computing on the CPU: no GPU was found (.*); --device cpu " "$log")" = 1 ] &&
        grep -q "^# .*, cpu, $1 rank" "$log"; then
        ok "a driver that fails, $1 ranks" "$(grep '^warning: ' "$log")"
    else
        fail "a driver that fails, $1 ranks" "exit status $status, or not said" "$log"
    fi
}

wanted=${1:-} wanted_number=${2:-}
[ -n "$wanted" ] || { falls_back 1 && falls_back 2; }
[ -z "$wanted" ] || RUNS=all
[ "${wanted#nccl}" != "$wanted" ] || sample 1 "$RUNS"
on_ranks 2 score -m "$MODEL" -f "$root/tests/data/text.py" --context 64 --quiet >"$work/probe" 2>&1
if grep -q -e "ranks on this host" -e "has no NCCL" "$work/probe"; then
    echo "note  $(grep -m 1 -e "--device cuda:" "$work/probe"): one rank alone"
else
    [ "$RUNS" = all ] && sample 2 all || sample 2 $(((RUNS + 2) / 3))
fi
finish
