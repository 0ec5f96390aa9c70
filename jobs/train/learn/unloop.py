"""Teaches the trained target not to repeat itself, which greedy text of a small model does without end.

Round by round the target continues prompts of the corpus greedily. Tokens that only repeat what stood a few places before are made
less likely where they stand (unlikelihood, Welleck et al. 2019), beside as many rows of the corpus, whose tokens are made
likelier as ever. Experts stay quantised as at the end of training. DIR/run/target.pt goes on, its old state in target-before.pt.
"""
import time

import numpy as np
import torch

from learn import parallel
from learn.launch import Launcher
from learn.loops import repeated, repeats
from learn.optimizer import schedule
from learn.state import save
from learn.target import SAVE_EVERY, Trainer
from nets.decode import generate
from nets.loss import unlikelihood


class Unlooper(Trainer):
    def __init__(self, run):
        super().__init__(run)
        self.u = run.settings.unloop
        if self.done["tokens"] < self.total:
            raise SystemExit(f"{self.path}: {self.done['tokens']} of {self.total} tokens: train the target to its end first")
        if "rounds" not in self.done:
            save(self.path.with_name("target-before.pt"), {"model": self.model.state_dict(), "done": dict(self.done)})
            self.done["rounds"] = 0
        self.journal.part = "unloop"
        self.model.quantize(self.s.quantize, self.s.quantize != "none" and self.s.activations == "e4m3")
        self.launcher = Launcher(self.s.launch, self.device, self.loss, self.update, self.model.parameters(), self.changed,
                                 [m.load for m in self.model.mixtures()])
        self.launcher.report = self.journal.write
        self.balance.zero_()

    def loss(self, tokens, kind):
        return self.model.loss(tokens, unlikelihood(kind.flatten(), self.u.strength))

    def own_text(self, number):
        """Greedy continuations [sequences, prompt + count] of prompts drawn for this round."""
        u = self.u
        starts = np.random.default_rng([13, number, parallel.RANK]).integers(0, len(self.corpus.tokens) - u.prompt, u.sequences)
        self.model.eval()
        with torch.no_grad():
            tokens, _ = generate(self.model, self.corpus.rows(starts, u.prompt), u.count, torch.bfloat16)
        self.model.train()
        return tokens

    def round(self, number):
        """Returns whether there were still more loops than enough."""
        u = self.u
        own = self.own_text(number)
        looped = repeated(own)[:, 1:]
        looped[:, :u.prompt] = False
        chosen = looped.any(1).nonzero()[:, 0]
        loops = parallel.agree(repeats(own[:, :u.prompt + 128]).float().mean().item(), self.device)
        self.journal.write(round=number, loops=round(loops, 3), tokens_in_loops=round(looped.float().mean().item(), 4))
        if loops <= u.enough:
            return False
        random = np.random.default_rng([17, number, parallel.RANK])
        total = torch.zeros((), device=self.device)
        for step in range(u.steps):
            schedule(self.optimizers, u.lr_scale)
            rows = chosen[torch.from_numpy(random.integers(0, len(chosen), u.rows)).to(self.device)]
            text = self.corpus.batch(self.done["cursor"], u.rows * parallel.WORLD, own.shape[1] - 1)
            self.done["cursor"] += u.rows * parallel.WORLD
            kind = torch.cat([torch.ones_like(text[:, 1:], dtype=torch.float32), -looped[rows].float()])
            total += self.launcher.step("unloop", [torch.cat([text, own[rows]]), kind])
        self.journal.write(round=number, nats=round((total / u.steps).item(), 4), way=self.launcher.way)
        return True


def main(run):
    trainer = Unlooper(run)
    began = written = time.time()
    while trainer.done["rounds"] < trainer.u.rounds and parallel.agree(time.time(), run.device) - began < run.args.minutes * 60:
        more = trainer.round(trainer.done["rounds"])
        trainer.done["rounds"] = trainer.done["rounds"] + 1 if more else trainer.u.rounds
        if time.time() - written > SAVE_EVERY:
            trainer.checkpoint(trainer.path)
            written = time.time()
    trainer.checkpoint(trainer.path)
    parallel.finish()
    return trainer.done["rounds"] >= trainer.u.rounds
