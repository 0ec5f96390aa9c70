#!/usr/bin/env python3
"""Lets the exported target write the drafter's training text, and keeps the hidden states it had while writing.

    python teach.py --target EXPORT --data DIR --state DIR [--shards N] [--minutes M]

A shard is SEQUENCES sequences: PROMPT tokens of a training file, then COUNT tokens by the target, greedy but for every
fifth shard at temperature 0.7. STATE/teach/NNN.pt holds tokens [sequences, PROMPT + COUNT] and taps [sequences, PROMPT +
COUNT - 1, taps * hidden] in BF16. Shards already there are kept, so a stopped run goes on where it was.
"""
import argparse
import time
from pathlib import Path

import numpy as np
import torch

import parallel
from decode import generate
from drafter import DraftConfig
from export import load_target
from train_target import save

SEQUENCES, PROMPT, COUNT = 192, 192, 160
TEMPERATURE, EVERY = 0.7, 5


def write_shard(target, corpus, index, path):
    """One shard from its own seed, so that it does not depend on which shards were made before."""
    random = np.random.default_rng(1000 + index)
    starts = random.integers(0, len(corpus) - PROMPT, SEQUENCES)
    prompts = torch.from_numpy(np.stack([corpus[s:s + PROMPT] for s in starts]).astype(np.int64))
    device = target.lm_head.device
    generator = torch.Generator(device).manual_seed(index)
    tokens, taps = generate(target, prompts.to(device), COUNT, torch.bfloat16, DraftConfig.taps,
                            TEMPERATURE if index % EVERY == EVERY - 1 else 0.0, generator)
    save(path, {"tokens": tokens.short().cpu(), "taps": taps.cpu()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, required=True, help="folder written by export.py")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.u16")
    parser.add_argument("--state", type=Path, required=True, help="folder for teach/")
    parser.add_argument("--shards", type=int, default=30, help="shards in all (30)")
    parser.add_argument("--minutes", type=float, default=60, help="start no shard after this time")
    args = parser.parse_args()
    start, folder = time.time(), args.state / "teach"
    folder.mkdir(parents=True, exist_ok=True)
    target = load_target(args.target, parallel.device())
    corpus = np.memmap(args.data / "train.u16", dtype=np.uint16, mode="r")
    for index in range(parallel.RANK, args.shards, parallel.WORLD):
        path = folder / f"{index:03}.pt"
        if time.time() - start > args.minutes * 60:
            break
        if not path.exists():
            began = time.time()
            write_shard(target, corpus, index, path)
            print(f"shard {index}: {SEQUENCES * COUNT / (time.time() - began):.0f} tokens/s", flush=True)


if __name__ == "__main__":
    main()
