#!/usr/bin/env bash
# Long prompts, cut into steps of every width there is: the same text, and the same logprobs to the last bit, whatever they were cut into, who
# else was in the step, and by which engine. One sequence reads 2,048 rows in a step, two 1,024 each, more of them 512; a budget of nothing
# makes steps of 8 rows while others decode.
#   RANKS   each with a GPU of its own (default 1)
. "$(dirname "$0")/common.bash"
: "${RANKS:=1}"
. "$(dirname "$0")/same_answers.bash"

requests=$work/requests.jsonl
for count in 3900 2047 2049 1031 513 72 65 9; do
    printf '{"custom_id":"p%d","method":"POST","url":"/v1/completions","body":{"prompt":[%s],"max_tokens":12,"temperature":0.8,"seed":%d,"logprobs":5}}\n' \
        "$count" "$(awk -v n="$count" 'BEGIN { for (i = 0; i < n; i++) printf "%s%d", (i > 0 ? "," : ""), (i * 7919 + n * 31 + i * i % 97) % 4001 }')" "$count"
done >"$requests"

batch "512 rows of each" --sequences 4 --no-draft
batch "8 rows beside others" --sequences 8 --no-draft --step-budget 0.001
batch "2,048 rows" --sequences 1 --no-draft
batch "1,024 rows of each" --sequences 2 --no-draft
batch "2,048 rows, always drafted" --sequences 1 --always-draft
batch "512 rows of each, always drafted" --sequences 7 --always-draft
batch "2 ms of each step" --sequences 5 --step-budget 2
batch "launch engine" --sequences 1 --engine launch
tac "$requests" >"$work/reversed" && requests=$work/reversed
batch "reversed" --sequences 3
finish
