# Answers that must not change, whatever a batch runs with. Sets: batch. Needs: RANKS, requests (a file), and python3.
command -v python3 >/dev/null || { echo "skipped: python3 reads the answers"; exit 77; }

# What must not change of every answer, in the order of the ids: text and logprobs as they are printed.
answers() { # file
    python3 - "$1" <<'PYTHON'
import json, sys
for a in sorted((json.loads(line) for line in open(sys.argv[1])), key=lambda a: a["custom_id"]):
    print(a["custom_id"], json.dumps(a["response"]["body"]["choices"] if a["response"] else a["error"]))
PYTHON
}

# The first batch says what the answers are, all others are held to it.
batch() { # name, options...
    rm -f "$work/out.jsonl"
    if ! on_ranks "$RANKS" batch -m "$MODEL" -i "$requests" -o "$work/out.jsonl" --quiet "${@:2}" 2>"$work/log"; then
        fail "$1" "batch failed" "$work/log"
        return
    fi
    answers "$work/out.jsonl" >"$work/answers"
    if [ ! -s "$work/first" ]; then
        cp "$work/answers" "$work/first"
        ok "$1" "$(wc -l <"$work/first") answers, $(grep -c token_logprobs "$work/first") with logprobs"
    elif cmp -s "$work/answers" "$work/first"; then
        ok "$1"
    else
        fail "$1" "$(diff "$work/answers" "$work/first" | grep '^<' | cut -d' ' -f2 | tr '\n' ' ')differ"
    fi
}
