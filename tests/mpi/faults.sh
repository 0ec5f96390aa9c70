#!/usr/bin/env bash
# What goes wrong while a batch runs: ranks that die, hang or never had the model, signals, a full disk. The job must end
# soon and say why; finished answers stay, as whole lines; --resume then gives what an undisturbed run gives.
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

# ---- a batch that can be disturbed ----

requests=$work/requests.jsonl reference=$work/reference.jsonl
output=$work/results.jsonl log=$work/log
never=(--deadline 3600) # ranks do not give one another up while a test waits for a job's end: what ends it is something else

# A few answers are there soon, then comes a stretch to be disturbed in.
tokens=64 many=8
[ "$QUICK" = 1 ] && tokens=48 many=4
make_requests() { # and their undisturbed answers
    for i in $(seq "$((4 + many))"); do
        printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"def function_%d(","max_tokens":%d,"temperature":0.7,"seed":%d}}\n' \
            "$i" "$i" "$((i <= 4 ? 3 : tokens))" "$i"
    done >"$requests"
    rm -f "$reference"
    on_ranks 1 batch -m "$MODEL" -i "$requests" -o "$reference" --quiet >"$log" 2>&1 && return
    fail "undisturbed" "batch failed" "$log"
    finish
}

# For a machine that has done it all before it is disturbed.
make_longer() {
    [ "$tokens" -lt 1000 ] || return
    tokens=$((2 * tokens))
    echo "note  a run was over before it was disturbed: its answers have $tokens tokens from now on"
    make_requests
}

start() { # options...: 3 ranks in the background
    mpirun --oversubscribe --bind-to none -n 3 "$SLIPSTREAM" batch -m "$MODEL" -i "$requests" -o "$output" --sequences 2 \
        "$@" >"$work/stdout" 2>"$log" </dev/null &
    job=$!
}

wait_for_lines() { # count
    local tries=$((seconds * 10))
    while alive && [ "$( (wc -l <"$output") 2>/dev/null || echo 0)" -lt "$1" ] && [ $((tries -= 1)) -gt 0 ]; do
        sleep 0.1
    done
    alive
}

# A job that is disturbed once so many answers are there; then its end. It ends with 0 where it was over before, since the processor was others'.
run_disturbed() { # count, action, its argument, options...
    rm -f "$output" "$output.unfinished"
    start "${@:4}"
    wait_for_lines "$1" && "$2" "$3"
    wait_for_end "$seconds"
}

# The answers so far are whole and right.
kept() { # name
    "$check" whole "$output" >"$work/count" 2>"$work/why" && "$check" part "$output" "$reference" 2>>"$work/why" && return 0
    fail "$1" "the answers so far are damaged" "$work/why"
    return 1
}

# Going on gives the undisturbed answers.
resumes() { # name
    wait_for_release
    if ! on_ranks 2 batch -m "$MODEL" -i "$requests" -o "$output" --quiet --resume >"$log" 2>&1; then
        fail "$1, resumed" "batch failed" "$log"
    elif "$check" same "$output" "$reference" 2>"$log"; then
        ok "$1, resumed"
    else
        fail "$1, resumed" "not the undisturbed answers" "$log"
    fi
}

# Disturb a run once four answers are there: `action` is called with `argument`; the job must end with the wanted status
# ("any": but 0) and say something that matches the pattern.
disturb() { # name, wanted status, pattern, action, argument, options...
    local name=$1 wanted=$2 pattern=$3
    shift 3
    while run_disturbed 4 "$@" && [ "$status" = 0 ] && make_longer; do :; done
    if [ "$status" = 124 ]; then
        fail "$name" "still running after $seconds s" "$log"
    elif [ "$status" = 0 ] || { [ "$wanted" != any ] && [ "$status" != "$wanted" ]; }; then
        fail "$name" "exit status $status instead of $wanted" "$log"
    elif ! grep -q "$pattern" "$log"; then
        fail "$name" "no word of \"$pattern\"" "$log"
    elif kept "$name"; then
        ok "$name" "exit status $status, $(cat "$work/count") answers kept"
        resumes "$name"
    fi
}

make_requests
ok "undisturbed" "$("$check" whole "$reference") answers"

# ---- ranks and signals ----

kill_rank() { kill -KILL "$(rank_process "$1")"; }
stop_rank() { kill -STOP "$(rank_process "$1")"; }
signal_job() { kill "-$1" "$job"; }

disturb "a worker is killed" any "rank 1.*signal 9" kill_rank 1 "${never[@]}"
disturb "rank 0 is killed" any "rank 0.*signal 9" kill_rank 0 "${never[@]}"
disturb "a worker hangs" 1 "no answer from .*rank 1" stop_rank 1 --deadline 60
disturb "a worker hangs, and has a share of the draft" 1 "no answer from .*rank 1" stop_rank 1 --deadline 60 --always-draft --draft-ranks all
disturb "a worker is stopped" 1 "no answer from rank 1 .* stopped .*its state: .*step [0-9]" stop_rank 1
disturb "rank 0 is stopped" any "no answer from rank 0 .* stopped" stop_rank 0
disturb "SIGUSR1 drains" 75 "run again with --resume" signal_job USR1
disturb "SIGTERM ends it" any . signal_job TERM

# The launcher forwards some signals, Slurm sends others to the ranks themselves: any rank may hear of the end.
signal_rank() { kill "-${1#* }" "$(rank_process "${1% *}")"; }
disturb "SIGTERM at rank 0 drains" 75 "stopped on SIGTERM with [1-9]" signal_rank "0 TERM"
disturb "SIGINT at rank 0 drains" 75 "stopped on SIGINT with [1-9]" signal_rank "0 INT"
disturb "SIGUSR1 at rank 2 drains" 75 "stopped on SIGUSR1 (at rank 2) with [1-9]" signal_rank "2 USR1"

# One request of many answers takes long to finish. It is given up.
long_request() { # name, what to find in the log, action, options...
    local name=$1 pattern=$2 action=$3 all=$requests
    shift 3
    requests=$work/long.jsonl
    head -n 1 "$all" >"$requests"
    printf '{"custom_id":"long","method":"POST","url":"/v1/completions","body":{"prompt":"def f(","max_tokens":500,"n":100,"temperature":1}}\n' >>"$requests"
    sed -n 2p "$all" >>"$requests"
    for _ in 1 2 3; do
        run_disturbed 1 "$action" "" "$@"
        [ "$status" = 0 ] || break
    done
    requests=$all
    if [ "$status" != 75 ]; then
        fail "$name" "exit status $status" "$log"
    elif ! grep -q "$pattern" "$log" || [[ "$("$check" outcome "$output" r1)" != 200* ]]; then
        fail "$name" "no word of \"$pattern\", or the first answer is gone" "$log"
    else
        ok "$name" "$(grep -m1 "$pattern" "$log")"
    fi
}
one_signal() { signal_job USR1; }
two_signals() { # the second when the first has been heard
    signal_job USR1
    wait_for_word "^# signal"
    sleep 1.5
    signal_job USR1
}
long_request "--drain bounds the end" "stopped on SIGUSR1 with 2 requests left" one_signal --drain 1
if [ "$("$check" outcome "$output" long)" = "never interrupted" ]
then ok "what --drain gives up never ran"
else fail "what --drain gives up never ran" "$("$check" outcome "$output" long)" "$log"
fi
long_request "a second signal ends at once" "SIGUSR1, the second signal" two_signals

# What is given up is kept as far as it has come, and goes on to the answer of an undisturbed run.
goes_on() { # name
    local all=$requests undisturbed=$reference
    requests=$work/two.jsonl reference=$work/two-reference.jsonl
    for length in 200 800 3000; do # the shortest that is not done by then
        head -n 1 "$all" >"$requests"
        printf '{"custom_id":"long","method":"POST","url":"/v1/completions","body":{"prompt":"def f(","max_tokens":%d,"n":2,"temperature":1,"return_token_ids":true}}\n' \
            "$length" >>"$requests"
        run_disturbed 1 signal_job USR1 --drain 0.3
        [ "$status" = 0 ] || break
    done
    cp "$log" "$work/disturbed"
    on_ranks 1 batch -m "$MODEL" -i "$requests" -o "$reference" --quiet >"$log" 2>&1
    if [ "$status" != 75 ] || [ "$(wc -l <"$output.unfinished")" != 1 ]; then
        fail "$1" "exit status $status, or no results.jsonl.unfinished" "$work/disturbed"
    elif on_ranks 1 batch -m "$MODEL" -i "$requests" -o "$output" >"$log" 2>&1 || ! grep -q "exists and is not empty\|an earlier run began" "$log"; then
        fail "$1" "a run without --resume began" "$log"
    else
        resumes "$1"
        [ ! -e "$output.unfinished" ] || fail "$1" "results.jsonl.unfinished is still there"
    fi
    requests=$all reference=$undisturbed
}
goes_on "what --drain gives up goes on"

# As many lines as requests, even of an interrupted run.
while run_disturbed 4 signal_job USR1 && [ "$status" = 0 ] && make_longer; do :; done
lines=$("$check" whole "$output" 2>"$log")
if [ "$status" = 75 ] && [ "$lines" = $((4 + many)) ] && [ "$("$check" outcome "$output" "r$((4 + many))")" = "never interrupted" ]
then ok "a drained run answers for every request"
else fail "a drained run answers for every request" "exit status $status, ${lines:-damaged} lines" "$log"
fi

# ---- ranks that lack the model ----

# Every rank sees another folder: rank 1's holds something else than a model.
lacking() { # name, wanted status, pattern, arguments...
    local name=$1 wanted=$2 pattern=$3
    shift 3
    # shellcheck disable=SC2016 # for the rank's shell
    timeout "$seconds" mpirun --oversubscribe --bind-to none -n 3 \
        sh -c 'cd "$1/rank${PMIX_RANK:-$OMPI_COMM_WORLD_RANK}" && shift && exec "$@"' sh "$work" "$SLIPSTREAM" \
        generate -m model.h5 -p "import os" -n 4 "${never[@]}" >"$work/stdout" 2>"$log" </dev/null
    status=$?
    if [ "$status" != "$wanted" ]; then
        fail "$name" "exit status $status instead of $wanted" "$log"
    elif ! grep -q "$pattern" "$log"; then
        fail "$name" "no word of \"$pattern\"" "$log"
    else
        ok "$name" "exit status $status, $(grep -m1 slipstream: "$log")"
    fi
}

mkdir "$work/rank0" "$work/rank1" "$work/rank2"
ln -s "$MODEL" "$work/rank0/model.h5"
ln -s "$MODEL" "$work/rank2/model.h5"
lacking "a rank has no model" 2 "rank 1 on .*model.h5"
head -c 1000000 "$MODEL" >"$work/rank1/model.h5"
lacking "a rank has a torn model" 2 "rank 1 on .*model.h5"
rm "$work/rank1/model.h5"
mkfifo "$work/rank1/model.h5"
lacking "a rank has a FIFO for a model" 2 "rank 1 on .*model.h5"

# A signal before decoding has begun: nothing is in flight, and nobody waits for the disk, whose read does not come back.
rm -f "$output" "$output.unfinished"
if [ -e "$TOOLS/fail_after.so" ] && ! grep -q __asan_init "$SLIPSTREAM"; then
    mpirun --oversubscribe --bind-to none -n 3 env LD_PRELOAD="$TOOLS/fail_after.so" FAIL_KIND=read FAIL_AT=40 FAIL_RANK=1 FAIL_HOW=hang FAIL_LOUD=1 \
        "$SLIPSTREAM" batch -m "$MODEL" -i "$requests" -o "$output" "${never[@]}" >"$work/stdout" 2>"$log" </dev/null &
    job=$!
    wait_for_word "fail_after: here"
    signal_job USR1
    wait_for_end "$seconds"
    if [ "$status" = 75 ] && grep -q "SIGUSR1 before decoding began: run again with --resume" "$log" && [ ! -s "$output" ]
    then ok "SIGUSR1 while loading"
    else fail "SIGUSR1 while loading" "exit status $status" "$log"
    fi
fi

# A signal when the output has just been made, which a slow disk keeps us at: neither it nor its lock stays behind.
if [ -e "$TOOLS/slow_sync.so" ] && ! grep -q __asan_init "$SLIPSTREAM"; then
    rm -f "$output" "$output.unfinished"
    LD_PRELOAD=$TOOLS/slow_sync.so SLOW_SYNC_MS=2000000 "$SLIPSTREAM" batch -m "$MODEL" -i "$requests" -o "$output" >"$work/stdout" 2>"$log" </dev/null &
    job=$!
    tries=$((seconds * 10))
    while [ ! -e "$output" ] && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done
    made=$(ls "$output" "$output.lock" 2>/dev/null | wc -l)
    signal_job TERM
    wait_for_end "$seconds"
    if [ "$status" = 75 ] && [ "$made" = 2 ] && [ ! -e "$output" ] && [ ! -e "$output.lock" ]
    then ok "SIGTERM when the output has been made"
    else fail "SIGTERM when the output has been made" "exit status $status, $(ls "$work")" "$log"
    fi
fi

# ---- disks ----

# Rank 0 may write little more than it has; as a full disk, but without one.
limit_rank() {
    prlimit --pid "$(rank_process 0)" --fsize=$(($(wc -c <"$output") + $1))
}
disturb "no room for the next answer" 1 "results.jsonl" limit_rank 300

disk=$work/disk
mkdir "$disk"
if mount -t tmpfs -o size=4k slipstream-test "$disk" 2>/dev/null; then
    trap 'umount "$disk"; rm -rf "$work"' EXIT
    output=$disk/results.jsonl
    start
    wait_for_end "$seconds"
    if [ "$status" != 1 ] || ! grep -q "results.jsonl.*No space left" "$log"; then
        fail "a full disk" "exit status $status" "$log"
    elif kept "a full disk"; then
        ok "a full disk" "$(cat "$work/count") answers kept"
        mount -o remount,size=1m "$disk"
        resumes "a full disk"
    fi
    output=$work/results.jsonl
else
    echo "note  a full disk: no file system may be mounted here; left out"
fi

# ---- the output of an earlier run ----

# Outcome of a run that must not start.
refused() { # name, pattern, options...
    local name=$1 pattern=$2
    shift 2
    cp "$output" "$work/before"
    on_ranks 2 batch -m "$MODEL" -i "$requests" -o "$output" "$@" >"$work/stdout" 2>"$log"
    status=$?
    if [ "$status" = 2 ] && grep -q "$pattern" "$log" && cmp -s "$output" "$work/before"; then
        ok "$name" "$(grep -m1 slipstream: "$log")"
    else
        fail "$name" "exit status $status" "$log"
    fi
}

head -n 3 "$reference" >"$output"
refused "output exists" "exists and is not empty"
sed -n 4p "$reference" | head -c 100 >>"$output"
resumes "a torn last line"
head -n 3 "$reference" | sed '2s/.*/something else/' >"$output"
refused "a foreign line" "line 2" --resume
head -n 2 "$reference" | sed 's/"run_hash":"[0-9a-f]*"/"run_hash":"0123456789abcdef"/' >"$output"
refused "another model's answers" "another model" --resume

finish
