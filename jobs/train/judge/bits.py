"""Bits per byte on held-out files of every checkpoint in DIR/run, with its weights as they are and rounded; a JSON line each.

Windows of `long` tokens, all but a window's first predicted, in the training forward pass (BF16). `rounding` says what was
rounded to MXFP4 before: "none", "experts", "all"; `activations` what went into the rounded products.
"""
import json
import math

import numpy as np
import torch
from tokenizers import Tokenizer

from nets import experts
from nets.target import Config, Target

ROUNDINGS = (("none", "bf16"), ("experts", "bf16"), ("experts", "e4m3"), ("all", "bf16"), ("all", "e4m3"))


def windows(path, tokenizer, size, limit):
    """Rows of size + 1 tokens of the held-out stream, and the bytes of each row's labels."""
    tokens = np.fromfile(path, dtype=np.uint16)
    count = min(limit // size, (len(tokens) - 1) // size)
    if count == 0:
        raise SystemExit(f"{path}: {len(tokens)} tokens: too few for a row of {size}")
    rows = np.stack([tokens[i * size:i * size + size + 1] for i in range(count)]).astype(np.int64)
    texts = (tokenizer.decode(row[1:].tolist()) for row in rows)      # specials left out: they are not the files' bytes
    return torch.from_numpy(rows), sum(len(t.encode()) for t in texts)


@torch.no_grad()
def nats(model, rows, device, batch):
    total = 0.0
    for i in range(0, len(rows), batch):
        part = rows[i:i + batch].to(device)
        total += model.loss(part).item() * len(part) * (part.shape[1] - 1)
    return total


def main(run):
    s, data = run.settings, run.folder / "data"
    rows, size = windows(data / "heldout.u16", Tokenizer.from_file(str(data / "tokenizer.json")), s.target.long, s.evaluate.tokens)
    model = Target(Config(**s.target.shape)).to(run.device).eval()
    for mixture in model.mixtures():
        mixture.products = experts.way("auto", run.device)
    with open(run.folder / "results.jsonl", "a", buffering=1) as results:      # a line a result, should the time run out
        for path in sorted((run.folder / "run").glob("t*.pt")):
            saved = torch.load(path, map_location=run.device, weights_only=True)
            model.load_state_dict(saved["model"])
            for scope, activations in ROUNDINGS:
                model.quantize(scope, activations == "e4m3")
                bits = nats(model, rows, run.device, 16) / math.log(2) / size
                line = json.dumps({"what": "bits", "checkpoint": path.stem, "tokens": saved["done"]["tokens"], "rounding": scope,
                                   "activations": activations, "bits_per_byte": bits, "bytes": size, "note": run.args.note,
                                   "seed": s.target.seed})
                results.write(line + "\n")
                print(line, flush=True)
    return True
