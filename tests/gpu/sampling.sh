#!/usr/bin/env bash
# Sampling on the GPU: text and logprobs of a request are the same with and without the draft, in any batch, by both engines: filters
# (histograms, sampling again), bias and penalties (adjusted on the GPU), and logprobs, which change no text.
#   RANKS      each with a GPU of its own (default 1)
#   SEEDS      of each kind of request (default 6)
#   REFERENCE  another build of slipstream, whose answers the first must be: one that gives whole rows to the host for all that (default: none)
. "$(dirname "$0")/common.bash"
: "${RANKS:=1}" "${SEEDS:=6}"

prompts=("def quicksort(" "class Stack:" "import os\n" "for i in range(" "x")
filters=('"top_p":0.95' '"top_p":0.5' '"top_p":0.999' '"top_k":20' '"top_k":1' '"top_k":50,"top_p":0.9' '"min_p":0.05' '"min_p":0.3,"top_k":300'
    '"top_p":0.000001' '"top_p":0.9,"repetition_penalty":1.2' '"top_k":40,"presence_penalty":0.8,"frequency_penalty":0.2'
    '"top_p":0.8,"logit_bias":{"5":3,"300":-100}' '"frequency_penalty":0.7' '"repetition_penalty":1.3,"presence_penalty":-0.5'
    '"logit_bias":{"40":2,"99":100}')
temperatures=(1 0.6 1.5 0.05 0)

requests() { # another field of every body
    local n=0
    for seed in $(seq "$SEEDS"); do
        for filter in "${filters[@]}"; do
            printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"%s","max_tokens":%d,"temperature":%s,"seed":%d,%s%s}}\n' \
                "$n" "${prompts[$((n % 5))]}" $((12 + n % 30)) "${temperatures[$(((n / 3) % 5))]}" "$seed" "$filter" "$1"
            n=$((n + 1))
        done
    done
}
requests '' >"$work/plain.jsonl"
requests ',"logprobs":20' >"$work/logprobs.jsonl"

# custom_id, text and logprobs of every answer, in the order of the ids; of two builds to 7 digits, since a sum of exp() may be rounded.
answers() { # file
    python3 -c '
import json, sys
def short(x):
    if isinstance(x, dict):
        return {k: short(v) for k, v in x.items()}
    return [short(v) for v in x] if isinstance(x, list) else round(x, 7) if isinstance(x, float) and sys.argv[2] else x
for a in sorted((json.loads(line) for line in open(sys.argv[1])), key=lambda a: a["custom_id"]):
    choice = a["response"]["body"]["choices"][0]
    print(a["custom_id"], json.dumps(choice["text"]), json.dumps(short(choice["logprobs"]), sort_keys=True), sep="\t")' "$1" "${REFERENCE:-}"
}

batch() { # name, requests, options...
    rm -f "$work/out.jsonl"
    if ! on_ranks "$RANKS" batch -m "$MODEL" -i "$work/$2.jsonl" -o "$work/out.jsonl" --quiet "${@:3}" 2>"$work/log"; then
        fail "$1" "batch failed" "$work/log"
        return
    fi
    answers "$work/out.jsonl" >"$work/answers"
    cut -f 1,2 "$work/answers" >"$work/texts"
    [ -s "$work/first.texts" ] || cp "$work/texts" "$work/first.texts"
    [ -s "$work/first.$2" ] || cp "$work/answers" "$work/first.$2"
    if ! cmp -s "$work/texts" "$work/first.texts"; then
        fail "$1" "$(diff "$work/texts" "$work/first.texts" | grep -c '^<') texts differ: $(diff "$work/texts" "$work/first.texts" | head -n 3)"
    elif ! cmp -s "$work/answers" "$work/first.$2"; then
        fail "$1" "logprobs of $(diff "$work/answers" "$work/first.$2" | grep -c '^<') answers differ"
    else
        ok "$1" "$(wc -l <"$work/texts") answers"
    fi
}

command -v python3 >/dev/null || { echo "skipped: python3 reads the answers"; exit 77; }
if [ -n "${REFERENCE:-}" ]; then
    mine=$SLIPSTREAM SLIPSTREAM=$REFERENCE
    batch "the other build, no draft" logprobs --sequences 4 --no-draft
    SLIPSTREAM=$mine
fi
batch "no draft, logprobs" logprobs --sequences 4 --no-draft
batch "no draft" plain --sequences 4 --no-draft
batch "one sequence, always drafted" plain --sequences 1 --always-draft
batch "one sequence, always drafted, logprobs" logprobs --sequences 1 --always-draft
batch "32 sequences, always drafted" plain --sequences 32 --always-draft
batch "16 sequences, always drafted, logprobs" logprobs --sequences 16 --always-draft
batch "launch engine" plain --sequences 5 --always-draft --engine launch
batch "launch engine, logprobs" logprobs --sequences 1 --always-draft --engine launch
finish
