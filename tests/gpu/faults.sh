#!/usr/bin/env bash
# Nothing hangs on the GPU: a dropped signal ends in a record, exit status 1 and a kernel that has left; what cannot work says why in
# one line.
. "$(dirname "$0")/common.bash"

expect() { # name, status, pattern, command...
    local started=$SECONDS status
    "${@:4}" >"$work/out" 2>"$work/log"
    status=$?
    if [ "$status" != "$2" ]; then
        fail "$1" "exit status $status, not $2" "$work/log"
    elif [ -n "$3" ] && ! grep -q -E -e "$3" "$work/log"; then
        fail "$1" "no line with $3" "$work/log"
    else
        ok "$1" "$(grep -m 1 -E -e "${3:-.}" "$work/log") ($((SECONDS - started)) s)"
    fi
}

alone() {
    timeout 60 "$SLIPSTREAM" "$@" </dev/null
}

# Ops of the target's and of the draft's list, early and late. The default deadline of a wait on the GPU is a second.
for op in 3 20 60; do
    expect "a signal dropped behind op $op" 1 "SM [0-9]+, consumers: waited too long for all SMs .*op $op \([A-Z_]+\), layer -?[0-9]+: expected [0-9]+, seen [0-9]+" \
        env SLIPSTREAM_DROP_SIGNAL=$op timeout 60 "$SLIPSTREAM" generate -m "$MODEL" -p "def f(" -n 8 --device cuda --quiet
done
expect "a fault that is none" 2 "SLIPSTREAM_DROP_SIGNAL: 3x: not the number of a device op" \
    env SLIPSTREAM_DROP_SIGNAL=3x timeout 60 "$SLIPSTREAM" generate -m "$MODEL" -p "def f(" -n 8 --device cuda --quiet
expect "the GPU is as good as before" 0 "" alone generate -m "$MODEL" -p "def f(" -n 8 --device cuda --quiet
expect "out of GPU memory" 1 "GPU: out of memory: [0-9.]+ MB more wanted, [0-9.]+ of [0-9.]+ MB free" \
    alone bench --shape pro --device cuda --no-draft --quiet
expect "no GPU" 2 "--device cuda: no GPU was found" env CUDA_VISIBLE_DEVICES= timeout 60 "$SLIPSTREAM" generate -m "$MODEL" -p "def f(" --device cuda

finish
