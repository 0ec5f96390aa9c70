#!/usr/bin/env bash
# Weights that convert --for-gpus packed give the text that the model's own give, to the last bit of score; a damaged file ends the run, one of
# another cut is passed over.
#   RANKS   each with a GPU of its own (default 1)
. "$(dirname "$0")/common.bash"
ranks=${RANKS:-1} model=$work/m.h5 log=$work/log
cp "$MODEL" "$model"

decode() { # file for the text
    on_ranks "$ranks" generate -m "$model" -p "def quicksort(" -n 64 --temperature 0 >"$1" 2>"$log"
    status=$?
}
bits() {
    on_ranks "$ranks" score -m "$model" -f "$root/tests/data/text.py" --context 64 --json 2>"$log" | sed -n 's/.*"bits_per_byte": \([0-9.]*\).*/\1/p'
}

decode "$work/afresh"
if [ "$status" = 0 ] && ! grep -q "^# packed" "$log"; then ok "packed afresh"; else fail "packed afresh" "exit status $status" "$log"; fi
afresh=$(bits)
on_ranks 1 convert "$model" "$model" --for-gpus "$ranks" -q >"$log" 2>&1 || fail "convert --for-gpus" "it fails" "$log"
decode "$work/copied"
copied=$(grep -c "^# packed .*the \(target\|draft\) is copied from" "$log")
if [ "$status" = 0 ] && [ "$copied" = 2 ] && cmp "$work/afresh" "$work/copied" >>"$log"; then ok "the same text from packed weights"; else fail "the same text from packed weights" "exit status $status, $copied parts copied" "$log"; fi
again=$(bits)
if [ -n "$afresh" ] && [ "$afresh" = "$again" ]; then ok "the same bits per byte" "$afresh"; else fail "the same bits per byte" "$afresh and $again" "$log"; fi

file=$model.gpu/target-0-of-$ranks.h5
size=$(stat -c %s "$file") at=$(($(stat -c %s "$file") / 2))
cp "$file" "$work/kept"
byte=$(od -An -tu1 -j "$at" -N 1 "$file" | tr -d ' ')
# shellcheck disable=SC2059 # the byte is the format
printf "$(printf '\\x%02x' $((byte ^ 1)))" | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
decode "$work/damaged"
if [ "$status" = 2 ] && grep -q "target-0-of-$ranks.h5: /packed/.*: damaged: its bytes" "$log"; then ok "a flipped bit"; else fail "a flipped bit" "exit status $status" "$log"; fi
truncate -s $((size - 1)) "$work/kept" && cp "$work/kept" "$file"
decode "$work/torn"
if [ "$status" = 0 ] && grep -q "^# packed .*target-0-of-$ranks.h5.*; the target is loaded from $model" "$log" && cmp "$work/afresh" "$work/torn" >>"$log"
then ok "a torn file is passed over"; else fail "a torn file is passed over" "exit status $status" "$log"; fi
finish
