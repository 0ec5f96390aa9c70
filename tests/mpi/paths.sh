#!/usr/bin/env bash
# Two paths meet: every token of greedy answers of 300 tokens, past the window of 128, is the arg max of `score --logits` over the same
# ids, on 1 to 4 ranks, with and without the draft.
# Settings: tests/mpi/common.bash; COMPARE_PATH is the program of tests/golden;
#   RANKS   numbers of ranks            (default "1 2 3 4")
#   LONG    1: every number of ranks with and without the draft, and the draft cut over all ranks too
#   GAP     what a token's logit may be below the highest (default 0: decoding and scoring are the same arithmetic on CPUs)
. "$(dirname "$0")/common.bash"
: "${COMPARE_PATH:=$TOOLS/compare_path}" "${RANKS:=1 2 3 4}" "${LONG:=0}" "${GAP:=0}"
[ -x "$COMPARE_PATH" ] || { echo "$script: $COMPARE_PATH is not there" >&2; exit 2; }
[ "$QUICK" = 1 ] && RANKS="1 3"

# A short prompt, and one that is beyond the window before the answer begins.
requests=$work/requests.jsonl
long=
for i in 1 2 3 4 5 6 7 8; do
    long+="def area_$i(width, height):\\n    return width * height + $i\\n\\n\\n"
done
for id in short long; do
    prompt="def quicksort("
    [ $id = long ] && prompt=$long
    printf '{"custom_id":"%s","method":"POST","url":"/v1/completions","body":{"prompt":"%s","max_tokens":300,"temperature":0,"return_token_ids":true}}\n' \
        $id "$prompt"
done >"$requests"

answer() { # ranks, options...
    local ranks=$1
    shift
    rm -f "$work/answers.jsonl"
    on_ranks "$ranks" batch -m "$MODEL" -i "$requests" -o "$work/answers.jsonl" --quiet "$@" >"$work/log" 2>&1 && return
    fail "$ranks ranks $*" "batch failed" "$work/log"
    return 1
}

# The ids that are scored are of the first answers; an answer that leaves them somewhere is not the arg max there.
score() { # ranks
    for id in short long; do
        [ -s "$work/$id.json" ] || "$COMPARE_PATH" ids "$work/answers.jsonl" $id >"$work/$id.json" 2>"$work/log"
        rm -f "$work/$id.h5"
        on_ranks "$1" score -m "$MODEL" --ids "$work/$id.json" --logits "$work/$id.h5" --quiet >"$work/log" 2>&1 ||
            fail "$1 ranks, score $id" "score failed" "$work/log"
    done
}

meet() { # ranks, options...
    for id in short long; do
        if "$COMPARE_PATH" check "$work/answers.jsonl" $id "$work/$id.h5" "$GAP" >"$work/log" 2>&1
        then ok "$1 ranks ${*:2}, $id" "$(tail -n 1 "$work/log")"
        else fail "$1 ranks ${*:2}, $id" "not the arg max of the logits" "$work/log"
        fi
    done
}

for ranks in $RANKS; do
    drafts=(--always-draft)
    [ $((ranks % 2)) = 1 ] && [ "$QUICK" != 1 ] && drafts=(--no-draft)
    [ "$LONG" = 1 ] && drafts=(--no-draft --always-draft "--always-draft --draft-ranks all")
    for draft in "${drafts[@]}"; do
        # shellcheck disable=SC2086 # several options
        answer "$ranks" $draft || continue
        [ -s "$work/scored.$ranks" ] || score "$ranks"
        echo yes >"$work/scored.$ranks"
        # shellcheck disable=SC2086
        meet "$ranks" $draft
    done
done

finish
