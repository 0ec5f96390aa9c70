#!/usr/bin/env bash
# Situations that users of batch programs met, each with its right outcome: tests/data/cases/NAME.jsonl and, as check_results
# prints them, NAME.expected. Then what files of requests and results go through: pipes, gzip, two writers, doubled lines.
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

cases=$root/tests/data/cases log=$work/log out=$work/out.jsonl

batch() { # input, output, arguments...
    timeout "$seconds" "$SLIPSTREAM" batch -m "$MODEL" --device "$DEVICE" -q -i "$1" -o "$2" "${@:3}" 2>"$log"
    status=$?
}

table() { # file of results
    "$check" table "$1" 2>>"$log" | LC_ALL=C sort
}

# ---- the handed cases ----

for name in 02-jsonl 11-fields 12-misc 17-standin-clash 19-stop-at-flush; do
    rm -f "$out"
    batch "$cases/$name.jsonl" "$out" </dev/null
    wanted=3
    grep -q '	4' "$cases/$name.expected" || wanted=0
    if [ "$status" = "$wanted" ] && table "$out" | diff "$cases/$name.expected" - >>"$log"; then
        ok "case $name" "$(wc -l <"$out") lines"
    else
        fail "case $name" "exit status $status, or other outcomes" "$log"
    fi
    [ "$name" = 11-fields ] && cp "$out" "$work/fields.jsonl"
    [ "$name" = 12-misc ] && cp "$out" "$work/misc.jsonl"
done

same_text() { # name, file, custom_id, custom_id
    local one other
    one=$("$check" text "$2" "$3" 2>"$log") && other=$("$check" text "$2" "$4" 2>>"$log")
    if [ -n "$one" ] && [ "$one" = "$other" ]; then ok "$1"; else fail "$1" "\"$one\" and \"$other\"" "$log"; fi
}
same_text "MiMo's thinking: disabled" "$work/fields.jsonl" c-off c-thinking
same_text "chat_template_kwargs.thinking" "$work/fields.jsonl" c-off c-chat_template_kwargs
same_text "a field that asks for nothing changes nothing" "$work/fields.jsonl" plain metadata

# Equal requests are answered in the order in which they stand, whatever slot they are in.
rm -f "$out"
batch "$cases/15-starve-10.jsonl" "$out" --sequences 2 </dev/null
order=$(grep -o '"custom_id":"[^"]*"' "$out" | cut -d'"' -f4 | tr '\n' ' ')
if [ "$status" = 0 ] && [ "$order" = "r0 r1 r2 r3 r4 r5 r6 r7 r8 r9 " ]; then
    ok "case 15-starve-10: nobody is overtaken"
else
    fail "case 15-starve-10: nobody is overtaken" "exit status $status, $order" "$log"
fi

rm -f "$out"
batch "$cases/17-tiny-temperature-min.jsonl" "$out" </dev/null
same_text "case 17-tiny-temperature-min: 1e-38 is greedy" "$out" greedy t1e-38
same_text "case 17-tiny-temperature-min: 1e-300 is greedy" "$out" greedy t1e-300

# ---- several answers a line ----

line() { # custom_id, fields of the body
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"max_tokens":12,"temperature":0.9,%s}}\n' "$1" "$2"
}
{
    line one '"prompt":"def f(","seed":5'
    line three '"prompt":"def f(","seed":5,"n":3,"return_token_ids":true'
    line list '"prompt":["class A:","def f("],"seed":5,"n":2'
    line made-up '"prompt":["def f(","def f("]'
    line filler '"prompt":"import os"'
} >"$work/many.jsonl"
for sequences in 1 4; do
    rm -f "$out.$sequences"
    batch "$work/many.jsonl" "$out.$sequences" --sequences $sequences </dev/null
    [ "$status" = 0 ] || fail "n, --sequences $sequences" "exit status $status" "$log"
done
on_ranks 2 batch -m "$MODEL" -q -i "$work/many.jsonl" -o "$out.ranks" --sequences 3 --no-draft >"$log" 2>&1
if "$check" same "$out.1" "$out.4" 2>"$log" && "$check" same "$out.1" "$out.ranks" 2>>"$log"; then
    ok "n: the same answers alone, beside others, on 2 ranks without a draft"
else
    fail "n: the same answers alone, beside others, on 2 ranks without a draft" "they differ" "$log"
fi
choices() { # custom_id: each choice's index and text, a line each
    python3 - "$out.4" "$1" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    answer = json.loads(line)
    if answer["custom_id"] == sys.argv[2]:
        for choice in answer["response"]["body"]["choices"]:
            print(choice["index"], json.dumps(choice["text"]), len(choice.get("token_ids", [])), len(choice.get("prompt_token_ids", [])))
PY
}
if command -v python3 >/dev/null; then
    choices one >"$work/one"
    choices three >"$work/three"
    choices list >"$work/list"
    choices made-up >"$work/made-up"
    text() { cut -d' ' -f2- "$1" | sed 's/ [0-9]* [0-9]*$//'; }
    if [ "$(wc -l <"$work/three")" = 3 ] && [ "$(text "$work/three" | sort -u | wc -l)" = 3 ] &&
        [ "$(text "$work/three" | head -n 1)" = "$(text "$work/one")" ] && ! grep -qv ' 12 [1-9][0-9]*$' "$work/three"; then
        ok "n 3: three texts, the first as it is alone, with their token ids"
    else
        fail "n 3: three texts, the first as it is alone, with their token ids" "otherwise" "$work/three"
    fi
    if [ "$(wc -l <"$work/list")" = 4 ] && [ "$(text "$work/list" | sed -n 3,4p)" = "$(text "$work/three" | head -n 2)" ] &&
        [ "$(text "$work/made-up" | sort -u | wc -l)" = 2 ]; then
        ok "a list of prompts: each as it is alone; without a seed they differ"
    else
        fail "a list of prompts: each as it is alone; without a seed they differ" "otherwise" "$work/list"
    fi
fi

# ---- where lines come from ----

gzip -k "$work/many.jsonl"
rm -f "$out"
batch "$work/many.jsonl.gz" "$out" </dev/null
if [ "$status" = 0 ] && "$check" same "$out" "$out.1" 2>"$log"; then ok "gzip"; else fail "gzip" "exit status $status" "$log"; fi
rm -f "$out"
batch - "$out" < <(cat "$work/many.jsonl")
if [ "$status" = 0 ] && "$check" same "$out" "$out.1" 2>"$log"; then ok "-i - from a pipe"; else fail "-i - from a pipe" "exit status $status" "$log"; fi
mkfifo "$work/fifo"
for what in "-i $work/fifo -o $out.fifo" "-i $work/many.jsonl -o $work/fifo"; do
    # shellcheck disable=SC2086 # words
    timeout "$seconds" "$SLIPSTREAM" batch -m "$MODEL" --device cpu $what >"$log" 2>&1 </dev/null
    status=$?
    if [ "$status" = 2 ] && grep -q '^slipstream: .*fifo: ' "$log"; then ok "a FIFO: $(grep -o 'fifo: .*' "$log")"; else fail "a FIFO: ${what%% *}" "exit status $status" "$log"; fi
done
timeout "$seconds" "$SLIPSTREAM" generate -m "$work/fifo" -p x --device cpu >"$log" 2>&1 </dev/null
status=$?
if [ "$status" = 2 ]; then ok "a FIFO for a model"; else fail "a FIFO for a model" "exit status $status" "$log"; fi

# ---- exit status, resume ----

rm -f "$out"
{ cat "$work/many.jsonl" && echo junk; } >"$work/some.jsonl"
for resume in "" --resume; do
    # shellcheck disable=SC2086 # none or one word
    batch "$work/some.jsonl" "$out" $resume </dev/null
    if [ "$status" = 3 ] && grep -q '^slipstream: .*1 of 6 requests were refused' "$log"; then
        ok "some refused${resume:+, $resume}: exit status 3"
    else
        fail "some refused${resume:+, $resume}: exit status 3" "exit status $status" "$log"
    fi
done
batch "$work/some.jsonl" "$out" --resume --ok-if-some-fail </dev/null
if [ "$status" = 0 ]; then ok "--ok-if-some-fail"; else fail "--ok-if-some-fail" "exit status $status" "$log"; fi

head -n 2 "$out" >"$work/again"
cat "$out" "$work/again" >"$work/doubled.jsonl"
batch "$work/some.jsonl" "$work/doubled.jsonl" --resume --ok-if-some-fail </dev/null
if [ "$status" = 0 ] && grep -q '2 lines of it answered a request again, line 7 the first' "$log" && cmp -s "$out" "$work/doubled.jsonl"; then
    ok "doubled lines are found, said and taken out"
else
    fail "doubled lines are found, said and taken out" "exit status $status" "$log"
fi

# ---- two writers ----

line slow '"prompt":"def f(","max_tokens":2000' | sed 's/"max_tokens":12,//' >"$work/slow.jsonl"
for _ in 1 2 3 4 5; do
    rm -f "$out"
    "$SLIPSTREAM" batch -m "$MODEL" --device cpu -q -i "$work/slow.jsonl" -o "$out" --always-draft 2>"$work/first.log" </dev/null &
    first=$!
    for _ in $(seq "$((10 * seconds))"); do
        [ -s "$out.lock" ] && break
        sleep 0.1
    done
    kill -STOP "$first" # it does not end before the second one has come
    until grep -q '^State:.*T' "/proc/$first/status" || ! kill -0 "$first"; do sleep 0.1; done 2>/dev/null
    [ -s "$out.lock" ] && break
    kill -KILL "$first" 2>/dev/null # over before it was stopped, since the processor was others'
    wait "$first" 2>/dev/null
done
batch "$work/many.jsonl" "$out" </dev/null
if [ "$status" = 2 ] && grep -q "is being written by process $first on " "$log"; then
    ok "a second writer is refused" "$(sed -n 's/^slipstream: //p' "$log" | sed "s|$work/||g")"
else
    fail "a second writer is refused" "exit status $status" "$log"
fi
kill -KILL "$first" 2>/dev/null
wait "$first" 2>/dev/null
rm -f "$out"
batch "$work/many.jsonl" "$out" </dev/null
if [ "$status" = 0 ] && [ ! -e "$out.lock" ]; then ok "a killed writer leaves no lock"; else fail "a killed writer leaves no lock" "exit status $status" "$log"; fi

finish
