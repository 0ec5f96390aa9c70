#!/usr/bin/env bash
# A file a layer: the same bytes whatever the number of ranks, an interrupted conversion that goes on, and files that do not belong to each
# other refused by name. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/../common.bash"
log=$work/log

convert() { # ranks, model, options...
    on_ranks "$1" convert "$MODEL" "$2" --files layers "${@:3}" >"$log" 2>&1
    status=$?
}
fresh() { # a copy of the index and its layers, at $work/broken/m.h5
    rm -rf "$work/broken" && cp -r "$work/on1" "$work/broken"
}
refused() { # name, what must be said
    "$SLIPSTREAM" inspect "$work/broken/m.h5" >"$log" 2>&1 </dev/null
    status=$?
    if [ "$status" = 2 ] && grep -q -- "$2" "$log"; then ok "$1" "$2"; else fail "$1" "exit status $status, or not said: $2" "$log"; fi
}

for ranks in 1 2 4; do
    mkdir "$work/on$ranks"
    convert $ranks "$work/on$ranks/m.h5"
    if [ "$status" = 0 ] && diff -r "$work/on1" "$work/on$ranks" >>"$log"; then ok "on $ranks ranks: the same files"; else fail "on $ranks ranks" "exit status $status, or other files" "$log"; fi
done
for model in "$MODEL" "$work/on1/m.h5"; do on_ranks 2 generate -m "$model" -p "def f(" -n 6 -q --temperature 0 >"$work/text.$(dirname "$model" | tr -d /)" 2>>"$log"; done
if [ "$(cat "$work"/text.* | wc -c)" -gt 12 ] && cmp "$work"/text.* >>"$log"; then ok "the same text"; else fail "the same text" "another" "$log"; fi
on_ranks 2 convert "$work/on1/m.h5" "$work/one.h5" --files one >"$log" 2>&1
if cmp -s "$work/one.h5" "$MODEL" && ! grep -q warning "$log"; then ok "back to one file"; else fail "back to one file" "it differs, or a warning" "$log"; fi
fresh && rm "$work/broken/m.h5" && on_ranks 2 convert "$MODEL" "$work/broken/m.h5" --files one >"$log" 2>&1
if cmp -s "$work/broken/m.h5" "$MODEL" && grep -q "^warning: .*m.h5.d: left by an earlier conversion" "$log"; then ok "one file beside layers of before"; else fail "one file beside layers of before" "it differs, or no warning" "$log"; fi

"$SLIPSTREAM" convert "$work/one.h5" "$work/one.h5" --for-gpus 2 --dry-run >"$log" 2>&1 </dev/null
status=$?
if [ "$status" = 0 ] && grep -q "^checked .* for 2 GPUs, .* MB, which were not written" "$log" && [ ! -e "$work/one.h5.gpu" ]; then ok "packing checked alone"; else fail "packing checked alone" "exit status $status, or nothing said, or written" "$log"; fi

# Packed for GPUs: the same bytes whatever the number of ranks that pack and of files that they read.
mkdir "$work/gpus1" "$work/gpus3" && cp "$MODEL" "$work/gpus1/m.h5" && cp -r "$work/on1/." "$work/gpus3"
for ranks in 1 3; do
    on_ranks $ranks convert "$work/gpus$ranks/m.h5" "$work/gpus$ranks/m.h5" --for-gpus 2 >"$log" 2>&1
    status=$?
    if [ "$status" = 0 ] && [ "$(find "$work/gpus$ranks/m.h5.gpu" -name '*.h5' | wc -l)" = 4 ]; then ok "packed on $ranks ranks"; else fail "packed on $ranks ranks" "exit status $status, or not four files" "$log"; fi
done
if diff -r "$work/gpus1/m.h5.gpu" "$work/gpus3/m.h5.gpu" >"$log" 2>&1; then ok "the same packed files"; else fail "the same packed files" "others" "$log"; fi

# An interrupted run leaves finished layers, a torn one, and no index.
fresh && rm "$work/broken/m.h5" "$work/broken/m.h5.d/layer-004.h5" && echo torn >"$work/broken/m.h5.d/layer-004.h5.partial"
kept=$(stat -c %Y.%i "$work/broken/m.h5.d/layer-002.h5")
convert 2 "$work/broken/m.h5"
if [ "$status" = 0 ] && diff -r "$work/on1" "$work/broken" >>"$log" && [ "$kept" = "$(stat -c %Y.%i "$work/broken/m.h5.d/layer-002.h5")" ]; then ok "an interrupted run goes on"; else fail "an interrupted run goes on" "exit status $status, other files, or layers written again" "$log"; fi
fresh && rm "$work/broken/m.h5"
convert 2 "$work/broken/m.h5" --window 17
if [ "$status" = 2 ] && grep -q "finished by an earlier run from another source, or with other options" "$log" && [ ! -e "$work/broken/m.h5" ]; then ok "layers of another conversion"; else fail "layers of another conversion" "exit status $status" "$log"; fi

# A rank is killed in the middle of a write, wherever that is, and with it the job; then the same command again. KILL_SEED=N: elsewhere.
preload=$TOOLS/fail_after.so RANDOM=${KILL_SEED:-17}
killed() { # rank, ranks of the second run
    local last=$((RANDOM % writes + 1)) left kept
    rm -rf "$work/broken" && mkdir "$work/broken"
    timeout "$seconds" mpirun --oversubscribe --bind-to none -n 2 env LD_PRELOAD="$preload" FAIL_KIND=write FAIL_AT=$last FAIL_RANK="$1" \
        FAIL_HOW=kill "$SLIPSTREAM" convert "$MODEL" "$work/broken/m.h5" --files layers >"$log" 2>&1 </dev/null
    status=$?
    left=$(cd "$work/broken" && find . -name '*.h5' -printf '%p %i %T@\n' | sort)
    if [ "$status" = 0 ] || [ -e "$work/broken/m.h5" ]; then fail "rank $1 killed at write $last" "it was not, or an index is there" "$log"; return; fi
    convert "$2" "$work/broken/m.h5"
    # shellcheck disable=SC2046 # names without blanks
    kept=$(cd "$work/broken" && [ -z "$left" ] || find $(cut -d ' ' -f 1 <<<"$left") -printf '%p %i %T@\n' | sort)
    if [ "$status" = 0 ] && diff -r "$work/on1" "$work/broken" >>"$log" && [ "$left" = "$kept" ]
    then ok "rank $1 killed at write $last, then on $2 ranks" "$(grep -c . <<<"$left") layers stayed"
    else fail "rank $1 killed at write $last, then on $2 ranks" "exit status $status, other files, or layers written again" "$log"
    fi
}
if nm -D "$SLIPSTREAM" 2>/dev/null | grep -q __asan_init; then
    echo "note  no rank is killed: a sanitizer has the place of the calls"
else
    rm -rf "$work/broken" && mkdir "$work/broken"
    mpirun --oversubscribe --bind-to none -n 2 env LD_PRELOAD="$preload" FAIL_RANK=1 FAIL_COUNT="$work/calls" "$SLIPSTREAM" convert "$MODEL" \
        "$work/broken/m.h5" --files layers >"$log" 2>&1 </dev/null
    writes=$(sed -n 's/^write //p' "$work/calls")
    killed 1 2
    killed 0 2
    killed 1 1
    [ "$QUICK" = 1 ] || killed 0 1
fi

fresh && rm "$work/broken/m.h5.d/layer-003.h5"
refused "a layer is missing" "m.h5.d/layer-003.h5: cannot be opened: No such file"
fresh && cp "$work/on1/m.h5.d/layer-001.h5" "$work/broken/m.h5.d/layer-002.h5"
refused "another layer in its place" 'm.h5.d/layer-002.h5: group is "target/layers/1", not "target/layers/2"'
fresh && truncate -s -100 "$work/broken/m.h5.d/layer-001.h5"
refused "a layer cut short" "m.h5.d/layer-001.h5: has .* cut short"
fresh && mv "$work/broken/m.h5.d/layer-001.h5" "$work/broken/a" && ln -s ../a "$work/broken/m.h5.d/layer-001.h5"
refused "a layer elsewhere" "m.h5.d/layer-001.h5: a symbolic link"
fresh && mv "$work/broken/m.h5" "$work/broken/n.h5" && mv "$work/broken/m.h5.d" "$work/broken/n.h5.d" && cp "$work/broken/n.h5" "$work/broken/x" && ln -s n.h5 "$work/broken/m.h5"
refused "an index of another name" "links to m.h5.d/.*; only n.h5.d/"
finish
