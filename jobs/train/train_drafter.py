#!/usr/bin/env python3
"""Trains the drafter on the target's own text, with the hidden states teach.py kept.

    python train_drafter.py --target EXPORT --state DIR [--minutes M]

Every step takes some sequences and, in each, BLOCKS anchors at random positions; the anchors of a block see the committed
tokens before them. The loss is the cross entropy of slots 1..7 weighted by D-PACE: slot j counts by the chance, under the
drafter as it is, that a block's agreement gets as far as j or beyond. STATE/drafter.pt is the checkpoint (atomic rename;
the same command goes on from it), STATE/drafter.log the log, EXPORT/dflash the result.
"""
import argparse
import time
from pathlib import Path

import numpy as np
import torch

import parallel
from drafter import DraftConfig, Drafter, export_drafter
from export import load_target
from model import HeadLoss
from optimizer import build
from train_target import rate, save

SEQUENCES, BLOCKS = 16, 48
FIRST_ANCHOR = 96              # earlier anchors are left out: prompts are longer than that
DPACE = 0.5


def dpace(entropy, slots=7):
    """Weights of the slots of each block from their cross entropies [blocks * slots]."""
    survival = ((1 - DPACE) * torch.exp(-entropy.view(-1, slots)) + DPACE).cumprod(-1)
    return survival.flip(-1).cumsum(-1).flip(-1).flatten()


class Shards:
    """Sequences of all shards of teach.py, read through memory maps; shuffled anew every epoch."""

    def __init__(self, folder, seed=3):
        self.shards = [torch.load(p, mmap=True) for p in sorted(folder.glob("*.pt"))]
        self.index = [(i, j) for i, s in enumerate(self.shards) for j in range(len(s["tokens"]))]
        self.seed = seed

    def batch(self, step, count):
        """tokens [count, time] and taps [count, time - 1, ...]; a pure function of the step."""
        rows = []
        for n in range(step * count, (step + 1) * count):
            epoch, offset = divmod(n, len(self.index))
            order = np.random.default_rng(self.seed + epoch).permutation(len(self.index))
            rows.append(self.index[order[offset]])
        tokens = torch.stack([self.shards[i]["tokens"][j] for i, j in rows]).long()
        return tokens, torch.stack([self.shards[i]["taps"][j] for i, j in rows])


class Trainer:
    def __init__(self, args, device):
        torch.manual_seed(2)
        self.args, self.device, self.c = args, device, DraftConfig()
        self.target = load_target(args.target, device)
        self.head = self.target.lm_head.bfloat16()
        self.shards = Shards(args.state / "teach")
        self.model = Drafter(self.c, self.target.embed_tokens).to(device)
        self.optimizers = build(self.model, muon_lr=args.lr, adam_lr=2e-3)
        self.step, self.used, self.path = 0, 0.0, args.state / "drafter.pt"
        if self.path.exists():
            saved = torch.load(self.path, map_location=device)
            self.model.load_state_dict(saved["model"])
            for optimizer, state in zip(self.optimizers, saved["optimizers"]):
                optimizer.load_state_dict(state)
            self.step, self.used = saved["step"], saved["used"]

    def checkpoint(self):
        save(self.path, {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
                         "step": self.step, "used": self.used})

    def one_step(self, progress):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * rate(self.step, progress)
        share = SEQUENCES // parallel.WORLD
        tokens, taps = (t.to(self.device) for t in self.shards.batch(self.step * parallel.WORLD + parallel.RANK, share))
        random = np.random.default_rng([11, self.step, parallel.RANK])
        choice = [random.choice(np.arange(FIRST_ANCHOR, tokens.shape[1] - self.c.block + 1), BLOCKS, replace=False)
                  for _ in range(share)]
        anchors = torch.from_numpy(np.stack(choice)).to(self.device)
        labels = torch.stack([tokens.gather(1, anchors + j) for j in range(self.c.block)], -1)
        states = self.model(taps, anchors, labels[..., 0])[:, :, 1:]
        slots = self.c.block - 1
        loss = HeadLoss.apply(states.reshape(-1, self.c.hidden), self.head, labels[..., 1:].flatten(), dpace,
                              slots * 128)
        loss.backward()
        parallel.average([p.grad for p in self.model.parameters()])
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss.detach()

    def run(self):
        budget, last, recent = self.args.minutes * 60, time.time(), []
        written, log = time.time(), open(self.args.state / "drafter.log", "a", buffering=1)
        while self.used < budget:
            recent.append(self.one_step(self.used / budget))
            now = time.time()
            self.used, last = parallel.agree(self.used + now - last), now
            if parallel.RANK:
                continue
            if self.step % 10 == 0:
                log.write(f"{self.step} {self.used / 60:.2f} {torch.stack(recent).mean().item():.4f}\n")
                recent = []
            if now - written > 120:
                self.checkpoint()
                written = now
        if parallel.RANK == 0:
            self.checkpoint()
            export_drafter(self.model, self.args.target / "dflash")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, required=True, help="folder written by export.py; gets dflash/")
    parser.add_argument("--state", type=Path, required=True, help="folder with teach/, for the checkpoint and the log")
    parser.add_argument("--minutes", type=float, default=6, help="training time in all (6)")
    parser.add_argument("--lr", type=float, default=0.02, help="Muon's rate (0.02)")
    args = parser.parse_args()
    Trainer(args, parallel.start()).run()


if __name__ == "__main__":
    main()
