"""Trains the drafter on the text that teach.py kept: DIR/run/drafter.pt and, beside each, DIR/export/dflash.

Every step takes some rows and, in each, anchors drawn anew; the anchors of a block see the committed tokens before them. The
target's hidden states are computed on the way, without gradients, so nothing but tokens is stored. The loss is that of slots
1 .. block - 1, weighted as settings.loss says. --branch NAME trains a variant into DIR/run/drafter-NAME.pt and DIR/dflash-NAME.
"""
import time
from functools import partial

import numpy as np
import torch

from learn import parallel
from learn.launch import Launcher
from learn.optimizer import build, rate, restore, schedule, tensors
from learn.state import Journal, save
from nets.drafter import Drafter, config_for, export_drafter
from nets.hub import open_target
from nets.loss import HeadLoss, decay, survival

SAVE_EVERY, LOG_EVERY = 90, 5  # seconds
WEIGH = {"dpace": survival, "distill": survival, "decay": decay, "plain": None}


class Rows:
    """All rows of all shards on the device, shuffled anew every epoch."""

    def __init__(self, folder, device, seed=3):
        shards = [torch.load(p, weights_only=True) for p in sorted(folder.glob("*.pt"))]
        if not shards:
            raise SystemExit(f"{folder}: holds no shard; the stage teach writes them")
        self.tokens = torch.cat([s["tokens"] for s in shards]).to(device)
        self.first, self.end = (torch.cat([s[name] for s in shards]).numpy() for name in ("first", "end"))
        self.seed, self.order, self.epoch = seed, None, -1

    def pick(self, first, count):
        result = []
        for n in range(first, first + count):
            epoch, at = divmod(n, len(self.end))
            if epoch != self.epoch:
                self.order, self.epoch = np.random.default_rng(self.seed + epoch).permutation(len(self.end)), epoch
            result.append(self.order[at])
        return np.array(result)

    def batch(self, step, count, blocks, block, least):
        """tokens [count, time] and anchors [count, blocks], this process's share; a pure function of the step."""
        share = count // parallel.WORLD
        rows = self.pick(step * count + parallel.RANK * share, share)
        random = np.random.default_rng([11, step, parallel.RANK])
        low = np.minimum(np.maximum(self.first[rows], least), self.end[rows] - block - 1).clip(min=1)[:, None]
        high = np.maximum(self.end[rows] - block, 1)[:, None]
        anchors = random.integers(low, np.maximum(high, low) + 1, (share, blocks)).clip(max=self.tokens.shape[1] - block)
        device = self.tokens.device
        return self.tokens[torch.from_numpy(rows).to(device)].long(), torch.from_numpy(anchors).to(device)


class Trainer:
    def __init__(self, run):
        self.s, self.device = run.settings.drafter, run.device
        s, folder, branch = self.s, run.folder / "run", run.args.branch
        torch.manual_seed(s.seed)
        self.target = open_target(run)
        self.c = config_for(self.target, s)
        if s.loss not in WEIGH or s.optimizer not in ("muon", "adamw"):
            raise SystemExit(f"drafter: loss {s.loss!r} or optimizer {s.optimizer!r}: no such choice; see train.toml")
        self.rows = Rows(folder / "teach", self.device)
        self.model = Drafter(self.c, self.target.embedding).to(self.device)
        self.optimizers = build(self.model, s.optimizer, s.muon_lr, s.adam_lr,
                                [("previous", s.adam_lr), ("following", s.adam_lr)])
        self.launcher = Launcher(s.launch, self.device, self.loss, self.update, self.model.parameters(), self.changed)
        self.step, self.warm = 0, 0
        name = f"drafter-{branch}" if branch else "drafter"
        self.path, self.out = folder / f"{name}.pt", run.folder / (f"dflash-{branch}" if branch else "export/dflash")
        if run.args.target and not branch:
            self.out = run.folder / "dflash"
        self.journal = Journal(folder / "train.jsonl", name, parallel.RANK)
        self.launcher.report = self.journal.write
        self.resume()

    def resume(self):
        if self.path.exists():
            saved = torch.load(self.path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.step = saved["step"]
            if "optimizers" in saved:
                restore(self.optimizers, saved["optimizers"])
                self.warm = self.step

    def checkpoint(self):
        if parallel.RANK == 0:
            save(self.path, {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
                             "step": self.step})
            export_drafter(self.model, self.out)

    def changed(self):
        return list(tensors(self.optimizers))

    def update(self):
        for optimizer in self.optimizers:
            optimizer.step()

    def loss(self, tokens, anchors):
        block, slots = self.c.block, self.c.block - 1
        with torch.no_grad():
            final, taps = self.target.states(tokens, self.c.taps)
        labels = torch.stack([tokens.gather(1, anchors + j) for j in range(block)], -1)
        states = self.model(taps, anchors, labels[..., 0])[:, :, 1:]
        states, head = self.model.with_previous(states, labels[..., :-1], self.target.head)
        teacher = None
        if self.s.loss == "distill":
            before = (anchors[..., None] + torch.arange(slots, device=tokens.device)).flatten(1)
            teacher = final.gather(1, before[..., None].expand(-1, -1, self.c.hidden)).flatten(0, 1)
        weigh = WEIGH[self.s.loss] and partial(self.weigh, slots)
        chunk = slots * (1024 if tokens.is_cuda else 128)
        return HeadLoss.apply(states.flatten(0, 2), head, labels[..., 1:].flatten(), weigh, chunk, teacher)

    def weigh(self, slots, entropy, first):
        return WEIGH[self.s.loss](entropy, slots)

    def one_step(self):
        s = self.s
        schedule(self.optimizers, rate(self.step / s.steps, self.warm, s))
        batch = self.rows.batch(self.step, s.sequences, s.blocks, self.c.block, s.first_anchor)
        loss = self.launcher.step("drafter", batch)
        self.step, self.warm = self.step + 1, self.warm + 1
        return loss

    def run(self, minutes, steps, fit=False):
        """Until all is done, or for so many minutes or steps; fit: the number of steps follows from the speed and the time left."""
        began = written = logged = time.time()
        total, count, left = torch.zeros((), device=self.device), 0, steps
        while self.step < self.s.steps and left:
            total, count, left = total + self.one_step(), count + 1, left - 1
            now = parallel.agree(time.time(), self.device) if parallel.WORLD > 1 else time.time()
            if now - logged > LOG_EVERY or self.step >= self.s.steps or not left:
                nats, now = (total / count).item(), time.time()
                self.journal.write(step=self.step, of=self.s.steps, nats=round(nats, 4), way=self.launcher.way,
                                   steps_per_second=round(count / (now - logged), 2))
                if fit:
                    left_over = parallel.agree(count / (now - logged) * (minutes * 60 - (now - began)), self.device)
                    self.s.steps = self.step + max(0, int(left_over))
                total, count, logged = torch.zeros_like(total), 0, now
            if now - written > SAVE_EVERY:
                self.checkpoint()
                written = now
            if now - began > minutes * 60:
                break
        self.checkpoint()
        return self.step >= self.s.steps


def main(run):
    trainer = Trainer(run)
    trainer.journal.write(parameters=sum(p.numel() for p in trainer.model.parameters()), rows=len(trainer.rows.end),
                          loss=trainer.s.loss, optimizer=trainer.s.optimizer, block=trainer.c.block, layers=trainer.c.layers,
                          taps=list(trainer.c.taps), seed=trainer.s.seed, markov=trainer.c.markov)
    finished = trainer.run(run.args.minutes, run.args.steps, run.args.fit)
    parallel.finish()
    return finished
