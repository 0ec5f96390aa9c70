#!/usr/bin/env bash
# A batch that is interrupted at random points, again and again, by whatever may happen to a job, and resumed each time. In the end every
# request has one line, the one of an uninterrupted run, and nothing else is left.
#
#   SOAK   interruptions (default 5, which takes half a minute; 50 is the long form)
#   SEED   of all that is random here (default 1); printed, so that a failure can be made again, but for its timing
#
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

: "${SOAK:=5}" "${SEED:=1}"
RANDOM=$((SEED % 32768))
echo "seed  $SEED, $SOAK interruptions"

requests=$work/requests.jsonl reference=$work/reference.jsonl output=$work/results.jsonl log=$work/log

request() { # id, prompt, tokens, more fields
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":"%s","max_tokens":%d,"seed":%d%s}}\n' \
        "$1" "$2" "$3" "${#2}" "$4"
}
{
    request greedy "def quicksort(" 90 ',"temperature":0'
    request warm "def parse(" 60 ',"temperature":0.8,"n":3'
    request hot "import" 60 ',"temperature":1.5,"return_token_ids":true'
    request refused "import" 5 ',"temperature":99'
    request filtered "class A" 50 ',"temperature":1,"top_p":0.9,"top_k":40'
    request stopped "def area(" 90 ',"temperature":0.7,"stop":["return","\\n\\n"]'
    request echoed "for i in" 40 ',"temperature":1,"echo":true,"n":2'
    for i in 1 2 3 4; do request "short$i" "def f$i(" $((3 * i)) ',"temperature":1'; done
} >"$requests"

# Sets `ranks` and starts a job that goes on with what is there.
ranks=1 shim=()
start() {
    local drafts=("" --no-draft --always-draft) drains=("--drain 0.3" "--drain 1" "")
    ranks=$((1 + RANDOM % 3))
    # shellcheck disable=SC2206 # options
    local options=(--sequences $((1 + RANDOM % 4)) ${drafts[RANDOM % 3]} ${drains[RANDOM % 3]})
    mpirun --oversubscribe --bind-to none -n "$ranks" "${shim[@]}" "$SLIPSTREAM" batch -m "$MODEL" -i "$requests" -o "$output" --resume \
        --ok-if-some-fail "${options[@]}" >"$work/stdout" 2>"$log" </dev/null &
    job=$!
    remark="$ranks ranks ${options[*]}"
}

wait_for_loading() {
    wait_for_word "^# memory"
}

signal_rank() { # signal, rank
    local process
    process=$(rank_process "$2")
    [ -n "$process" ] && kill "-$1" "$process"
}

# Ranks whose launcher is gone end by themselves; until then they hold the output, or may come to.
orphans=
ranks_live() {
    local rank
    for rank in $orphans; do
        grep -q . "/proc/$rank/cmdline" 2>/dev/null && return # one that has ended has none
    done
    is_held
}
wait_for_ranks() {
    local tries=$((seconds * 10))
    while ranks_live && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done
    orphans=
    [ "$tries" -gt 0 ]
}

# Fails where nothing is left to interrupt.
interrupt() { # kind
    case $1 in
    rank) signal_rank KILL $((RANDOM % ranks)) ;;
    launcher)
        orphans=$(cat "/proc/$job/task/"*/children)
        kill -KILL "$job"
        ;;
    drain) kill -USR1 "$job" ;;
    twice)
        kill -USR1 "$job" || return
        sleep 1.2
        kill -USR1 "$job" 2>/dev/null || true
        ;;
    term) kill -TERM "$job" ;;
    term_rank) signal_rank TERM $((RANDOM % ranks)) ;;
    full) prlimit --pid "$(rank_process 0)" --fsize=$(($( (wc -c <"$output") 2>/dev/null || echo 0) + RANDOM % 900)) ;;
    torn) signal_rank KILL 0 ;;
    esac
}

# What a crash may make of the last bytes: a line that is not whole.
tear() {
    local size=0
    [ -e "$output" ] && size=$(wc -c <"$output")
    if [ "$size" -gt 200 ] && [ $((RANDOM % 2)) = 0 ]; then
        truncate -s -"$((1 + RANDOM % 150))" "$output"
    elif [ -z "$(tail -c 1 "$output" 2>/dev/null)" ]; then
        head -n 1 "$reference" | head -c "$((1 + RANDOM % 100))" >>"$output"
    fi
}

# The answers are there, once each and right, and nothing else is.
whole() { # name
    local left
    left=$(cd "$work" && ls results.jsonl.* 2>/dev/null)
    if ! "$check" same "$output" "$reference" 2>"$log"; then
        fail "$1" "not the uninterrupted answers" "$log"
    elif [ -n "$left" ]; then
        fail "$1" "left behind: $left"
    else
        ok "$1" "$(wc -l <"$output") lines"
        rm "$output"
        return 0
    fi
    finish
}

# The run that nothing interrupts goes on to the end.
complete() {
    if ! on_ranks 2 batch -m "$MODEL" -i "$requests" -o "$output" --resume --ok-if-some-fail --quiet >"$log" 2>&1; then
        fail "the last run" "batch failed" "$log"
        finish
    fi
}

if ! on_ranks 1 batch -m "$MODEL" -i "$requests" -o "$reference" --ok-if-some-fail --quiet >"$log" 2>&1; then
    fail "uninterrupted" "batch failed" "$log"
    finish
fi
ok "uninterrupted" "$("$check" whole "$reference") lines"

# A sanitizer would have to be preloaded before the slow disk.
slow=$TOOLS/slow_sync.so
{ [ ! -e "$slow" ] || grep -q __asan_init "$SLIPSTREAM"; } && slow=

# They come within `longest` tenths of a second, which a run that is over before makes fewer, on a machine of any speed.
kinds=(rank launcher drain twice term term_rank full torn drain)
hits=0 tries=0 resumed=0 longest=30
while [ "$hits" -lt "$SOAK" ] && [ $((tries += 1)) -le $((4 * SOAK)) ]; do
    kind=${kinds[RANDOM % ${#kinds[@]}]} shim=()
    [ $((RANDOM % 4)) = 0 ] && [ "$slow" ] && shim=(env "LD_PRELOAD=$slow" "SLOW_SYNC_MS=$((50 + RANDOM % 400))")
    delay=$((RANDOM % longest)) interrupted=0
    delay=$((delay / 10)).$((delay % 10))
    start
    [ $((RANDOM % 4)) = 0 ] || wait_for_loading
    sleep "$delay"
    alive && interrupt "$kind" 2>/dev/null && interrupted=1
    wait_for_end "$seconds"
    grep -q "go on where the run before was stopped" "$log" && resumed=$((resumed + 1))
    if ! wait_for_ranks || [ "$status" = 124 ] || [ "$status" = 2 ]; then
        fail "interruption $((hits + 1)): $kind, $remark" "exit status $status" "$log"
        finish
    fi
    if [ "$interrupted" = 0 ]
    then longest=$((longest / 2 + 1))
    else longest=$((longest < 20 ? longest + 10 : 30))
    fi
    echo "      $kind after $delay s, $remark${shim:+, a slow disk}: exit status $status"
    if [ "$status" = 0 ]; then
        whole "complete after $hits interruptions"
    else
        hits=$((hits + interrupted))
        [ "$kind" = torn ] && tear
    fi
done
complete
whole "complete after all interruptions"
if [ "$hits" -ge "$SOAK" ]
then ok "$hits interruptions" "in $resumed runs answers went on where they were stopped"
else fail "$hits interruptions" "the runs ended before more could be made"
fi
finish
