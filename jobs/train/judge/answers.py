"""What the engine answered to the requests of requests.py: loops, parse rate and acceptance; a JSON line a file into DIR/results.jsonl.

Reads DIR/requests-NAME.jsonl, DIR/answers-NAME.jsonl and DIR/engine-NAME.json, which slipstream batch --json --always-draft printed.
Acceptance without loops is that of the requests whose text does not end in a loop, by the counts in their own lines.
"""
import json
import math

import torch
from tokenizers import Tokenizer

from judge.parses import parses
from learn.loops import PERIOD, TAIL, repeats


def loops(tokenizer, text):
    ids = tokenizer.encode(text).ids
    return len(ids) >= TAIL + PERIOD and repeats(torch.tensor([ids])).item()


def mean_length(found):
    steps = sum(a["num_spec_steps"] for a in found)
    return 1 + sum(a["num_accepted_draft_tokens"] for a in found) / steps if steps else math.nan


def figures(tokenizer, name, requests, answers, engine):
    prompts = {r["custom_id"]: r["body"]["prompt"] for r in requests}
    bodies = {a["custom_id"]: a["response"]["body"] for a in answers if a.get("response")}
    texts = {i: b["choices"][0]["text"] for i, b in bodies.items()}
    looping = {i for i, text in texts.items() if loops(tokenizer, text)}
    accepted = {i: b["slipstream"]["acceptance"] for i, b in bodies.items()}
    result = {"what": "answers", "name": name, "requests": len(prompts), "answered": len(texts), "loops": len(looping) / len(texts),
              "mean_acceptance_length": mean_length(accepted.values()),
              "without_loops": mean_length([a for i, a in accepted.items() if i not in looping]),
              "acceptance_histogram": engine["acceptance"]["acceptance_histogram"], "tokens_per_second": engine["tokens_per_second"]}
    if name.startswith("code"):
        result["parse_rate"] = sum(parses(prompts[i] + text) for i, text in texts.items()) / len(texts)
    return result


def main(run):
    tokenizer, names = Tokenizer.from_file(str(run.folder / "data" / "tokenizer.json")), sorted(run.folder.glob("engine-*.json"))
    for path in names:
        name = path.stem.removeprefix("engine-")
        requests, answers = ([json.loads(line) for line in open(run.folder / f"{part}-{name}.jsonl", encoding="utf-8")]
                             for part in ("requests", "answers"))
        line = json.dumps(figures(tokenizer, name, requests, answers, json.loads(path.read_text())))
        print(line)
        with open(run.folder / "results.jsonl", "a") as results:
            results.write(line + "\n")
    return bool(names)
