#!/usr/bin/env bash
# Ranks with a GPU each: what one rank gives, but for the order of a few f32 additions; the same bits on every run; and an end with a
# reason when a rank dies, stops or never starts, in half the time in which ranks give each other up.
#   RANKS   2 or more (default 2)
. "$(dirname "$0")/common.bash"
: "${RANKS:=2}"
last=$((RANKS - 1))
on_ranks "$RANKS" score -m "$MODEL" -f "$root/tests/data/text.py" --context 64 --quiet >"$work/probe" 2>&1 || {
    grep -q -e "ranks on this host" -e "has no NCCL" "$work/probe" && { echo "skipped: $(grep -m 1 -e "--device cuda:" "$work/probe")"; exit 77; }
    cat "$work/probe"
    exit 1
}

# ---- the same as one rank ----

# A rank adds up its columns by itself: partial sums meet in another order, and where a value lies at the edge of an e4m3 step, or two
# experts are as good, that shows. As between the two orders of greedy.sh: rows are off by 0.03 in the middle.
head -c 4000 "$root/tests/data/text.py" >"$work/text"
bits() { # ranks, options...
    on_ranks "$1" score -m "$MODEL" -f "$work/${text:-text}" --quiet --json "${@:2}" 2>"$work/log" |
        sed -n 's/.*"bits_per_byte": \([0-9.]*\).*/\1/p'
}
one=$(bits 1) all=$(bits "$RANKS") again=$(bits "$RANKS") launched=$(bits "$RANKS" --engine launch)
if awk -v a="$one" -v b="$all" 'BEGIN { d = a > b ? a - b : b - a; exit !(a > 0 && b > 0 && d < 0.002 * a) }'; then
    ok "bits per byte" "one rank $one, $RANKS ranks $all"
else
    fail "bits per byte" "one rank $one, $RANKS ranks $all" "$work/log"
fi
same() { # name, bits per byte to the last digit
    [ -n "$all" ] && [ "$all" = "$2" ] && ok "$1" "$2" || fail "$1" "$all and $2" "$work/log"
}
same "the same from run to run" "$again"
same "the same by both engines" "$launched"
RANKS=$RANKS bash "$(dirname "$0")/property.sh" >"$work/property" 2>&1 && ok "property.sh" "$(tail -n 1 "$work/property")" ||
    fail "property.sh" "$(tail -n 1 "$work/property")" "$work/property"
RANKS=$RANKS bash "$(dirname "$0")/prompt.sh" >"$work/prompt" 2>&1 && ok "prompt.sh" "$(tail -n 1 "$work/prompt")" ||
    fail "prompt.sh" "$(tail -n 1 "$work/prompt")" "$work/prompt"

on_ranks "$RANKS" generate -m "$MODEL" -p "def f(" -n 8 >"$work/out" 2>"$work/log"
grep -q "the draft adds .* a rank" "$work/log" && ok "the draft is cut over all GPUs by default" ||
    fail "the draft is cut over all GPUs by default" "the estimate of memory does not say so" "$work/log"

# The host's gathers need neither NVLink nor shared memory. NCCL's own account says what it used.
over_sockets=(NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1 NCCL_NET=Socket NCCL_SOCKET_IFNAME=lo NCCL_DEBUG=INFO "NCCL_DEBUG_FILE=$work/nccl.%p")
same "the same through sockets" "$(export "${over_sockets[@]}" && bits "$RANKS" --engine launch)"
if grep -q "via NET/Socket" "$work"/nccl.* && ! grep -q -e "via P2P" -e "via SHM" "$work"/nccl.*; then
    ok "NCCL used sockets" "$(cat "$work"/nccl.* | grep -c "via NET/Socket") connections"
else
    fail "NCCL used sockets" "it does not say so: $(cat "$work"/nccl.* | grep -m 1 " via ")"
fi

# Rank 0 stops behind every op and looks; the others' kernels stay.
head -c 200 "$work/text" >"$work/short"
all=$(text=short bits "$RANKS")
same "the same with every op of rank 0 looked at" "$(text=short bits "$RANKS" --trace-ops "$work/ops.h5")"

# ---- faults ----

for i in $(seq 40); do
    printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"def f%d(","max_tokens":900,"temperature":0.7,"seed":%d}}\n' "$i" "$i" "$i"
done >"$work/requests.jsonl"

soon=60 # seconds; --deadline is 120

# What a signal to a rank in mid-decode leads to: the job ends, not with 0, and no GPU is busy afterwards.
disturbed() { # signal, rank, pattern of the reason or empty, options...
    local started name="SIG$1 to rank $2 in mid-decode${4:+, ${*:4}}"
    rm -f "$work/$1$2.jsonl"
    mpirun --oversubscribe --bind-to none -n "$RANKS" "$SLIPSTREAM" batch -m "$MODEL" -i "$work/requests.jsonl" -o "$work/$1$2.jsonl" \
        --device cuda --sequences 1 "${@:4}" >"$work/out" 2>"$work/log" </dev/null &
    job=$!
    while alive && [ ! -s "$work/$1$2.jsonl" ]; do sleep 0.1; done
    started=$SECONDS
    kill -"$1" "$(rank_process "$2")" || { fail "$name" "there is no such process" "$work/log"; wait "$job"; return; }
    wait_for_end "$soon"
    if [ "$status" = 124 ]; then
        fail "$name" "still there after $soon s" "$work/log"
    elif [ "$status" -eq 0 ]; then
        fail "$name" "exit status 0" "$work/log"
    elif [ -n "$3" ] && ! grep -q -E -e "$3" "$work/log"; then
        fail "$name" "no line with $3" "$work/log"
    else
        ok "$name" "exit status $status after $((SECONDS - started)) s: $(grep -m 1 -E -e "${3:-signal 9}" "$work/log")"
    fi
}
disturbed KILL "$last" ""
disturbed KILL 0 ""
disturbed STOP "$last" "rank $last does not send its part|no answer from rank $last .* stopped"
disturbed STOP 0 "no answer from rank 0 .* stopped"
disturbed KILL "$last" "" --engine launch
disturbed STOP "$last" "waited [0-9.]+ s for other ranks' parts|no answer from rank $last .* stopped" --engine launch

started=$SECONDS status=0
timeout "$soon" mpirun --oversubscribe --bind-to none -n 1 "$SLIPSTREAM" score -m "$MODEL" -f "$root/tests/data/text.py" --device cuda --quiet : \
    -n "$last" false >"$work/out" 2>"$work/log" </dev/null || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 124 ]; then
    ok "a rank that dies in start-up" "exit status $status"
else
    fail "a rank that dies in start-up" "exit status $status after $((SECONDS - started)) s" "$work/log"
fi
on_ranks "$RANKS" generate -m "$MODEL" -p "def f(" -n 8 --quiet >"$work/out" 2>"$work/log" && ok "the GPUs are as good as before" || fail "the GPUs afterwards" "failed" "$work/log"

finish
