#!/usr/bin/env bash
# batch --shard and merge: shards answer as one run does, and what is missing, there twice or foreign is named.
. "$(dirname "$0")/common.bash"
log=$work/log out=$work/out
{
    head -n 4 "$root/jobs/demo/requests.jsonl" | sed 's/"max_tokens": *[0-9]*/"max_tokens": 6/'
    head -n 1 "$root/jobs/demo/requests.jsonl" # a custom_id again
    echo '{"bad'
} >"$work/requests.jsonl"
batch() { on_ranks 2 batch -m "$MODEL" -i "$work/requests.jsonl" "$@" -q >"$out" 2>"$log"; }
merge() { # exit status, pattern, name, arguments...
    local status
    "$SLIPSTREAM" merge "${@:4}" -i "$work/requests.jsonl" -o "$work/merged.jsonl" >"$out" 2>"$log" </dev/null
    status=$?
    if [ "$status" = "$1" ] && grep -q -e "$2" "$log"
    then ok "merge: $3"
    else fail "merge: $3" "exit status $status" "$log"
    fi
}
lines() { # what an answer says, without times: id, which holds the hashes, and text
    sed 's/^{"id":"\([^"]*\)".*"\(choices\|error\)":\([^}]*\).*/\1 \3/' "$1"
}
batch -o "$work/whole.jsonl"
for i in 0 1 2; do batch -o "$work/s$i.jsonl" --shard "$i/3"; done
batch -o "$work/s7.jsonl" --shard 7/8
[ ! -s "$work/s7.jsonl" ] && ok "a shard without requests" || fail "a shard without requests" "it has lines" "$log"
merge 1 'missing .*request 3' "a shard is missing" "$work/s0.jsonl" "$work/s1.jsonl"
merge 1 'twice .*s1.jsonl: line 1' "a shard is there twice" "$work/s0.jsonl" "$work/s1.jsonl" "$work/s2.jsonl" "$work/s1.jsonl"
sed 's/"custom_id":"[^"]*"/"custom_id":"nobody"/' "$work/s0.jsonl" | head -n 1 >"$work/foreign.jsonl"
merge 1 'foreign .*foreign.jsonl: line 1' "a line is foreign" "$work/s0.jsonl" "$work/s1.jsonl" "$work/s2.jsonl" "$work/foreign.jsonl"
head -c -5 "$work/s2.jsonl" >"$work/torn.jsonl"
merge 1 'none of them' "--json of what was not merged" --json "$work/s0.jsonl" "$work/s1.jsonl"
if "$check" keys "$out" schema version commit command argv output merged shards requests failed missing twice foreign changed unchecked seconds 2>"$log"
then ok "merge --json: one object with its keys"
else fail "merge --json: one object with its keys" "$(head -c 100 "$out")" "$log"
fi
cp "$work/requests.jsonl" "$work/requests.kept"
sed -i '2s/"max_tokens": *6/"max_tokens": 5/' "$work/requests.jsonl"
merge 1 'changed .*s1.jsonl: line [0-9]' "a request has changed since" "$work/s0.jsonl" "$work/s1.jsonl" "$work/s2.jsonl"
sed '1,4s/^{/{ /; 1,4s/"max_tokens": *6/"max_tokens":   6/' "$work/requests.kept" >"$work/requests.jsonl"
merge 3 'merged' "written otherwise, requests are the same" "$work/s0.jsonl" "$work/s1.jsonl" "$work/s2.jsonl"
rm "$work/merged.jsonl"
mv "$work/requests.kept" "$work/requests.jsonl"
sed 's/"line_hash":"[^"]*",//' "$work/s1.jsonl" >"$work/old.jsonl"
merge 3 'unchecked  *1 results' "results of an older build" "$work/s0.jsonl" "$work/old.jsonl" "$work/s2.jsonl"
rm "$work/merged.jsonl"
merge 2 'torn.jsonl: line 2 is torn' "a line is torn" "$work/s0.jsonl" "$work/s1.jsonl" "$work/torn.jsonl"
[ ! -e "$work/merged.jsonl" ] && ok "nothing is written then" || fail "nothing is written then" "there is a file" "$log"
merge 3 '2 of 6 requests were refused' "all shards, in any order" "$work/s2.jsonl" "$work/s0.jsonl" "$work/s1.jsonl"
if [ "$(lines "$work/merged.jsonl" | sort)" = "$(lines "$work/whole.jsonl" | sort)" ] && [ "$(wc -l <"$work/merged.jsonl")" = 6 ]
then ok "the answers of one run"
else fail "the answers of one run" "they differ" "$work/merged.jsonl"
fi
finish
