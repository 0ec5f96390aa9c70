#!/usr/bin/env bash
# Greedy text of 64 prompts x 64 tokens on the GPU and on the CPU. Where an answer differs, it must be for a near-tie: read back the CPU's
# answers on both, token by token, and look at the CPU's own logits wherever the GPU would have gone another way.
. "$(dirname "$0")/common.bash"
command -v python3 >/dev/null || { echo "skipped: python3 reads the answers"; exit 77; }
: "${COMPARE_GREEDY:=$TOOLS/compare_greedy}"
gap=0.25 # of logits whose rounding to e4m3 moves them by about 0.05

grep -hoE "(def|class) [A-Za-z_]+\(?" "$root"/jobs/train/*.py "$root"/tests/golden/*/*.py | sort -u | head -n 64 >"$work/prompts"
python3 - "$work" <<'PYTHON'
import json, sys
for i, prompt in enumerate(open(sys.argv[1] + "/prompts")):
    body = {"prompt": prompt.rstrip("\n"), "max_tokens": 64, "temperature": 0}
    print(json.dumps({"custom_id": "%02d" % i, "method": "POST", "url": "/v1/completions", "body": body}),
          file=open(sys.argv[1] + "/requests.jsonl", "a"))
PYTHON
count=$(wc -l <"$work/requests.jsonl")
for device in cpu cuda; do
    DEVICE=$device on_ranks 1 batch -m "$MODEL" -i "$work/requests.jsonl" -o "$work/$device.jsonl" --sequences 8 --quiet 2>"$work/log" ||
        fail "batch on $device" "failed" "$work/log"
done

# The CPU's answers with their prompts, in four texts; how many answers are the same.
same=$(python3 - "$work" <<'PYTHON'
import json, sys
folder = sys.argv[1]
def answers(name):
    return {a["custom_id"]: a["response"]["body"]["choices"][0]["text"] for a in map(json.loads, open(f"{folder}/{name}.jsonl"))}
prompts = [json.loads(line) for line in open(folder + "/requests.jsonl")]
cpu, gpu = answers("cpu"), answers("cuda")
for part in range(4):
    with open(f"{folder}/text{part}", "w") as out:
        for p in prompts[part::4]:
            out.write(p["body"]["prompt"] + cpu[p["custom_id"]] + "\n\n\n")
print(sum(cpu[p["custom_id"]] == gpu[p["custom_id"]] for p in prompts))
PYTHON
)
[ "${same:-0}" -gt 0 ] && ok "greedy answers" "$same of $count are the CPU's to the last token" || fail "greedy answers" "none is the CPU's"

for part in 0 1 2 3; do
    for device in cpu cuda; do
        DEVICE=$device on_ranks 1 score -m "$MODEL" -f "$work/text$part" --quiet --logits "$work/$device.h5" >"$work/out" 2>"$work/log" ||
            fail "score on $device" "failed" "$work/log"
    done
    if "$COMPARE_GREEDY" "$work/cuda.h5" "$work/cpu.h5" "$gap" >"$work/log" 2>&1; then
        ok "choices, part $part" "$(cat "$work/log")"
    else
        fail "choices, part $part" "not a near-tie" "$work/log"
    fi
done

finish
