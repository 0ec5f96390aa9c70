#!/usr/bin/env bash
# What a user types and sees: --help of each command, the examples in it, text on standard output and nothing else, metrics
# and progress on standard error, --json as one object with the keys of docs/figures.md.
# Settings: tests/mpi/common.bash.
. "$(dirname "$0")/common.bash"

out=$work/out log=$work/log

# ---- help ----

silent() { # name: the last command said what it had to on standard output, and nothing on standard error
    if [ "$status" != 0 ]; then
        fail "$1" "exit status $status" "$log"
    elif [ ! -s "$out" ] || [ -s "$log" ]; then
        fail "$1" "standard output is empty, or standard error is not" "$log"
    else
        ok "$1"
    fi
}

"$SLIPSTREAM" --version >"$out" 2>"$log"
status=$?
silent "--version"
"$SLIPSTREAM" --help >"$out" 2>"$log"
status=$?
silent "--help"

# Examples run where a user would be: the files they name are there, the requests cut to a few short ones.
place=$work/place
mkdir -p "$place/jobs/demo" "$place/jobs/train" "$place/build"
ln -s "$SLIPSTREAM" "$place/build/slipstream"
ln -s "$MODEL" "$place/jobs/demo/model.h5"
printf 'import os\n\n\ndef size(path):\n    return os.stat(path).st_size\n' >"$place/jobs/train/tokenizer.py"
head -n 3 "$root/jobs/demo/requests.jsonl" | sed 's/"max_tokens": *[0-9]*/"max_tokens": 6/' >"$place/jobs/demo/requests.jsonl"

example() { # a line of --help
    if (cd "$place" && timeout "$seconds" bash -c "$1") >"$out" 2>"$log" </dev/null; then
        ok "example: $1"
    else
        fail "example: $1" "exit status not 0" "$log"
    fi
}

for command in generate batch bench score convert inspect plan; do
    "$SLIPSTREAM" "$command" --help >"$out" 2>"$log"
    status=$?
    silent "$command --help"
    # Those of convert name models that nobody has here; random weights want a GPU.
    grep '^ *\(mpirun\|build/slipstream\|echo\)' "$out" | sed 's/^ *//' | grep -v ' convert \| bench --shape ' >"$work/examples"
    [ "$QUICK" = 1 ] && sed -i 1q "$work/examples"
    while read -r line; do
        example "$line"
    done <"$work/examples"
done

# ---- what goes where ----

run() { # ranks, arguments...
    on_ranks "$@" >"$out" 2>"$log"
    status=$?
}

# Standard error of rank 0 only: mpirun passes on what all ranks say.
figures_once() { # name
    if [ "$status" = 0 ] && [ "$(grep -c '^# tokens ' "$log")" = 1 ] && ! grep -q '^#' "$out"; then
        ok "$1: metrics on standard error, once"
    else
        fail "$1: metrics on standard error, once" "exit status $status" "$log"
    fi
}

keys="schema version commit argv device ranks model expert_slices tokens tokens_per_second
    prompt_tokens prompt_tokens_per_second prompt_gb_per_second_per_gpu full_steps.tokens_per_second full_steps.median_ms
    acceptance.mean_acceptance_length acceptance.acceptance_histogram acceptance.num_spec_steps
    acceptance.num_draft_tokens acceptance.num_accepted_draft_tokens
    time_to_first_token_ms.median time_to_first_token_ms.p99
    step_ms.median step_ms.p99 step_ms.draft_median step_ms.verify_median
    gb_per_second_per_gpu stream_ceiling_gb_per_second emulated"

one_object() { # name, keys...
    local name="$1 --json: one object with its keys"
    shift
    if [ "$status" = 0 ] && "$check" keys "$out" "$@" 2>>"$log"; then
        ok "$name"
    else
        fail "$name" "exit status $status" "$log"
    fi
}

run 2 generate -m "$MODEL" -p "def f(" -n 8
figures_once generate
cp "$out" "$work/text"
run 2 generate -m "$MODEL" -p "def f(" -n 8 --quiet
if [ "$status" = 0 ] && [ ! -s "$log" ] && cmp -s "$out" "$work/text"; then
    ok "generate --quiet: the text alone"
else
    fail "generate --quiet: the text alone" "exit status $status" "$log"
fi
# shellcheck disable=SC2086 # a list of keys
{
    run 3 generate -m "$MODEL" -p "def f(" -n 8 --json
    one_object generate $keys
    run 3 bench -m "$MODEL" -n 8 --sequences 2 --json
    one_object bench $keys
    figures_once bench
    run 2 batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o "$work/results.jsonl" --json
    one_object batch $keys
}
run 2 batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o -
figures_once "batch -o -"
if [ "$("$check" whole "$out" 2>>"$log")" = 3 ]; then
    ok "batch -o -: results on standard output"
else
    fail "batch -o -: results on standard output" "not 3 whole lines" "$log"
fi
run 2 score -m "$MODEL" -f "$place/jobs/train/tokenizer.py" --json
one_object score schema version commit model ranks tokens bits_per_token bits_per_byte
"$SLIPSTREAM" plan --shape pro --ranks 8 --json >"$out" 2>"$log"
status=$?
one_object plan schema

# Several sequences decode together from the first block to the last, each behind its whole prompt.
run 1 bench -m "$MODEL" -n 64 --sequences 8 --prompt-tokens 50 --acceptance 6.3 --json
if [ "$status" = 0 ] && grep -q '"prompt_tokens": 400' "$out" && grep -q '^# full steps .* 10 of 8 sequences, 50.40 tokens each' "$log"; then
    ok "bench --sequences 8: full steps"
else
    fail "bench --sequences 8: full steps" "exit status $status, or steps without some of them" "$log"
fi

# Acceptance that is forced says so.
run 1 bench -m "$MODEL" -n 16 --acceptance 4 --json
if [ "$status" = 0 ] && grep -q '"forced acceptance 4"' "$out" && grep -q '^# emulated .*forced acceptance 4' "$log"; then
    ok "bench --acceptance: the metrics say so"
else
    fail "bench --acceptance: the metrics say so" "exit status $status" "$log"
fi

# The draft's share of a rank, alone and cut; and where it cannot be cut.
for ranks in 1 all; do
    run 2 generate -m "$MODEL" -p "def f(" -n 8 --always-draft --draft-ranks "$ranks" --json
    where="on rank 0" && [ "$ranks" = all ] && where="a rank"
    if [ "$status" = 0 ] && grep -q "^# memory .*; the draft adds .* MB $where\$" "$log" && grep -q '^# weights .*a draft reads' "$log"; then
        ok "generate --draft-ranks $ranks: memory and bytes" "$(grep -o '"draft_weight_bytes_per_gpu": [0-9]*' "$out")"
    else
        fail "generate --draft-ranks $ranks: memory and bytes" "exit status $status, or nothing of the draft" "$log"
    fi
done
for arguments in --no-draft "--draft-ranks 2"; do
    # shellcheck disable=SC2086 # words
    run 2 generate -m "$MODEL" -p "def f(" --draft-ranks all $arguments
    if [ "$status" = 2 ] && [ ! -s "$out" ] && [ "$(grep -c '^slipstream: .*--draft-ranks' "$log")" = 1 ]; then
        ok "--draft-ranks all $arguments is refused" "$(grep -m1 '^slipstream:' "$log")"
    else
        fail "--draft-ranks all $arguments is refused" "exit status $status" "$log"
    fi
done

# Standard output that takes nothing is a failure to report, not to hide. (Through mpirun it always takes.)
full() { # arguments...
    timeout "$seconds" "$SLIPSTREAM" "$@" >/dev/full 2>"$log" </dev/null
    status=$?
    if [ "$status" = 1 ] && grep -q '^slipstream: .*standard output\|^slipstream: .*No space left' "$log"; then
        ok "$1 onto a full disk" "$(grep -m1 '^slipstream:' "$log")"
    else
        fail "$1 onto a full disk" "exit status $status" "$log"
    fi
}
full --help
full plan --shape pro --ranks 8
full inspect "$MODEL"
full generate -m "$MODEL" -p x -n 4
full score -m "$MODEL" -f "$place/jobs/train/tokenizer.py"
full bench -m "$MODEL" -n 4 --json
full batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o -

finish
