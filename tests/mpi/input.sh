#!/usr/bin/env bash
# Bad input: checkpoints that are not, requests that cannot be served, wrong use. Each gets exit status 2 and one clear
# line; a bad request line is answered with 400 and takes no other with it.
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

log=$work/log status=0

# The program alone, without mpirun: most faults are found before ranks matter.
alone() { # arguments...
    timeout "$seconds" "$SLIPSTREAM" "$@" >"$work/stdout" 2>"$log" </dev/null
    status=$?
}

# Judge `status` and what was said: nothing on standard output, and one line of ours that matches.
judge() { # name, pattern
    if [ "$status" != 2 ]; then
        fail "$1" "exit status $status instead of 2" "$log"
    elif [ "$(grep -c '^slipstream: ' "$log")" != 1 ]; then
        fail "$1" "not one line of explanation" "$log"
    elif ! grep -q "^slipstream: .*$2" "$log"; then
        fail "$1" "no word of \"$2\"" "$log"
    elif [ -s "$work/stdout" ]; then
        fail "$1" "something on standard output" "$work/stdout"
    else
        ok "$1" "$(sed -n 's/^slipstream: //p' "$log" | sed "s|$work/||g")"
    fi
}

# ---- checkpoints ----

bad=$work/bad.h5
bad_model() { # name, pattern
    alone score -m "$bad" --ids "$work/ids.json"
    judge "model: $1" "${2:-bad.h5}"
}

echo '[1,2,3]' >"$work/ids.json"
bad_model "missing" "bad.h5: .*No such file"
: >"$bad"
bad_model "empty" "bad.h5"
echo "not a model" >"$bad"
bad_model "a text"
head -c 100000 /dev/urandom >"$bad"
bad_model "noise"
rm "$bad"
mkdir "$bad"
bad_model "a folder"
rmdir "$bad"

size=$(wc -c <"$MODEL")
cuts="8 96 800 2048 4096 $((size / 2)) $((size - 1))"
[ "$QUICK" = 1 ] && cuts="96 2048 $((size / 2))"
for cut in $cuts; do
    head -c "$cut" "$MODEL" >"$bad"
    bad_model "torn at byte $cut"
done

# A word of the metadata that reads otherwise, and a file of HDF5 that is no model.
cp "$MODEL" "$bad"
printf slipstreem | dd of="$bad" bs=1 seek="$(grep -abo slipstream "$MODEL" | head -n 1 | cut -d: -f1)" conv=notrunc 2>/dev/null
bad_model "a changed word"
rm "$bad"
alone score -m "$MODEL" --ids "$work/ids.json" --logits "$bad"
bad_model "no model but logits"

# Random bytes where the metadata is: whatever comes of it, the program must live and have a reason.
damaged() { # seed
    local at
    cp "$MODEL" "$bad"
    RANDOM=$1
    for _ in 1 2 3 4; do
        at=$(((RANDOM * 32768 + RANDOM) % 65536))
        # shellcheck disable=SC2059 # the byte is the format
        printf "\\x$(printf %x $((RANDOM % 256)))" | dd of="$bad" bs=1 seek="$at" conv=notrunc 2>/dev/null
    done
    alone inspect "$bad"
}
wild=0 seeds=24
[ "$QUICK" = 1 ] && seeds=6
for seed in $(seq "$seeds"); do
    damaged "$seed"
    case $status in
    0) ;;
    2) [ "$(grep -c '^slipstream: .*bad.h5' "$log")" = 1 ] || wild=$seed ;;
    *) wild=$seed ;;
    esac
    [ "$wild" = 0 ] || break
done
if [ "$wild" = 0 ]; then ok "model: $seeds damaged ones"; else fail "model: damaged with seed $wild" "exit status $status" "$log"; fi
rm -f "$bad"

# ---- files of requests and of token ids ----

requests=$work/requests.jsonl output=$work/results.jsonl

bad_requests() { # name, pattern
    alone batch -m "$MODEL" -i "$requests" -o "$output"
    judge "requests: $1" "$2"
}
bad_requests "missing" "requests.jsonl: .*No such file"
: >"$requests"
bad_requests "empty" "holds no request"
printf '\n  \n\n' >"$requests"
bad_requests "blank lines only" "holds no request"
rm "$requests"
mkdir "$requests"
bad_requests "a folder" "Is a directory"
rmdir "$requests"

# MPI opens files of its own: they must not be taken for streams that are closed.
printf '{"custom_id":"a","method":"POST","url":"/v1/completions","body":{"prompt":"x","max_tokens":1}}\n' >"$requests"
timeout "$seconds" "$SLIPSTREAM" batch -m "$MODEL" -i - -o "$output" >"$work/stdout" 2>"$log" <&-
status=$?
judge "requests: standard input is closed" "standard input: is closed"
: >"$work/stdout"
timeout "$seconds" "$SLIPSTREAM" batch -m "$MODEL" -i "$requests" -o - 2>"$log" </dev/null >&-
status=$?
judge "results: standard output is closed" "standard output is closed"

bad_ids() { # name, JSON, pattern
    printf %s "$2" >"$work/ids.json"
    alone score -m "$MODEL" --ids "$work/ids.json"
    judge "ids: $1" "$3"
}
bad_ids "beyond the vocabulary" '[1,2,1000000]' "element 2, 1000000, is not a token id from 0 to"
bad_ids "negative" '[-1]' "element 0, -1, is not a token id from 0 to"
bad_ids "not integers" '[1,"2"]' "element 1"
bad_ids "none" '[]' "no tokens"
bad_ids "not an array" '{"a":1}' "not a JSON array"
bad_ids "torn" '[1,2' "not a JSON array"
: >"$work/text"
alone score -m "$MODEL" -f "$work/text"
judge "score: an empty text" "empty"

# ---- lines that cannot be served, among some that can ----

body() { # custom_id, fields of the body in JSON
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{%s}}\n' "$1" "$2"
}
long=$(seq -s' ' 5000)
{
    body first '"prompt":"def f(","max_tokens":3,"temperature":0'
    echo 'not JSON'
    echo '[1,2]'
    echo '{"custom_id":"torn","method":"POST","url":"/v1/comp'
    printf '{"custom_id":"bytes","method":"POST","url":"/v1/completions","body":{"prompt":"\xff\xfe"}}\n'
    echo '{"custom_id":"url","method":"POST","url":"/v1/embeddings","body":{"input":"a"}}'
    echo '{"custom_id":"bare","method":"POST","url":"/v1/completions"}'
    echo
    body too-long "\"prompt\":\"$long\",\"max_tokens\":3"
    body too-many '"prompt":"def f(","max_tokens":2000000000'
    body id-high '"prompt":[1,1000000],"max_tokens":3'
    body id-negative '"prompt":[1,-1],"max_tokens":3'
    body empty '"prompt":"","max_tokens":3'
    body cold '"prompt":"def f(","temperature":-1'
    body top-p '"prompt":"def f(","top_p":0'
    body none '"prompt":"def f(","max_tokens":0'
    body stream '"prompt":"def f(","stream":true'
    body two '"prompt":["a","b"],"max_tokens":3,"temperature":0'
    body first '"prompt":"def f(","max_tokens":3'
    body "\\u0000" '"prompt":"def f(","max_tokens":3'
    echo '{"custom_id":"chat","method":"POST","url":"/v1/chat/completions","body":{"messages":[]}}'
    body deep "\"prompt\":$(printf '[%.0s' $(seq 3000))$(printf ']%.0s' $(seq 3000))"
    body last '"prompt":"class A:","max_tokens":3,"temperature":0'
} >"$requests"
lines=$(grep -c . "$requests")

on_ranks 2 batch -m "$MODEL" -i "$requests" -o "$output" >"$work/stdout" 2>"$log"
status=$?
answers=$("$check" whole "$output" 2>>"$log")
# Two lines have the name "first"; check_results would take the second for a repetition.
if [ "$status" = 3 ] && [ "$(wc -l <"$output")" = "$lines" ]; then
    ok "bad lines: as many lines out as in" "$lines"
else
    fail "bad lines: as many lines out as in" "exit status $status, ${answers:-?} answers to $lines lines" "$log"
fi
# The later "first" must be refused, and is then out of the way of the table.
if grep '"custom_id":"first"' "$output" | grep -q '"code":"duplicate_custom_id"'; then
    ok "bad lines: a custom_id used twice"
else
    fail "bad lines: a custom_id used twice" "not refused" "$output"
fi
grep -v '"code":"duplicate_custom_id"' "$output" >"$work/single.jsonl"

answered() { # custom_id, outcome
    local found
    found=$("$check" outcome "$work/single.jsonl" "$1" 2>"$log")
    if [ "$found" = "$2" ]; then ok "bad lines: $1" "$2"; else fail "bad lines: $1" "\"$found\" instead of \"$2\"" "$log"; fi
}
answered first "200 length 3"
answered line-2 "400 invalid_json"
answered line-3 "400 invalid_json"
answered torn "400 invalid_json"
answered bytes "400 invalid_json"
answered deep "400 invalid_json"
answered url "404 unknown_url"
answered bare "400 missing_field"
answered too-long "400 context_length_exceeded"
answered too-many "400 context_length_exceeded"
answered id-high "400 invalid_value"
answered id-negative "400 invalid_value"
answered empty "400 invalid_value"
answered cold "400 invalid_value"
answered top-p "400 invalid_value"
answered none "400 invalid_value"
answered stream "400 unsupported"
answered two "200 length 6"
answered chat "400 invalid_value"
answered last "200 length 3"

# A smaller context than the model's is a limit, too.
{
    body fits '"prompt":[1,2,3,4,5,6,7,8],"max_tokens":8,"temperature":0'
    body exceeds '"prompt":[1,2,3,4,5,6,7,8],"max_tokens":9,"temperature":0'
} >"$requests"
rm -f "$output"
alone batch -m "$MODEL" -i "$requests" -o "$output" --context 16
cp "$output" "$work/single.jsonl"
answered fits "200 length 8"
answered exceeds "400 context_length_exceeded"

# So is memory for K/V: here a page, of which a draft's block takes 8. Requests that fit take turns; a longer one would wait for ever.
{
    body first '"prompt":[1,2,3,4,5,6,7,8],"max_tokens":8,"temperature":0'
    body exceeds '"prompt":[1,2,3,4,5,6,7,8],"max_tokens":49,"temperature":0'
    body second '"prompt":[1,2,3,4,5,6,7,8],"max_tokens":48,"temperature":0'
} >"$requests"
rm -f "$output"
alone batch -m "$MODEL" -i "$requests" -o "$output" --sequences auto --kv-tokens 64
cp "$output" "$work/single.jsonl"
grep -q "^# sequences  *64 at once, as many as memory carries: they share K/V for 64 tokens" "$log" || fail "--sequences auto" "does not say how many" "$log"
answered first "200 length 8"
answered exceeds "400 context_length_exceeded"
answered second "200 length 48"

# ---- wrong use ----

wrong() { # name, pattern, arguments...
    local name=$1 pattern=$2
    shift 2
    alone "$@"
    judge "use: $name" "$pattern"
}
wrong "no command" "no command"
wrong "an unknown command" "\"dance\" is no command" dance
wrong "an unknown option" "--dance is no option" generate -m "$MODEL" -p x --dance
wrong "a missing value" "needs a value" generate -m
wrong "no model" "-m MODEL.h5 is missing" generate -p x
wrong "no prompt" "-p TEXT is missing" generate -m "$MODEL"
wrong "a number that is none" "must be an integer" generate -m "$MODEL" -p x -n many
wrong "a number out of range" "must be a number from 0 to 2" generate -m "$MODEL" -p x --temperature 3
wrong "a device that is none" "must be cpu|cuda" generate -m "$MODEL" -p x --device tpu
wrong "a device without what it is asked for" "--shape makes random weights on a GPU" bench --shape pro --device cpu
wrong "an engine of another device" "--engine launch is not supported with --device cpu" generate -m "$MODEL" -p x --device cpu --engine launch
wrong "a shard of a checkpoint" "--shard-of needs --shape" bench -m "$MODEL" --shard-of 8
wrong "a word too many" "one word too many" inspect "$MODEL" "$MODEL"
wrong "what excludes itself" "exclude each other" score -m "$MODEL" -f a --ids b
wrong "slices that do not divide" "it must divide the 1 worker rank\$" generate -m "$MODEL" -p x --expert-slices 2
wrong "a prompt beyond the context" "no room for an answer" generate -m "$MODEL" -p "$long"
wrong "an output that cannot be" "cannot be written" batch -m "$MODEL" -i "$requests" -o "$work/no/such/folder"
mkfifo "$work/fifo"
wrong "a FIFO of ids" "fifo: Is a FIFO" score -m "$MODEL" --ids "$work/fifo"
alone convert "$root/tests/golden/forward/fixtures/pro-release" "$work/textless.h5"
wrong "a text for a model without a tokenizer" "has no tokenizer" bench -m "$work/textless.h5" -p x -n 4
wrong "more tokens than a benchmark has room for" "-n 5000: the prompt has 3[0-9] tokens and the context holds 4096" bench -m "$MODEL" -n 5000
wrong "a model as a text" "is an HDF5 file, as models and traces are, not text" score -m "$MODEL" -f "$MODEL"
gzip -c "$requests" >"$work/text.gz"
wrong "a packed text" "text.gz: is packed by gzip: gzip -dc makes it text" score -m "$MODEL" -f "$work/text.gz"
wrong "a folder that is none" "no-such-folder" convert "$work/no-such-folder" "$work/new.h5"

# --dry-run: what a job would find only after it has waited for its nodes. The number of ranks and the device are the job's own.
dry() { # name, pattern or nothing, arguments...
    local name=$1 pattern=$2
    alone batch --dry-run --quiet "${@:3}"
    if [ -n "$pattern" ]; then
        judge "dry run: $name" "$pattern"
    elif [ "$status" = 0 ] && [ ! -s "$log" ]; then
        ok "dry run: $name"
    else
        fail "dry run: $name" "exit status $status" "$log"
    fi
}
mkdir "$work/dry"
head -c 60 "$output" >"$work/torn" && cat "$work/torn" >>"$output" # a line that --resume would cut off
cp "$output" "$work/dry-output"
sed 's/"max_tokens":48/"max_tokens":47/; s/"first"/"other"/; s/"exceeds"/"another"/' "$requests" >"$work/dry-requests"
dry "nothing is wrong" "" -m "$MODEL" -i "$requests" -o "$work/dry/out" --trace "$work/dry/run.h5" --expert-slices 4 --device cuda
dry "standard streams" "" -m "$MODEL" -i - -o -
dry "no folder for results" "dry/no/out: cannot be written: No such file" -m "$MODEL" -i "$requests" -o "$work/dry/no/out"
dry "no folder for a trace" "dry/no/run.h5: cannot be written: No such file" -m "$MODEL" -i "$requests" -o "$work/dry/out" --trace "$work/dry/no/run.h5"
dry "results that are there" "exists and is not empty; --resume goes on" -m "$MODEL" -i "$requests" -o "$output"
touch "$work/dry-begun" "$work/dry-begun.unfinished"
dry "what an earlier run began" "dry-begun.unfinished: holds answers that an earlier run began" -m "$MODEL" -i "$requests" -o "$work/dry-begun"
dry "results to go on with" "" -m "$MODEL" -i "$requests" -o "$output" --resume
dry "results of other requests" "line 1 answers a request" -m "$MODEL" -i "$work/dry-requests" -o "$output" --resume
cmp -s "$output" "$work/dry-output" && ok "dry run: results are left alone" || fail "dry run: results are left alone" "they have changed"
dry "results that are none" "is not a result of slipstream batch" -m "$MODEL" -i "$requests" -o "$work/dry-requests" --resume
dry "a model that is none" "not an HDF5 file" -m "$requests" -i "$requests" -o "$work/dry/out"
dry "a model without a tokenizer" "has no tokenizer" -m "$work/textless.h5" -i "$requests" -o "$work/dry/out"
dry "a template of another family" "--chat-template chatml: not a template" -m "$MODEL" -i - -o "$work/dry/out" --chat-template chatml
dry "a context that the model has not" "--context 4097: the model has 4096 positions" -m "$MODEL" -i "$requests" -o "$work/dry/out" --context 4097
# A file that is written and has another use, by its name or by another one.
mkdir "$work/links" && ln "$requests" "$work/links/requests" && ln -s "$MODEL" "$work/links/model" && ln -s "$work/dry" "$work/links/dry"
twice() { # name, pattern, arguments...
    dry "$@"
    wrong "$1" "$2" batch --quiet "${@:3}"
}
twice "results that are the trace" "-o $work/dry/out: is also the file of --trace $work/dry/out: name another one" -m "$MODEL" -i "$requests" -o "$work/dry/out" --trace "$work/dry/out"
twice "results that are the metrics" "-o $work/dry/out: is also the file of --metrics $work/links/dry/out" -m "$MODEL" -i "$requests" -o "$work/dry/out" --metrics "$work/links/dry/out"
twice "a trace that is the metrics" "--trace $work/dry/run: is also the file of --metrics" -m "$MODEL" -i "$requests" -o "$work/dry/out" --trace "$work/dry/run" --metrics "$work/dry/run"
twice "a trace where results keep unfinished answers" "--trace $work/dry/out.unfinished: is a file that -o $work/dry/out keeps beside it" -m "$MODEL" -i "$requests" -o "$work/dry/out" --trace "$work/dry/out.unfinished"
twice "metrics where results have their lock" "--metrics $work/links/dry/out.lock: is a file that -o $work/dry/out keeps beside it" -m "$MODEL" -i "$requests" -o "$work/dry/out" --metrics "$work/links/dry/out.lock"
twice "results that are the requests" "-o $work/links/requests: is also the file of -i $requests" -m "$MODEL" -i "$requests" -o "$work/links/requests" --resume
twice "a trace that is the requests" "--trace $requests: is also the file of -i" -m "$MODEL" -i "$requests" -o "$work/dry/out" --trace "$requests"
twice "results that are the model" "-o $work/links/model: is also the file of -m $MODEL" -m "$MODEL" -i "$requests" -o "$work/links/model"
dry "one device for two" "" -m "$MODEL" -i "$requests" -o /dev/null
dry "a model as requests" "an HDF5 file, as models and traces are, not text" -m "$MODEL" -i "$MODEL" -o "$work/dry/out"
dry "no requests" "nobody.jsonl: cannot be opened" -m "$MODEL" -i "$work/nobody.jsonl" -o "$work/dry/out"
[ -z "$(ls "$work/dry")" ] && ok "dry run: nothing is made" || fail "dry run: nothing is made" "$(ls "$work/dry")"

# The same through mpirun: one line of ours, whatever mpirun adds.
on_ranks 2 generate -m "$MODEL" -p x --device cuda >"$work/stdout" 2>"$log"
status=$?
judge "use: GPUs for more ranks than they serve" "--device cuda"
on_ranks 3 generate -m "$MODEL" -p x --expert-slices 2 >"$work/stdout" 2>"$log"
status=$?
judge "use: 2 slices on 3 ranks" "it must divide the 3 worker ranks"
on_ranks 3 generate -m "$work/none.h5" -p x >"$work/stdout" 2>"$log"
status=$?
judge "use: no such model on 3 ranks" "none.h5"

finish
