#!/usr/bin/env bash
# The promises, on the GPU: the same output with and without the draft, at any temperature, whatever else is in the batch, by both
# engines and from run to run, bit for bit; bits per byte as the CPU's. (Greedy text: greedy.sh.)
#   RANKS   each with a GPU of its own (default 1)
. "$(dirname "$0")/common.bash"
: "${RANKS:=1}"
. "$(dirname "$0")/same_answers.bash"

requests=$work/requests.jsonl
prompts=("def quicksort(" "class Stack:" "import os\nimport sys\n\n\ndef main(" "def read_lines(path):\n    with open(path) as" "for i in range(")
temperatures=(0 0.7 1.3)
for i in $(seq 0 14); do
    printf '{"custom_id":"r%d","method":"POST","url":"/v1/completions","body":{"prompt":"%s","max_tokens":%d,"temperature":%s,"seed":%d}}\n' \
        "$i" "${prompts[$((i % 5))]}" $((20 + 3 * i)) "${temperatures[$((i % 3))]}" "$i"
done >"$requests"
printf '{"custom_id":"nucleus","method":"POST","url":"/v1/completions","body":{"prompt":"class A:","max_tokens":30,"temperature":0.9,"top_p":0.8,"seed":3}}\n' >>"$requests"
printf '{"custom_id":"min-p","method":"POST","url":"/v1/completions","body":{"prompt":"class A:","max_tokens":30,"temperature":1.3,"top_k":40,"min_p":0.05,"seed":4}}\n' >>"$requests"
printf '{"custom_id":"long","method":"POST","url":"/v1/completions","body":{"prompt":[%s],"max_tokens":20,"temperature":0.7,"seed":9}}\n' "$(seq -s, 300)" >>"$requests"

batch "one sequence, no draft" --sequences 1 --no-draft
batch "the same again" --sequences 1 --no-draft
batch "one sequence, always drafted" --sequences 1 --always-draft
batch "the default" --sequences 4
batch "4 sequences, no draft" --sequences 4 --no-draft
batch "7 sequences, always drafted" --sequences 7 --always-draft
batch "16 sequences" --sequences 16 --always-draft
batch "launch engine" --sequences 3 --always-draft --engine launch
if [ "$RANKS" -gt 1 ]; then
    batch "the draft on rank 0 alone" --sequences 3 --always-draft --draft-ranks 1
    batch "the draft on rank 0 alone, launch engine" --sequences 3 --draft-ranks 1 --always-draft --engine launch
fi
tac "$requests" >"$work/reversed" && requests=$work/reversed
batch "reversed" --sequences 5 --always-draft

# Bits per byte within half a percent of the CPU's.
head -c 4000 "$root/tests/data/text.py" >"$work/text"
bits() {
    on_ranks "$RANKS" score -m "$MODEL" -f "$work/text" --quiet --json "$@" 2>"$work/log" | sed -n 's/.*"bits_per_byte": \([0-9.]*\).*/\1/p'
}
cpu=$(DEVICE=cpu bits) gpu=$(bits)
if awk -v a="$cpu" -v b="$gpu" 'BEGIN { d = a > b ? a - b : b - a; exit !(a > 0 && b > 0 && d < 0.005 * a) }'; then
    ok "bits per byte" "CPU $cpu, GPU $gpu"
else
    fail "bits per byte" "CPU $cpu, GPU $gpu" "$work/log"
fi

finish
