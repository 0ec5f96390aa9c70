"""Trains the target on the encoded corpus.

The length is tokens_per_parameter times the number of parameters, and every schedule is a function of the share of it that is
done, so a run may be stopped and continued at will: DIR/run/target.pt is renamed into place, and DIR/run/train.jsonl gets a
line every few steps. At the share quantize_from the checkpoint is kept as DIR/run/trunk.pt; --branch NAME continues from
there into DIR/run/target-NAME.pt, by other settings of quantize and activations: so BF16, experts in MXFP4 and everything
in MXFP4 are compared on one trunk.
"""
import time
from dataclasses import fields

import torch

from learn import parallel
from learn.corpus import Corpus
from learn.launch import Launcher
from learn.optimizer import build, rate, restore, schedule, tensors
from learn.state import Journal, fill, save
from nets import experts
from nets.target import Config, Target

SAVE_EVERY, LOG_EVERY = 90, 5  # seconds


def check(s):
    """Ends the run for a setting that no step could follow; what else is wrong a step says."""
    for name, choices in (("quantize", ("experts", "all", "none")), ("activations", ("e4m3", "bf16"))):
        if getattr(s, name) not in choices:
            raise SystemExit(f"target.{name}: {getattr(s, name)!r}: should be one of {', '.join(choices)}")
    known = {field.name for field in fields(Config)}
    for name in s.shape:
        if name not in known:
            raise SystemExit(f"target.shape.{name}: no such setting; nets/target.py's Config has {', '.join(sorted(known))}")
    if s.batch_tokens < max(s.short, s.long):
        raise SystemExit(f"target.batch_tokens: {s.batch_tokens}: should be a row of {max(s.short, s.long)} tokens at least")


class Trainer:
    def __init__(self, run, branch=None):
        self.s, self.device, self.branch = run.settings.target, run.device, branch
        s = self.s
        check(s)
        torch.manual_seed(s.seed)
        self.model = Target(Config(**s.shape)).to(self.device)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.total = int(s.tokens_per_parameter * self.parameters)
        self.corpus = Corpus(run.folder / "data" / "train.u16", s.short, s.long, self.device)
        for mixture in self.model.mixtures():
            mixture.products = experts.way(s.experts, self.device)
        self.optimizers = build(self.model, "muon", s.muon_lr, s.adam_lr, [
            ("embed_tokens", s.embedding_lr), ("lm_head", s.head_lr), ("router", s.adam_lr)])
        self.balance = torch.zeros((), device=self.device)
        self.launcher = Launcher(s.launch, self.device, self.model.loss, self.update, self.model.parameters(), self.changed,
                                 [m.load for m in self.model.mixtures()])
        self.done = {"step": 0, "cursor": 0, "tokens": 0}
        self.warm = 0          # steps since the optimizers began
        self.folder = run.folder / "run"
        self.path = self.folder / (f"target-{branch}.pt" if branch else "target.pt")
        self.journal = Journal(self.folder / "train.jsonl", self.path.stem, parallel.RANK)
        self.launcher.report = self.journal.write
        self.resume()

    def resume(self):
        start = self.path if self.path.exists() or not self.branch else self.folder / "trunk.pt"
        if not start.exists():
            if self.branch:
                raise SystemExit(f"{start}: missing; a branch begins where the target reached quantize_from")
            return
        saved = torch.load(start, map_location=self.device, weights_only=True)
        fill(self.model, saved["model"], start)
        if "optimizers" in saved:
            restore(self.optimizers, saved["optimizers"])
            self.warm = saved["done"]["step"]
        self.done = saved["done"]

    def checkpoint(self, path):
        if parallel.RANK == 0:
            save(path, {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
                        "done": self.done})

    def changed(self):
        return [*tensors(self.optimizers), *(t for m in self.model.mixtures() for t in (m.load, m.bias))]

    def update(self):
        for optimizer in self.optimizers:
            optimizer.step()
        for mixture in self.model.mixtures():
            mixture.balance(self.balance)

    def one_step(self):
        s, progress = self.s, self.done["tokens"] / self.total
        quantised = progress >= s.quantize_from or self.branch is not None
        scope = s.quantize if quantised else "none"
        self.model.quantize(scope, scope != "none" and s.activations == "e4m3")
        share = rate(progress, self.warm, s)
        schedule(self.optimizers, share)
        self.balance.fill_(s.adam_lr * share)
        length = s.long if progress >= s.long_from else s.short
        rows = s.batch_tokens // length
        loss = self.launcher.step((scope, length), [self.corpus.batch(self.done["cursor"], rows, length)])
        self.done = {"step": self.done["step"] + 1, "cursor": self.done["cursor"] + rows,
                     "tokens": self.done["tokens"] + rows * length}
        self.warm += 1
        return loss

    def run(self, minutes, steps):
        """Until all is done, or for so many minutes or steps. Returns whether all is done."""
        began = written = logged = time.time()
        total, count, mark, left = torch.zeros((), device=self.device), 0, self.done["tokens"], steps
        quantised = self.done["tokens"] >= self.s.quantize_from * self.total
        while self.done["tokens"] < self.total and left:
            if not quantised and not self.branch and self.done["tokens"] >= self.s.quantize_from * self.total:
                self.checkpoint(self.folder / "trunk.pt")
                written, quantised = time.time(), True
            loss = self.one_step()
            total, count, left = total + loss, count + 1, left - 1
            now = parallel.agree(time.time(), self.device) if parallel.WORLD > 1 else time.time()
            if now - logged > LOG_EVERY or self.done["tokens"] >= self.total or not left:
                nats, now = (total / count).item(), time.time()      # waits for the device: the speed is the device's
                self.journal.write(**self.done, of=self.total, nats=round(nats, 4), way=self.launcher.way,
                                   tokens_per_second=round((self.done["tokens"] - mark) / (now - logged)),
                                   quantize=self.model.scope, rate=round(rate(self.done["tokens"] / self.total, self.warm, self.s), 4))
                total, count, mark, logged = torch.zeros_like(total), 0, self.done["tokens"], now
            if now - written > SAVE_EVERY:
                self.checkpoint(self.path)
                written = now
            if now - began > minutes * 60:
                break
        self.checkpoint(self.path)
        return self.done["tokens"] >= self.total


def main(run):
    trainer = Trainer(run, run.args.branch)
    trainer.journal.write(parameters=trainer.parameters, tokens_in_all=trainer.total, device=str(trainer.device),
                          corpus_tokens=len(trainer.corpus.tokens), processes=parallel.WORLD)
    finished = trainer.run(run.args.minutes, run.args.steps)
    parallel.finish()
    return finished
