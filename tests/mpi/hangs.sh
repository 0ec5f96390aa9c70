#!/usr/bin/env bash
# A hang is named within seconds and ends the job; SIGUSR2 shows what every rank does, and the run goes on; a rank that is killed anywhere
# takes the job down, and the launcher names it. tests/mpi/tools/fail_after.c makes calls that never return and ranks that die.
#
# MATRIX=all kills every rank of 2 to 4 at many places; otherwise at one each. MATRIX_SEED=N takes other places. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"
preload=$TOOLS/fail_after.so
[ -e "$preload" ] || { echo "hangs.sh: $preload is not there" >&2; exit 2; }
sanitized=0
nm -D "$SLIPSTREAM" 2>/dev/null | grep -q __asan_init && sanitized=1 # it has the place of the calls that are to fail

requests=$work/requests.jsonl reference=$work/reference.jsonl output=$work/results.jsonl log=$work/log
tokens=24
for i in 1 2 3 4; do
    printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"def function_%d(","max_tokens":%d,"temperature":0.7,"seed":%d}}\n' \
        "$i" "$i" "$((i < 3 ? 3 : tokens))" "$i"
done >"$requests"

preloaded=()
start() { # ranks, options...
    wait_for_release
    rm -f "$output" "$log"
    mpirun --oversubscribe --bind-to none -n "$1" "${preloaded[@]}" "$SLIPSTREAM" batch -m "$MODEL" -i "$requests" -o "$output" \
        --sequences 2 --quiet "${@:2}" >"$work/stdout" 2>"$log" </dev/null &
    job=$!
}

# The call that does not come back, or is the last.
failing() { # kind, number, rank, how
    preloaded=(env LD_PRELOAD="$preload" FAIL_KIND="$1" FAIL_AT="$2" FAIL_RANK="$3" FAIL_HOW="$4" FAIL_LOUD=1)
}

# What can be gone on with gives the undisturbed answers.
resumes() { # name
    preloaded=()
    wait_for_release
    if ! on_ranks 1 batch -m "$MODEL" -i "$requests" -o "$output" --quiet --resume >"$work/stdout" 2>"$log"; then
        fail "$1, resumed" "batch failed" "$log"
    elif ! "$check" same "$output" "$reference" 2>"$log"; then
        fail "$1, resumed" "not the undisturbed answers" "$log"
    fi
}

if ! on_ranks 1 batch -m "$MODEL" -i "$requests" -o "$reference" --quiet >"$log" 2>&1; then
    fail "undisturbed" "batch failed" "$log"
    finish
fi

# ---- SIGUSR2 ----

shown() { # name, pattern of the line of rank 1, lines wanted
    local rank
    for ((rank = 0; rank < $3; rank++)); do wait_for_word "^# state .*rank $rank on .* MB"; done
    # Ranks of one host that hear of it more than a second apart, on a busy machine, each tell.
    if [ "$(grep '^# state .*rank [0-9]* on .* for [0-9.]* s; [0-9]* sequences; [0-9]* MB' "$log" 2>/dev/null |
        cut -d : -f 1 | sort -u | grep -c rank)" != "$3" ]; then
        fail "$1" "not one line a rank" "$log"
    elif ! grep -q "^# state .*rank 1 on .*$2" "$log"; then
        fail "$1" "no word of \"$2\"" "$log"
    else
        ok "$1" "$(grep -m1 '^# state .*rank 1' "$log" | cut -c 20-)"
    fi
}

tokens_long=$work/long.jsonl
printf '{"custom_id":"long","method":"POST","url":"/v1/completions","body":{"prompt":"def f(","max_tokens":4000,"temperature":0}}\n' >"$tokens_long"

# Start a run and ask it, as it goes. One that ends before it has told all, since the processor was others', is asked again.
ask() { # whom, words before the program...
    local try
    for try in 1 2 3; do
        rm -f "$output" "$log" # its words must not be taken for the next run's
        mpirun --oversubscribe --bind-to none -n 3 "${@:2}" "$SLIPSTREAM" batch -m "$MODEL" -i "$tokens_long" -o "$output" --no-draft \
            --drain 0.1 >"$work/stdout" 2>"$log" </dev/null &
        job=$!
        wait_for_word "^# memory"
        [ "$1" = launcher ] && kill -USR2 "$job"
        [ "$1" = rank ] && kill -USR2 "$(rank_process 2)"
        wait_for_word "^# state .*rank 1 on " && wait_for_word "^# state .*rank 2 on " && return
        wait_for_end "$seconds"
    done
}

# It goes on, to its end or until it is drained: it is long where the processor is others'.
goes_on() { # name
    kill -USR1 "$job" 2>/dev/null
    wait_for_end "$seconds"
    [ "$status" = 0 ] || [ "$status" = 75 ] || fail "$1" "the run ended with $status" "$log"
    rm -f "$output.unfinished" # a drain's, which the next run would want to go on with
}

for who in launcher rank; do
    ask "$who"
    shown "SIGUSR2 at the $who" "step [0-9]\|waiting for the step\|loading\|opening the model" 3
    goes_on "SIGUSR2 at the $who"
done

# Each host tells its ranks' lines once, when the launcher has passed the signal on.
if [ "$sanitized" = 0 ]; then
    ask launcher env LD_PRELOAD="$TOOLS/hosts.so" HOSTS=2
    shown "SIGUSR2 on two hosts" "host1: " 3
    goes_on "SIGUSR2 on two hosts"
fi

# ---- a job that is suspended and resumed ----

# Stopping ranks for as long as their deadline would take minutes: their clocks are put on, together.
if [ "$sanitized" = 0 ]; then
    for try in 1 2 3; do
        rm -f "$output" "$log" "$work/jump"
        mpirun --oversubscribe --bind-to none -n 3 env LD_PRELOAD="$TOOLS/clock_jump.so" CLOCK_JUMP_WHEN="$work/jump" "$SLIPSTREAM" batch \
            -m "$MODEL" -i "$tokens_long" -o "$output" --no-draft --drain 0.1 >"$work/stdout" 2>"$log" </dev/null &
        job=$!
        wait_for_word "^# memory"
        touch "$work/jump"
        alive && break
        wait_for_end "$seconds" # over before it was suspended, since the processor was others'
    done
    kill -USR2 "$job"
    wait_for_word "^# state .*rank 2 on "
    goes_on "a job that was suspended"
    if grep -q "no answer\|not done" "$log"
    then fail "a job that was suspended" "time that it did not run counts" "$log"
    else ok "a job that was suspended goes on"
    fi
fi
[ "$sanitized" = 0 ] || { echo "note  what fails is left out: a sanitizer has the place of those calls"; finish; }

# ---- calls that never return ----

hang() { # name, kind, number, rank, pattern
    failing "$2" "$3" "$4" hang
    for _ in 1 2 3; do # a rank that got no processor for 30 s before is given up as well
        start 2 --deadline 30
        wait_for_word "fail_after: here" && break
        wait_for_end "$seconds"
    done
    local begun=$SECONDS
    kill -USR2 "$job"
    wait_for_end "$seconds"
    if [ "$status" != 1 ]; then
        fail "$1" "exit status $status after $((SECONDS - begun)) s" "$log"
    elif ! grep -q "^slipstream: .*rank $4 .*$5" "$log" || ! grep -q "^# state .*rank $4 on .*$5" "$log"; then
        fail "$1" "no word of \"$5\" of rank $4" "$log"
    else
        ok "$1" "$(grep -m1 '^slipstream:' "$log")"
        resumes "$1"
    fi
}
hang "an endless read" read 40 1 "loading the target, reading .*model.h5"
hang "an endless sync" sync 3 0 "after step [0-9]*, writing .*results.jsonl"
hang "an endless write" write 2 0 "after step [0-9]*, writing .*results.jsonl"

# ---- every rank, killed somewhere ----

calls_of() { # ranks: the last one's calls to MPI in a run, of which rank 0 makes more
    preloaded=(env LD_PRELOAD="$preload" FAIL_RANK="$(($1 - 1))" FAIL_COUNT="$work/calls")
    start "$1"
    wait_for_end "$seconds"
    sed -n 's/^mpi //p' "$work/calls"
}

# How many calls a run makes depends on the times it measures: one that ended before its call is killed at an earlier one.
killed() { # ranks, rank, call
    local call=$3 name begun
    while :; do
        name="rank $2 of $1 is killed at its call $call to MPI" begun=$SECONDS
        failing mpi "$call" "$2" kill
        start "$1" --deadline 3600 # the launcher ends it, and no deadline
        wait_for_end "$seconds"
        { [ "$call" -lt 20 ] || grep -q "fail_after: here" "$log"; } && break
        call=$((call / 2))
    done
    if [ "$status" = 0 ] || [ "$status" = 124 ]; then
        fail "$name" "exit status $status after $((SECONDS - begun)) s" "$log"
    elif ! grep -q "rank $2 .*signal 9" "$log"; then
        fail "$name" "the launcher does not name it" "$log"
    else
        ok "$name" "exit status $status after $((SECONDS - begun)) s"
        resumes "$name"
    fi
}

RANDOM=${MATRIX_SEED:=1}
echo "note  MATRIX_SEED=$MATRIX_SEED"
for ranks in 2 3 4; do
    total=$(calls_of "$ranks")
    for ((rank = 0; rank < ranks; rank++)); do
        places=1
        [ "${MATRIX:-}" = all ] && places=8
        for ((place = 0; place < places; place++)); do
            killed "$ranks" "$rank" $((10 + RANDOM * RANDOM % (total - 10)))
        done
    done
done
finish
