#!/usr/bin/env bash
# What a user types and sees: --help of each command, the examples in it, text on standard output and nothing else, metrics
# and progress on standard error, --json as one object with the keys of docs/json.md.
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
printf 'import os\n\n\ndef size(path):\n    return os.stat(path).st_size\n' >"$place/jobs/train/train.py"
head -n 3 "$root/jobs/demo/requests.jsonl" | sed 's/"max_tokens": *[0-9]*/"max_tokens": 6/' >"$place/jobs/demo/requests.jsonl"

example() { # a line of --help
    if (cd "$place" && timeout "$seconds" bash -c "$1") >"$out" 2>"$log" </dev/null; then
        ok "example: $1"
    else
        fail "example: $1" "exit status not 0" "$log"
    fi
}

for command in generate batch bench score convert inspect plan report merge; do
    "$SLIPSTREAM" "$command" --help >"$out" 2>"$log"
    status=$?
    silent "$command --help"
    # Those of convert and report name files that nobody has here; random weights want a GPU.
    grep '^ *\(mpirun\|build/slipstream\|echo\)' "$out" | sed 's/^ *//' | grep -v ' convert \| report \| bench --shape ' >"$work/examples"
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

common="schema version commit command argv device ranks peak_memory_bytes model expert_slices requests failed unfinished seconds tokens work_seconds emulated"
keys="$common tokens_per_second prompt_gb_per_second_per_rank gb_per_second_per_rank draft_weight_bytes_per_rank
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
# Counts are of the whole file, the memory of every rank.
counts() { # name, pattern...
    local name=$1
    for pattern in "${@:2}"; do
        grep -q "$pattern" "$out" || { fail "$name" "no $pattern" "$out"; return; }
    done
    ok "$name"
}
sed '2s/.*/{"custom_id":"bad"}/' "$place/jobs/demo/requests.jsonl" >"$work/one_bad.jsonl"
run 2 batch -m "$MODEL" -i "$work/one_bad.jsonl" -o "$work/one_bad_results.jsonl" --json
counts "batch --json: counts, memory" '"requests": 3' '"failed": 1' '"unfinished": 0' '"peak_memory_bytes": [1-9][0-9]\{6,\}'
[ "$(grep -c '"peak_memory_bytes"' "$out")" = 3 ] || fail "batch --json: memory" "not of two ranks and the highest" "$out"
run 2 batch -m "$MODEL" -i "$work/one_bad.jsonl" -o "$work/one_bad_results.jsonl" --json --resume
counts "batch --json with nothing left to do: null, not 0" '"requests": 3' '"failed": 1' '"tokens": 0' '"tokens_per_second": null' '"median": null'
run 2 batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o -
figures_once "batch -o -"
grep -q "^# output .* through the launcher" "$log" || fail "batch -o - through mpirun" "not said that it cannot tell" "$log"
if [ "$("$check" whole "$out" 2>>"$log")" = 3 ]; then
    ok "batch -o -: results on standard output"
else
    fail "batch -o -: results on standard output" "not 3 whole lines" "$log"
fi
run 2 score -m "$MODEL" -f "$place/jobs/train/train.py" --json
count=$(sed -n 's/.*"tokens": \([0-9]*\).*/\1/p' "$out")
if grep -q "^progress: [^ ]* $count/$count tokens done, [0-9.]* tokens/s, ETA 0:00\$" "$log"
then ok "score: progress on standard error"
else fail "score: progress on standard error" "no line with all of ${count:-no} tokens" "$log"
fi
# A text longer than the context: every token but the first is scored, and once.
printf 'def area(width, height):\n    return width * height\n\n\nclass Stack:\n    def push(self, item):\n        self.items.append(item)\n' >"$work/short.py"
for context in 2 7 16; do
    on_ranks 1 score -m "$MODEL" -f "$work/short.py" --context $context --quiet --json >"$work/windows" 2>"$log"
    count=$(sed -n 's/.*"tokens": \([0-9]*\).*/\1/p' "$work/windows") scored=$(sed -n 's/.*"scored_tokens": \([0-9]*\).*/\1/p' "$work/windows")
    if [ "${count:-0}" -gt 1 ] && [ "${scored:-0}" = $((count - 1)) ]
    then ok "score --context $context: every token once" "$scored of $count"
    else fail "score --context $context: every token once" "${scored:-none} of ${count:-none}" "$log"
    fi
done
# shellcheck disable=SC2086 # a list of keys
one_object score $common scored_tokens bits_per_token bits_per_byte
"$SLIPSTREAM" plan --shape pro --ranks 8 --json >"$out" 2>"$log"
status=$?
one_object plan schema version commit command argv device model rank_count expert_slices context sequences memory_per_rank.bytes \
    memory_per_rank.fits terms predicted warnings
if grep -q '"bytes": [1-9][0-9]*,$' "$out" && grep -q '"available_bytes": 141000000000,$' "$out"
then ok "plan --json: bytes are whole"
else fail "plan --json: bytes are whole" "$(grep -m1 '"available_bytes"' "$out")" "$log"
fi

# What is planned for a checkpoint is what a run of it takes.
"$SLIPSTREAM" plan -m "$MODEL" --ranks 2 --context 512 --sequences 4 --json >"$out" 2>"$log"
status=$?
planned=$(sed -n 's/.*"weight_bytes": \([0-9]*\).*/\1/p' "$out" | head -n 1)
run 2 generate -m "$MODEL" -p "def f(" -n 4
told=$(sed -n 's/^# memory *\([0-9.]*\) MB of weights.*/\1/p' "$log")
if [ "$status" = 0 ] && [ "$(awk "BEGIN {printf \"%.1f\", ${planned:-0} / 1e6}")" = "$told" ]
then ok "plan -m: the memory of a run" "$told MB"
else fail "plan -m: the memory of a run" "planned ${planned:-nothing}, told ${told:-nothing}" "$log"
fi
plans() { # status, pattern, arguments...
    "$SLIPSTREAM" plan "${@:3}" >"$out" 2>"$log" </dev/null
    status=$?
    if [ "$status" = "$1" ] && grep -q -e "$2" "$out" "$log"
    then ok "plan ${*:3}" "$(grep -h -o -e "$2.*" "$out" "$log" | head -n 1)"
    else fail "plan ${*:3}" "exit status $status, or no word of \"$2\"" "$log"
    fi
}
plans 0 "# memory .*, the draft" --shape pro --ranks 8
plans 0 "# warning .*does not fit: .*; it fits on 8 ranks" --shape pro --ranks 2
plans 0 "# warning .*does not fit" -m "$MODEL" --ranks 2 --memory 0.001
plans 2 "--context 5000: the model has 4096" -m "$MODEL" --ranks 2 --context 5000
plans 0 "# warning .*more than one node" --shape pro --ranks 16
plans 0 "# warning .*not of 4" --shape flash --ranks 2 --sequences 4 --memory 200

# Several sequences decode together from the first block to the last, each behind its whole prompt.
run 1 bench -m "$MODEL" -n 64 --sequences 8 --prompt-tokens 50 --acceptance 6.3 --json
if [ "$status" = 0 ] && grep -q '"prompt_tokens": 400' "$out" && grep -q '^# full steps .* 10 of 8 sequences, 50.40 tokens each' "$log"; then
    ok "bench --sequences 8: full steps"
else
    fail "bench --sequences 8: full steps" "exit status $status, or steps without some of them" "$log"
fi

# A list is measured one after the other: a row for every length of prompt and number of sequences, in lines, JSON and a page.
run 2 bench -m "$MODEL" -n 4 --sequences 1,3 --prompt-tokens 9,5 --json --html "$work/bench.html"
if [ "$status" = 0 ] && [ "$(grep -c '"prompt_tokens_per_sequence": ' "$out")" = 4 ] && grep -q '"prompt_tokens": 27' "$out" &&
    [ "$(grep -cE '^# +[59] +[13] ' "$log")" = 4 ] && grep -q '"requests": 8' "$out" && grep -q '"tokens": 32' "$out" &&
    [ "$(grep -c '<svg' "$work/bench.html")" = 4 ] && grep -q '3 x 9' "$work/bench.html"; then
    ok "bench with lists: a table"
else
    fail "bench with lists: a table" "exit status $status, or not four rows" "$log"
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

# What a model, or so many ranks, cannot do is refused by name, not made smaller. The shipped one has 4096 positions and blocks of 8.
refused() { # pattern, ranks, arguments...
    run "${@:2}"
    if [ "$status" = 2 ] && [ ! -s "$out" ] && [ "$(grep -c "^slipstream: .*$1" "$log")" = 1 ]; then
        ok "refused: ${*:3}" "$(grep -m1 '^slipstream:' "$log")"
    else
        fail "refused: ${*:3}" "exit status $status" "$log"
    fi
}
refused "-n 5000: .*room for 40" 2 generate -m "$MODEL" -p "def f(" -n 5000
refused "-n 30: .*room for 1[0-9]" 1 generate -m "$MODEL" -p "def f(" -n 30 --context 20
refused "-n 5000: the context holds 4096" 1 batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o "$work/none.jsonl" -n 5000
refused "--context 5000: the model has 4096" 1 batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o "$work/none.jsonl" --context 5000
refused "--context 5000: the model has 4096" 2 score -m "$MODEL" -f "$place/jobs/train/train.py" --context 5000
refused "--acceptance 9: .* 8 tokens" 2 bench -m "$MODEL" --acceptance 9
refused "--engine persistent requires a GPU" 1 generate -m "$MODEL" -p x --engine persistent

# A launcher of another MPI starts ranks that do not know of each other.
if command -v mpiexec.hydra >/dev/null && "$SLIPSTREAM" --version | grep -q "Open MPI"; then
    for _ in 1 2 3; do # where both begin at once Open MPI itself may fail to start, before the program's own code
        timeout "$seconds" mpiexec.hydra -n 2 "$SLIPSTREAM" generate -m "$MODEL" -p x -n 4 >"$out" 2>"$log" </dev/null
        status=$?
        grep -q "error occurred in MPI_Init" "$log" || break
    done
    if [ "$status" = 2 ] && grep -q "started 2 processes (PMI_SIZE), and MPI sees one" "$log"
    then ok "another MPI's launcher" "$(grep -m1 '^slipstream:' "$log")"
    else fail "another MPI's launcher" "exit status $status" "$log"
    fi
else
    echo "note  another MPI's launcher: there is none here; left out"
fi

# Standard output that takes nothing is a failure to report, not to hide. (Through mpirun it always takes.)
full() { # arguments...
    timeout "$seconds" "$SLIPSTREAM" "$@" >/dev/full 2>"$log" </dev/null
    status=$?
    if [ "$status" = 1 ] && grep -q '^slipstream: .*standard output: .*\(cannot\|could not\) be written' "$log"; then
        ok "$1 onto a full disk" "$(grep -m1 '^slipstream:' "$log")"
    else
        fail "$1 onto a full disk" "exit status $status" "$log"
    fi
}
full --help
full plan --shape pro --ranks 8
full inspect "$MODEL"
full inspect "$MODEL" --json
full generate -m "$MODEL" -p x -n 4
full generate -m "$MODEL" -p x -n 4 --json
full score -m "$MODEL" -f "$place/jobs/train/train.py"
full bench -m "$MODEL" -n 4 --json
full batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o -
if grep -q "through the launcher" "$log"; then fail "batch -o - without a launcher" "it says that there is one" "$log"; fi

# ---- files beside the answers ----

# Which of them must say no before anything is computed: what it is asked for is long.
beside() { # arguments... FILE
    case $1 in
        --trace) set -- batch -i "$place/jobs/demo/requests.jsonl" -o "$work/answers.jsonl" "$@" ;;
        --logits) set -- score -f "$place/jobs/train/train.py" "$@" ;;
        --trace-ops) set -- generate -p "def f(" -n 4 "$@" ;;
    esac
    rm -f "$work/answers.jsonl"
    run 2 "$1" -m "$MODEL" "${@:2}"
}
told() { # name, exit status, pattern
    if [ "$status" = "$2" ] && grep -q "^slipstream: .*$3" "$log"; then
        ok "$1" "$(grep -m1 '^slipstream:' "$log")"
    else
        fail "$1" "exit status $status" "$log"
    fi
}
small=$work/small
mkdir "$small"
mount -t tmpfs -o size=16k slipstream-test "$small" 2>/dev/null && trap 'umount "$small"; rm -rf "$work"' EXIT || small=
for option in --trace --logits --trace-ops; do
    beside "$option" "$work/no/such/file.h5"
    told "$option into a folder that is not there" 2 "no/such/file.h5.*No such file"
    beside "$option" "$work"
    told "$option onto a folder" 2 "a directory"
    echo precious >"$work/precious"
    beside "$option" "$work/precious"
    told "$option onto a file" 2 "precious: exists already"
    [ "$(cat "$work/precious")" = precious ] || fail "$option onto a file" "it was overwritten" "$log"
    [ -e "$work/answers.jsonl" ] && fail "$option onto a file" "an empty output was left" "$log"
    if [ -z "$small" ]; then
        echo "note  $option onto a full disk: no file system may be mounted here; left out"
        continue
    fi
    head -c 16k /dev/zero >"$small/fill" 2>/dev/null
    beside "$option" "$small/file.h5"
    told "$option onto a full disk" 1 "file.h5.*No space left on device"
    rm "$small/fill"
    [ -z "$(ls "$small")" ] || fail "$option onto a full disk" "left there: $(ls "$small")" "$log"
done

# A resumed batch appends to the trace of the run before, and to nothing else. The report of it tells both.
requests=$place/jobs/demo/requests.jsonl
reported() { # name, pattern...
    local name=$1
    "$SLIPSTREAM" report "$work/run.h5" --json >"$out" 2>"$log" || { fail "$name" "report failed" "$log"; return; }
    counts "$name" "${@:2}"
}
run 2 batch -m "$MODEL" -i "$requests" -o "$work/traced.jsonl" --trace "$work/run.h5" --metrics "$work/run.prom"
reported "report --json" '"command": "report"' '"answered": 3' '"state": "done"' '"unfinished": 0' '"max_picks": [1-9]'
if grep -q '^slipstream_requests_total{state="answered"} 3$' "$work/run.prom" && grep -q '^slipstream_running 0$' "$work/run.prom"
then ok "--metrics"
else fail "--metrics" "not three answers of a run that has ended" "$work/run.prom"
fi

# What a run says of itself and what its trace tells are one: prompts are read beside decoding, stop strings cut tokens off, a line is refused.
{
    for i in 1 2 3 4 5 6; do
        printf '{"custom_id":"f%d","method":"POST","url":"/v1/completions","body":{"prompt":"def f_%d(self, name):\\n","max_tokens":%d,"temperature":0,"stop":[".","\\n\\n"]}}\n' \
            "$i" "$i" "$((6 * i))"
    done
    echo '{"custom_id":"none"}'
} >"$work/figures.jsonl"
run 1 batch -m "$MODEL" -i "$work/figures.jsonl" -o "$work/figures.out" --sequences 2 --always-draft --trace "$work/figures.h5" --json
cp "$out" "$work/figures.run"
"$SLIPSTREAM" report "$work/figures.h5" --json >"$out" 2>"$log"
if "$check" agree "$work/figures.run" "$out" requests failed unfinished tokens work_seconds tokens_per_second acceptance step_ms.median step_ms.p99 \
    step_ms.draft_median=draft_ms.median step_ms.verify_median=verify_ms.median time_to_first_token_ms.median steps_without_draft \
    drafted_step_share verified_rows_per_sequence 2>"$log"
then ok "batch --json and report --json agree"
else fail "batch --json and report --json agree" "they do not" "$log"
fi

head -n 1 "$work/traced.jsonl" >"$work/first.jsonl"
run 2 batch -m "$MODEL" -i "$requests" -o "$work/first.jsonl" --resume --trace "$work/run.h5" --metrics "$work/run.prom"
reported "--resume appends to a trace" '"run": 2' '"answered": 3' '"answered": 2' '"failed": 0'
"$SLIPSTREAM" report "$work/run.h5" --html "$work/run.html" >"$out" 2>"$log"
if [ $? = 0 ] && grep -q '</svg>' "$work/run.html" && ! grep -qi '<script\|http' "$work/run.html" && grep -q '^expert load' "$out"
then ok "report --html"
else fail "report --html" "no page that needs nothing else" "$log"
fi
"$SLIPSTREAM" report "$work/run.h5" --html "$work/run.html" >"$out" 2>"$log"
status=$?
told "report --html onto a page" 2 "run.html: exists already"
"$SLIPSTREAM" report "$MODEL" >"$out" 2>"$log"
status=$?
told "report of what is no trace" 2 "format: not .slipstream trace"
cp "$work/run.h5" "$work/other.h5"
head -n 1 "$work/traced.jsonl" >"$work/first.jsonl"
run 2 batch -m "$MODEL" -i "$requests" -o "$work/other.jsonl" --resume --context 512 --trace "$work/other.h5"
told "--resume --trace onto another run's" 2 "other.h5: run_hash: .* of another model or other settings"
cmp -s "$work/run.h5" "$work/other.h5" || fail "--resume --trace onto another run's" "the trace was changed"
run 2 batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o "$work/first.jsonl" --resume --trace "$MODEL"
told "--resume --trace onto the model" 2 "--trace $MODEL: is also the file of -m $MODEL"
cp "$MODEL" "$work/no-trace.h5"
run 2 batch -m "$MODEL" -i "$place/jobs/demo/requests.jsonl" -o "$work/first.jsonl" --resume --trace "$work/no-trace.h5"
told "--resume --trace onto what is no trace" 2 "no-trace.h5: exists already"
cmp -s "$MODEL" "$work/no-trace.h5" || fail "--resume --trace onto what is no trace" "it was changed"

finish
