#!/usr/bin/env python3
"""Trains the target on the encoded corpus.

    python train_target.py --data DIR --state DIR [--minutes M]

--minutes is the whole training time, over all runs: the schedule is a function of the time used, so that the same command
fits a GPU and a laptop. Checkpoints go to STATE/target.pt by an atomic rename; the same command again goes on from there.
STATE/target.log gets a line every few steps: step, tokens, minutes, nats a token (mean since the last line), tokens/s.
"""
import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

import parallel
from model import Config, Target
from optimizer import build

TOKENS_A_STEP = 8192
QUANTIZE_FROM = 0.62           # share of the time after which the experts train through MXFP4
LONG_FROM = 0.75               # ... and after which sequences are LONG tokens instead of SHORT
SHORT, LONG = 512, 1024
WARMUP_STEPS = 30
DECAY_FROM = 0.35              # constant rate up to here, then linearly down to FINAL_RATE
FINAL_RATE = 0.03


def rate(step, progress):
    decay = 1 if progress < DECAY_FROM else 1 - (1 - FINAL_RATE) * (progress - DECAY_FROM) / (1 - DECAY_FROM)
    return decay * min(1, (step + 1) / WARMUP_STEPS)


class Corpus:
    """Windows of the token stream in a fixed random order; a position in that order is all its state."""

    def __init__(self, path, seed=7):
        self.tokens = np.memmap(path, dtype=np.uint16, mode="r")
        self.order = np.random.default_rng(seed).permutation((len(self.tokens) - LONG - 1) // SHORT)

    def batch(self, cursor, length):
        """This process's share of TOKENS_A_STEP tokens as rows of length + 1, and the next cursor."""
        rows = TOKENS_A_STEP // length
        mine = range(cursor + parallel.RANK, cursor + rows, parallel.WORLD)
        starts = [self.order[i % len(self.order)] * SHORT for i in mine]
        data = np.stack([self.tokens[s:s + length + 1] for s in starts]).astype(np.int64)
        return torch.from_numpy(data), cursor + rows


def save(path, content):
    scratch = path.with_suffix(".tmp")
    torch.save(content, scratch)
    os.replace(scratch, path)


class Trainer:
    def __init__(self, args, device):
        torch.manual_seed(1)
        self.args, self.device = args, device
        self.corpus = Corpus(args.data / "train.u16")
        self.model = Target(Config()).to(device)
        self.optimizers = build(self.model, muon_lr=args.lr, adam_lr=2e-3,
                                special_lr=[("embed_tokens", 6e-3), ("lm_head", 3e-3), ("router", 2e-3)])
        self.step, self.cursor, self.used, self.tokens = 0, 0, 0.0, 0
        self.path = args.state / "target.pt"
        if self.path.exists():
            self.resume()

    def resume(self):
        saved = torch.load(self.path, map_location=self.device)
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        self.step, self.cursor, self.used, self.tokens = (saved[k] for k in ("step", "cursor", "used", "tokens"))

    def checkpoint(self):
        save(self.path, {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
                         "step": self.step, "cursor": self.cursor, "used": self.used, "tokens": self.tokens})

    def one_step(self, progress):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * rate(self.step, progress)
        for mixture in self.model.mixtures():
            mixture.quantized = progress >= QUANTIZE_FROM
        batch, self.cursor = self.corpus.batch(self.cursor, LONG if progress >= LONG_FROM else SHORT)
        loss = self.model.loss(batch.to(self.device))
        loss.backward()
        parallel.average([p.grad for p in self.model.parameters()] + [m.load for m in self.model.mixtures()])
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for mixture in self.model.mixtures():
            mixture.balance(2e-3 * rate(self.step, progress))
        self.step, self.tokens = self.step + 1, self.tokens + TOKENS_A_STEP
        return loss.detach()

    def run(self):
        budget, last, recent = self.args.minutes * 60, time.time(), []
        written, logged, mark = time.time(), open(self.args.state / "target.log", "a", buffering=1), time.time()
        while self.used < budget and self.step < self.args.steps:
            recent.append(self.one_step(self.used / budget))
            now = time.time()
            self.used, last = parallel.agree(self.used + now - last), now
            if parallel.RANK:
                continue
            if self.step % self.args.log_every == 0:
                nats, speed = torch.stack(recent).mean().item(), len(recent) * TOKENS_A_STEP / (now - mark)
                logged.write(f"{self.step} {self.tokens} {self.used / 60:.2f} {nats:.4f} {speed:.0f}\n")
                recent, mark = [], now
            if now - written > 120:
                self.checkpoint()
                written = now
        if parallel.RANK == 0:
            self.checkpoint()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.u16")
    parser.add_argument("--state", type=Path, required=True, help="folder for the checkpoint and the log")
    parser.add_argument("--minutes", type=float, default=14, help="training time in all (14)")
    parser.add_argument("--steps", type=int, default=1 << 30, help="stop after this many steps, for a trial")
    parser.add_argument("--lr", type=float, default=0.02, help="Muon's rate (0.02)")
    parser.add_argument("--log-every", type=int, default=10)
    args = parser.parse_args()
    args.state.mkdir(parents=True, exist_ok=True)
    Trainer(args, parallel.start()).run()


if __name__ == "__main__":
    main()
