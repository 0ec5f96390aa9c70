#!/usr/bin/env bash
# A signal ends the commands that cannot go on later: between two steps, with exit status 75, a word of it, and nothing half written; so does
# one that comes while they load, and one that comes while a model is converted or shards are merged.
# What a signal does to `batch`: tests/mpi/faults.sh. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"
log=$work/log out=$work/stdout

start() { # ranks, arguments...
    rm -f "$out" "$log"
    mpirun --oversubscribe --bind-to none -n "$1" "$SLIPSTREAM" "${@:2}" >"$out" 2>"$log" </dev/null &
    job=$!
}

wait_for() { # command...
    local tries=$((seconds * 10))
    while alive && ! "$@" >/dev/null 2>&1 && [ $((tries -= 1)) -gt 0 ]; do
        sleep 0.1
    done
}

# Start a run and signal it as soon as a command succeeds. One that is over before, since the processor was others', is started again.
interrupt() { # command, signal, whom, ranks, arguments...
    for _ in 1 2 3; do
        start "${@:4}"
        wait_for "$1"
        case $3 in
        launcher) kill "-$2" "$job" ;;
        *) kill "-$2" "$(rank_process "$3")" ;;
        esac 2>/dev/null
        wait_for_end "$seconds"
        [ "$status" = 0 ] || return
        rm -f "$made"/*
    done
}

# Exit status 75, what is said of it, nothing on standard output but a text that ends with its line, and no file of this folder.
ended() { # name, pattern, folder
    if [ "$status" != 75 ] || [ "$(grep -c "^slipstream: .*$2" "$log")" != 1 ]; then
        fail "$1" "exit status $status, or no word of \"$2\"" "$log"
    elif [ -s "$out" ] && { grep -q '^{' "$out" || [ -n "$(tail -c 1 "$out")" ]; }; then
        fail "$1" "half an answer on standard output" "$out"
    elif [ -n "$(ls -A "$3")" ]; then
        fail "$1" "left: $(ls -A "$3")" "$log"
    else
        ok "$1" "$(grep -m1 '^slipstream:' "$log")"
    fi
}

# Long work: a machine must be slow to signal, or fast, to end it before.
made=$work/made
mkdir "$made"
for _ in $(seq 200); do cat "$root/tests/data/text.py"; done >"$work/long.py"
generate=(generate -m "$MODEL" --device cpu -p "def f(" -n 4000 --temperature 1 --seed 3 --no-draft)
score=(score -m "$MODEL" --device cpu -f "$work/long.py" --json)
bench=(bench -m "$MODEL" --device cpu -n 4000 --sequences 8 --json)

text_comes() { test -s "$out"; }
interrupt text_comes TERM 1 2 "${generate[@]}" --trace-ops "$made/ops.h5"
ended "SIGTERM at rank 1 ends generate" "stopped on SIGTERM (at rank 1)" "$made"

# While it loads or when it computes: either way.
trace_is_made() { test -s "$made/ops.h5"; }
interrupt trace_is_made INT 0 1 "${score[@]}" --trace-ops "$made/ops.h5"
ended "SIGINT ends score" "SIGINT" "$made"

has_loaded() { grep -q '^# memory' "$log"; }
interrupt has_loaded USR1 launcher 2 "${bench[@]}"
ended "SIGUSR1 ends bench" "SIGUSR1" "$made"

# Before the model is there, and when an output is being written: a disk that is slow to sync keeps us at it.
if [ -e "$TOOLS/slow_sync.so" ] && ! grep -q __asan_init "$SLIPSTREAM"; then
    export SLOW_SYNC_MS=1000000
    LD_PRELOAD=$TOOLS/slow_sync.so "$SLIPSTREAM" convert "$root/tests/golden/forward/fixtures/pro-release" "$made/new.h5" >"$out" 2>"$log" </dev/null &
    job=$!
    wait_for test -s "$made/new.h5.partial"
    kill -TERM "$job"
    wait_for_end "$seconds"
    ended "SIGTERM ends convert" "SIGTERM: ended before the model was whole" "$made"

    requests=$root/jobs/demo/requests.jsonl
    for i in 0 1; do
        on_ranks 1 batch -m "$MODEL" -i "$requests" -o "$work/shard$i.jsonl" --shard $i/2 -n 2 --quiet >"$out" 2>"$log"
    done
    LD_PRELOAD=$TOOLS/slow_sync.so "$SLIPSTREAM" merge "$work"/shard?.jsonl -i "$requests" -o "$made/all.jsonl" >"$out" 2>"$log" </dev/null &
    job=$!
    wait_for test -e "$made/all.jsonl.partial"
    kill -TERM "$job"
    wait_for_end "$seconds"
    ended "SIGTERM ends merge" "SIGTERM: ended before it was done" "$made"
fi

finish
