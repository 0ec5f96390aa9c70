#!/usr/bin/env bash
# Filters on the GPU: the text of a request is the same whether the GPU filters (histograms, sampling again) or the host does, which is
# where rows come from that want logprobs; with and without the draft, in any batch, by both engines.
#   RANKS   each with a GPU of its own (default 1)
#   SEEDS   of each kind of request (default 6)
. "$(dirname "$0")/common.bash"
: "${RANKS:=1}" "${SEEDS:=6}"

prompts=("def quicksort(" "class Stack:" "import os\n" "for i in range(" "x")
filters=('"top_p":0.95' '"top_p":0.5' '"top_p":0.999' '"top_k":20' '"top_k":1' '"top_k":50,"top_p":0.9' '"min_p":0.05' '"min_p":0.3,"top_k":300'
    '"top_p":0.000001' '"top_p":0.9,"repetition_penalty":1.2' '"top_k":40,"presence_penalty":0.8,"frequency_penalty":0.2'
    '"top_p":0.8,"logit_bias":{"5":3,"300":-100}')
temperatures=(1 0.6 1.5 0.05)

requests() { # another field of every body
    local n=0
    for seed in $(seq "$SEEDS"); do
        for filter in "${filters[@]}"; do
            printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"%s","max_tokens":%d,"temperature":%s,"seed":%d,%s%s}}\n' \
                "$n" "${prompts[$((n % 5))]}" $((12 + n % 30)) "${temperatures[$(((n / 3) % 4))]}" "$seed" "$filter" "$1"
            n=$((n + 1))
        done
    done
}
requests '' >"$work/device.jsonl"
requests ',"logprobs":1' >"$work/host.jsonl"

# custom_id and text of every answer, in the order of the ids.
texts() { # file
    python3 -c '
import json, sys
for a in sorted((json.loads(line) for line in open(sys.argv[1])), key=lambda a: a["custom_id"]):
    print(a["custom_id"], json.dumps(a["response"]["body"]["choices"][0]["text"]))' "$1"
}

batch() { # name, requests, options...
    rm -f "$work/out.jsonl"
    if ! on_ranks "$RANKS" batch -m "$MODEL" -i "$work/$2.jsonl" -o "$work/out.jsonl" --quiet "${@:3}" 2>"$work/log"; then
        fail "$1" "batch failed" "$work/log"
        return
    fi
    texts "$work/out.jsonl" >"$work/texts"
    if [ ! -s "$work/first" ]; then
        cp "$work/texts" "$work/first"
        ok "$1" "$(wc -l <"$work/first") answers"
    elif cmp -s "$work/texts" "$work/first"; then
        ok "$1"
    else
        fail "$1" "$(diff "$work/texts" "$work/first" | grep -c '^<') texts differ: $(diff "$work/texts" "$work/first" | head -n 3)"
    fi
}

command -v python3 >/dev/null || { echo "skipped: python3 reads the answers"; exit 77; }
batch "filtered by the host" host --sequences 4 --no-draft
batch "filtered by the GPU" device --sequences 4 --no-draft
batch "by the GPU, one sequence, always drafted" device --sequences 1 --always-draft
batch "by the GPU, 32 sequences, always drafted" device --sequences 32 --always-draft
batch "by the host, 16 sequences, always drafted" host --sequences 16 --always-draft
batch "by the GPU, launch engine" device --sequences 5 --always-draft --engine launch
finish
