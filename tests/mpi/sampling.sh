#!/usr/bin/env bash
# Penalties, logit_bias and logprobs: the same answers with and without the draft, alone and in a batch, on one rank and on several; and
# logprobs that are what `score`, which reads all tokens at once, says of the same tokens. Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

log=$work/log

line() { # custom_id, fields of the body
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":"def quicksort(","max_tokens":%s,"seed":7%s}}\n' "$@"
}
{
    line plain 60 ',"temperature":0'
    line penalties 90 ',"temperature":0,"presence_penalty":0.7,"frequency_penalty":0.3,"repetition_penalty":1.15'
    line repetition 60 ',"temperature":0.9,"top_p":0.95,"repetition_penalty":1.3'
    line bias 40 ',"temperature":0,"logit_bias":{"5":4,"300":-100}'
    line logprobs 60 ',"temperature":0,"logprobs":3,"return_token_ids":true'
    line sampled 60 ',"temperature":1,"top_p":0.9,"logprobs":2,"return_token_ids":true,"presence_penalty":1'
    printf '{"custom_id":"chat","method":"POST","url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"f"}],"max_tokens":20,"logprobs":true,"top_logprobs":2,"frequency_penalty":-0.5}}\n'
} >"$work/in.jsonl"

batch() { # ranks, name, arguments...
    on_ranks "$1" batch -m "$MODEL" -q -i "$work/in.jsonl" -o "$work/$2.jsonl" "${@:3}" 2>"$log"
}

batch 1 alone --sequences 1 --no-draft || fail "one rank, no draft" "exit status $?" "$log"
settings=("2 --always-draft --sequences 1" "3 --always-draft --sequences 4" "1 --sequences 7")
[ "$QUICK" = 1 ] && settings=("2 --always-draft --sequences 4")
for setting in "${settings[@]}"; do
    rm -f "$work/other.jsonl"
    # shellcheck disable=SC2086 # ranks and options
    set -- $setting
    batch "$1" other "${@:2}"
    if "$check" same "$work/alone.jsonl" "$work/other.jsonl" 2>"$log"; then ok "same answers: $setting"; else fail "same answers: $setting" "they differ" "$log"; fi
done

for pair in "plain penalties" "plain bias"; do
    one=$("$check" text "$work/alone.jsonl" "${pair% *}") other=$("$check" text "$work/alone.jsonl" "${pair#* }")
    if [ -n "$one" ] && [ "$one" != "$other" ]; then ok "${pair#* } changes the answer"; else fail "${pair#* } changes the answer" "$one" ""; fi
done

bits_of() { # file of ids
    on_ranks 2 score -m "$MODEL" --ids "$1" --json -q 2>"$log" |
        sed -n 's/.*"bits_per_token": \([0-9.]*\),.*/\1/p; s/.*"scored_tokens": \([0-9]*\),.*/\1/p' | sort -g | tr '\n' ' ' | awk '{ print $1 * $2 }'
}
for id in logprobs sampled; do
    "$TOOLS/compare_path" ids "$work/alone.jsonl" $id >"$work/all.json" && read -r count bits < <("$check" bits "$work/alone.jsonl" $id)
    tr -d '[] ' <"$work/all.json" | tr ',' '\n' | head -n "-$count" | paste -sd, | sed 's/.*/[&]/' >"$work/prompt.json"
    whole=$(bits_of "$work/all.json") prompt=$(bits_of "$work/prompt.json")
    if awk -v a="$bits" -v b="$whole" -v c="$prompt" 'BEGIN { d = a - (b - c); exit !(a > 1 && d < 0.01 && d > -0.01) }'; then
        ok "$id: what score says" "$bits bits in $count tokens"
    else
        fail "$id: what score says" "$bits bits, and by score $whole - $prompt" "$log"
    fi
done
finish
