#!/usr/bin/env bash
# The promise of the README: a request's answer is the same, byte for byte, with and without the draft, at any
# temperature, whatever else is in the batch, on any number of ranks and however the experts are cut.
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

# ---- requests ----

requests=$work/requests.jsonl

line() { # custom_id, prompt in JSON, more of the body in JSON
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":%s,%s}}\n' "$1" "$2" "$3"
}

chat() { # custom_id, content in JSON, more of the body
    printf '{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":%s}],%s}}\n' \
        "$1" "$2" "$3"
}

# A prompt of exactly so many tokens: chunks are 64 tokens wide, the window 128.
ids() { # count
    seq -s, "$1" | sed 's/^/[/; s/$/]/'
}

# Beyond the window and several chunks; it repeats itself, so that drafts are accepted.
program() { # functions
    printf '"'
    for i in $(seq "$1"); do
        printf 'def area_%d(width, height):\\n    return width * height + %d\\n\\n\\n' "$i" "$i"
    done
    printf '"'
}

quicksort='"def quicksort("'
class='"class Stack:\n    \"\"\"A last-in, first-out container.\"\"\"\n\n    def __init__(self):\n"'
unicode='"# Größe, 長さ, длина, ‏אורך‏, e\u0301, 🙂👩‍👩‍👧\nname = \"名前\"\n"'

{
    line greedy "$quicksort" '"max_tokens":33,"temperature":0'
    line warm "$quicksort" '"max_tokens":17,"temperature":0.7,"seed":1'
    line hot "$class" '"max_tokens":16,"temperature":1.3,"seed":3'
    line nucleus "$class" '"max_tokens":15,"temperature":0.7,"top_p":0.9,"seed":4'
    line top-k "$class" '"max_tokens":15,"temperature":1.3,"top_k":5,"seed":11'
    line min-p "$quicksort" '"max_tokens":13,"temperature":1.3,"top_k":40,"top_p":0.95,"min_p":0.05,"seed":12'
    line long "$(program 12)" '"max_tokens":24,"temperature":0'
    line unicode "$unicode" '"max_tokens":14,"temperature":1.3,"top_p":0.9,"seed":5'
    line stop "$class" '"max_tokens":40,"temperature":0,"stop":["\n"]'
    line one "$quicksort" '"max_tokens":1,"temperature":1.3,"seed":6'
    if [ "$QUICK" != 1 ]; then
        line greedy-long-answer "$class" '"max_tokens":60,"temperature":0'
        line long-warm "$(program 16)" '"max_tokens":12,"temperature":0.7,"seed":7'
        line unicode-greedy "$unicode" '"max_tokens":9,"temperature":0'
        line stop-sampled "$class" '"max_tokens":40,"temperature":0.7,"seed":8,"stop":["self","\n\n"]'
        line twin "$quicksort" '"max_tokens":17,"temperature":0.7,"seed":1'
        line seedless "$quicksort" '"max_tokens":8'
        line echo "$quicksort" '"max_tokens":7,"temperature":0,"echo":true'
        for count in 1 64 65 128 129 193; do
            line "ids-$count" "$(ids "$count")" '"max_tokens":9,"temperature":0.7,"seed":9'
        done
        chat chat '"Write a function."' '"max_tokens":8,"temperature":0.7,"seed":10'
        line refused '""' '"max_tokens":8'
    fi
} >"$requests"
tac "$requests" >"$work/reversed.jsonl"

# ---- runs ----

base=$work/base.jsonl log=$work/log

decode() { # output, requests, ranks, options...
    local output=$1 input=$2 ranks=$3
    shift 3
    rm -f "$output"
    on_ranks "$ranks" batch -m "$MODEL" -i "$input" -o "$output" --quiet --ok-if-some-fail "$@" >"$log" 2>&1 # one is refused, and stays so
}

same() { # ranks, options...
    local name="$1 ranks ${*:2}" input=${input:-$requests}
    if ! decode "$work/other.jsonl" "$input" "$@"; then
        fail "$name" "batch failed" "$log"
    elif "$check" same "$base" "$work/other.jsonl" 2>"$log"; then
        ok "$name" "acceptance length $("$check" acceptance "$work/other.jsonl")"
    else
        fail "$name" "not the answers of one rank without drafts" "$log"
    fi
}

# The plainest way there is, to which all others are held.
if ! decode "$base" "$requests" 1 --no-draft --sequences 1; then
    fail "1 rank, no draft, one sequence" "batch failed" "$log"
    finish
fi
ok "1 rank, no draft, one sequence" "$("$check" whole "$base") answers"

# K/V for the longest request and little beside it: who decodes beside whom, and where their K/V lie, is another matter each time.
few=768

# Every step drafted, and drafting as the measured times have it, which mixes both kinds of step.
same 1 --sequences 4 --always-draft
cp "$work/other.jsonl" "$work/drafted.jsonl"
same 2 --always-draft
same 4 --expert-slices 2
input=$work/reversed.jsonl same 3 --sequences 7 --always-draft --kv-tokens $few
same 3 --sequences 4 --always-draft --draft-ranks all
cp "$work/other.jsonl" "$work/cut.jsonl"
if [ "$QUICK" != 1 ]; then
    same 1 --sequences 1
    same 1 --no-draft --sequences 7 --kv-tokens $few
    same 2 --expert-slices 1 --always-draft
    same 2 --expert-slices 2
    same 3 --no-draft
    same 3 --sequences 1 --always-draft
    same 4 --expert-slices 4 --always-draft
    same 4
    same 4 --expert-slices 2 --no-draft
    same 2 --sequences 1 --always-draft --draft-ranks all
    same 2 --draft-ranks all --sequences 16 --kv-tokens $few
    same 4 --expert-slices 2 --always-draft --draft-ranks all
    same 1 --always-draft --draft-ranks all
    input=$work/reversed.jsonl same 4 --sequences 7 --draft-ranks all
fi

# ---- did the draft run, and what follows from the promise ----

expect() { # name, wanted, found
    if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "\"$3\" instead of \"$2\""; fi
}

acceptance=$("$check" acceptance "$work/drafted.jsonl")
if [ "${acceptance/./}" -gt 10000 ]; then ok "drafts are accepted" "$acceptance"; else fail "drafts are accepted" "$acceptance"; fi
# A sum that is cut may tip a tie; more than that would be another draft.
cut=$("$check" acceptance "$work/cut.jsonl")
off=$((10#${cut/./} - 10#${acceptance/./}))
if [ "${off#-}" -lt 200 ]; then ok "and as many of a cut one's" "$cut"; else fail "and as many of a cut one's" "$cut, not $acceptance"; fi
expect "without the draft nothing is" 1.0000 "$("$check" acceptance "$base")"
expect "a stop string ends the text" "200 stop" "$("$check" outcome "$base" stop | cut -d' ' -f1-2)"
expect "max_tokens ends the text" "200 length 1" "$("$check" outcome "$base" one)"
[ "$QUICK" = 1 ] || expect "equal requests, equal text" "$("$check" text "$base" warm)" "$("$check" text "$base" twin)"

generated() { # custom_id, ranks, prompt, options...
    local name="generate is batch: $1 on $2 ranks"
    if ! on_ranks "$2" generate -m "$MODEL" -p "$3" --quiet "${@:4}" >"$work/text" 2>"$log"; then
        fail "$name" "generate failed" "$log"
    elif "$check" text "$base" "$1" | cmp - "$work/text" >"$log" 2>&1; then
        ok "$name"
    else
        fail "$name" "another text" "$log"
    fi
}

stack=$(printf 'class Stack:\n    """A last-in, first-out container."""\n\n    def __init__(self):\n_')
generated greedy 2 'def quicksort(' -n 33
generated nucleus 3 "${stack%_}" -n 15 --temperature 0.7 --top-p 0.9 --seed 4
generated min-p 1 'def quicksort(' -n 13 --temperature 1.3 --top-k 40 --top-p 0.95 --min-p 0.05 --seed 12
[ "$QUICK" = 1 ] || generated hot 1 "${stack%_}" -n 16 --temperature 1.3 --seed 3 --no-draft

finish
