"""A drafter with an in-block head for pro-split-bf16, and its drafts:  python walk.py   (torch and safetensors, for torch.save)

`dflash-head/` is a drafter as models.py writes them, with previous.weight and following.weight of rank 16. draft-head.bin (README.md) has
reference.py's logits without the head and, in place of their arg max, the tokens of its walk. A seed is taken that keeps every choice of a
slice and every choice of the walk clear of a tie, and that lets the head change most blocks.
"""
import json

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import models
import reference
from folder import read_folder
from make import DRAFT_MARGIN, DRAFT_STARTS, FIXTURES, write_draft_expected

NAME, RANK = "pro-split-bf16", 16


def add_head(folder, seed, vocabulary):
    rng, path = np.random.default_rng(seed + 1), folder / "dflash_draft_model.safetensors"
    weights = load_file(path)
    for name in ("previous", "following"):
        weights[f"{name}.weight"] = models.tensor(rng.standard_normal((vocabulary, RANK)) * 0.6, torch.bfloat16)
    save_file(weights, path, {"format": "pt"})


def make(seed):
    folder = FIXTURES / NAME
    c, ids = json.loads((folder / "config.json").read_text()), json.loads((folder / "ids.json").read_text())
    config = json.loads((folder / "dflash" / "config.json").read_text())
    config["dflash_config"]["markov"], config["vocab_size"] = RANK, c["vocab_size"]
    shape = reference.Target.from_config(c)
    weights = read_folder(folder, shape)
    _, taps, _ = reference.target_forward(shape, weights, ids)
    out = folder / "dflash-head"
    out.mkdir(exist_ok=True)
    embedding = models.write_drafter(out, seed, config)
    add_head(out, seed, c["vocab_size"])
    draft, logits, best, margins = read_folder(out), [], [], []
    for start in DRAFT_STARTS:
        logits.append(reference.draft_forward(config, draft, embedding, weights, taps, ids, start)[1:])
        walked, margin = reference.walk(draft, logits[-1], ids[start])
        best.append(walked)
        margins.append(margin)
    logits, best = np.stack(logits), np.array(best)
    changed = (best != logits.argmax(2)).mean()
    if min(margins) < DRAFT_MARGIN / 5 or changed < 0.3:
        return make(seed + 2)
    write_draft_expected(folder / "draft-head.bin", ids, logits, DRAFT_STARTS, best)
    for path in out.iterdir():
        path.chmod(0o644)
    print(f"{NAME}: seed {seed}, margin {min(margins):.1e}, {changed:.0%} of all drafts are the head's")


if __name__ == "__main__":
    make(1000)
