# Drafters with an in-block head, made of the model's without one by with_head: answers, and how many drafts are accepted. Sets: without, zero,
# seen and compare. Sourced behind common.bash.
#   RANKS   for what all else is held to (default 1)
: "${RANKS:=1}"
requests=$work/requests.jsonl log=$work/log base=$work/base.jsonl plain=$work/plain.h5 zero=$work/zero.h5 seen=$work/seen.h5

line() { # custom_id, prompt, more of the body
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":"%s",%s}}\n' "$1" "$2" "$3"
}

{
    line quicksort 'def quicksort(' '"max_tokens":60,"temperature":0'
    line stack 'class Stack:\n    \"\"\"A last-in, first-out container.\"\"\"\n\n    def __init__(self):\n' '"max_tokens":80,"temperature":0'
    line lines 'def read_lines(path):\n    with open(path) as' '"max_tokens":60,"temperature":0'
    line warm 'class Stack:\n' '"max_tokens":40,"temperature":0.7,"seed":1'
    line hot 'import os\nimport sys\n\n\ndef main(' '"max_tokens":40,"temperature":1.0,"seed":2'
    line few 'for i in range(' '"max_tokens":30,"temperature":1.0,"top_p":0.5,"seed":3'
} >"$requests"

decode() { # output, ranks, model, options...
    rm -f "$1"
    on_ranks "$2" batch -m "$3" -i "$requests" -o "$1" --quiet "${@:4}" >"$log" 2>&1
}

acceptance() { # file: in ten-thousandths
    local length
    length=$("$check" acceptance "$1")
    echo $((10#${length/./}))
}

# The answers of the plain model without a draft, and the acceptance that its drafter has without a head.
without=0
if "$TOOLS/with_head" "$MODEL" "$plain" 0 0 2>"$log" && decode "$base" "$RANKS" "$plain" --no-draft &&
    decode "$work/out.jsonl" "$RANKS" "$plain" --always-draft --sequences 1; then
    without=$(acceptance "$work/out.jsonl")
    ok "the drafter without a head" "acceptance $without"
else
    fail "the drafter without a head" "batch failed" "$log"
    finish
fi

texts() { # file
    for id in quicksort stack lines warm hot few; do "$check" text "$1" $id; done
}

# One head that adds nothing, and one that has seen the answers.
texts "$base" >"$work/answers"
if "$TOOLS/with_head" "$plain" "$zero" 8 0 2>"$log" && "$TOOLS/with_head" "$plain" "$seen" 256 4 "$work/answers" 2>"$log"; then
    ok "models with a head"
else
    fail "models with a head" "with_head failed" "$log"
    finish
fi

# The answers of a model with a head are those of the model; and its acceptance lies in this range.
compare() { # least, most, ranks, model, options...
    local name="${4##*/} on $3 ranks ${*:5}" found
    if ! decode "$work/out.jsonl" "$3" "$4" --always-draft "${@:5}"; then
        fail "$name" "batch failed" "$log"
        return
    fi
    found=$(acceptance "$work/out.jsonl")
    if ! texts "$work/out.jsonl" | cmp - "$work/answers" >"$log" 2>&1; then
        fail "$name" "other answers" "$log"
    elif [ "$found" -ge "$1" ] && [ "$found" -le "$2" ]; then
        ok "$name" "acceptance $found"
    else
        fail "$name" "acceptance $found, not $1 to $2"
    fi
}
