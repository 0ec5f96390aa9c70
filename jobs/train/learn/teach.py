"""Lets the target write the drafter's training text: DIR/run/teach/NNN.pt.

A shard is `sequences` rows: `prompt` tokens of a training file, then `count` by the target itself, at the temperature that is the
shard's turn. Text that ends in a loop is kept up to a share only: it is easy to draft and teaches nothing. Shards hold tokens
alone, so they travel; the hidden states are computed again while the drafter learns. With --responses REQUESTS RESULTS, the
rows come from what `slipstream batch` answered instead: the way for a model too large for these scripts to decode.
A shard: tokens int32 [rows, time], first and end int32 [rows]: anchors lie in first .. end - block.
"""
import json
import time

import numpy as np
import torch

from learn import parallel
from learn.loops import repeats
from learn.state import Journal, save
from nets.decode import generate
from nets.hub import open_target

ROW = 512                      # most tokens of a row made from responses


def own_text(run, target, corpus, index):
    """One shard from its own seed, so that it does not depend on which shards were made before."""
    s = run.settings.teach
    random = np.random.default_rng(1000 + index)
    starts = random.integers(0, len(corpus) - s.prompt, s.sequences)
    prompts = torch.from_numpy(np.stack([corpus[a:a + s.prompt] for a in starts]).astype(np.int64)).to(run.device)
    temperature = s.temperatures[index % len(s.temperatures)]
    tokens, _ = generate(target.model, prompts, s.count, torch.bfloat16, (), temperature, index)
    looping = repeats(tokens[:, s.prompt:])
    kept = ~looping | (looping.cumsum(0) <= s.loops * s.sequences)
    tokens = tokens[kept].int().cpu()
    return {"tokens": tokens, "first": torch.full((len(tokens),), s.prompt - 1, dtype=torch.int32),
            "end": torch.full((len(tokens),), tokens.shape[1], dtype=torch.int32)}, temperature, looping.float().mean().item()


def answered(tokenizer, requests, results):
    """(prompt ids, response ids) of every request of a batch file that was answered."""
    bodies = {r["custom_id"]: r["body"] for r in map(json.loads, open(requests, encoding="utf-8"))}
    for result in map(json.loads, open(results, encoding="utf-8")):
        body, asked = (result.get("response") or {}).get("body") or {}, bodies.get(result["custom_id"])
        if asked is None or not isinstance(asked.get("prompt"), str) or not body.get("choices"):
            continue
        yield tokenizer.encode(asked["prompt"]).ids, tokenizer.encode(body["choices"][0]["text"]).ids


def from_responses(tokenizer, requests, results):
    rows = [(p[-ROW // 2:], r) for p, r in answered(tokenizer, requests, results) if r]
    if not rows:
        raise SystemExit(f"{results}: holds no answer to a line of {requests} with a text for its prompt")
    tokens = torch.zeros(len(rows), min(ROW, max(len(p) + len(r) for p, r in rows)), dtype=torch.int32)
    first, end = (torch.zeros(len(rows), dtype=torch.int32) for _ in range(2))
    for i, (prompt, response) in enumerate(rows):
        ids = (prompt + response)[:ROW]
        tokens[i, :len(ids)] = torch.tensor(ids)
        first[i], end[i] = len(prompt) - 1, len(ids)
    return {"tokens": tokens, "first": first, "end": end}


def main(run):
    folder = run.folder / "run" / "teach"
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(run.folder / "run" / "train.jsonl", "teach", parallel.RANK)
    target = open_target(run)
    if run.args.responses:
        save(folder / "responses.pt", from_responses(target.tokenizer(), *run.args.responses))
        return True
    if run.args.target:
        raise SystemExit("teach: --target: only with --responses; these scripts decode their own target alone")
    began = time.time()
    corpus = np.memmap(run.folder / "data" / "train.u16", dtype=np.uint16, mode="r")
    for index in range(parallel.RANK, run.settings.teach.shards, parallel.WORLD):
        path = folder / f"{index:03}.pt"
        if time.time() - began > run.args.minutes * 60:
            return False
        if not path.exists():
            shard, temperature, loops = own_text(run, target, corpus, index)
            save(path, shard)
            journal.write(shard=index, temperature=temperature, rows=len(shard["tokens"]), loops=round(loops, 3))
    parallel.finish()
    return True
