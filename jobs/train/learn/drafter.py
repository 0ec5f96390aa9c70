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
from learn.state import Journal, fill, save
from nets.drafter import Drafter, config_for, export_drafter, read_weights
from nets.hub import open_target
from nets.loss import HeadLoss, decay, survival
from nets.walk import slice_tokens, within_slices

SAVE_EVERY, LOG_EVERY = 90, 5  # seconds
SYNC_EVERY = 16                # steps
LONGEST_BLOCK = 16             # rows with less text of the target's own are left out, whatever the block: drafters see the same rows
WEIGH = {"dpace": survival, "distill": survival, "decay": decay, "plain": None}


class Rows:
    """All rows of all shards on the device, shuffled anew every epoch. What steps see is drawn there for AHEAD of them at once: copies
    from the host would make it wait for the device in every step."""
    AHEAD = 64

    def __init__(self, folder, device, block, seed=3):
        shards = [torch.load(p, weights_only=True) for p in sorted(folder.glob("*.pt"))]
        if not shards:
            raise SystemExit(f"{folder}: holds no shard; the stage teach writes them")
        self.tokens, self.first, self.end = (torch.cat([s[name] for s in shards]).to(device) for name in ("tokens", "first", "end"))
        longest = (self.end - self.first).max().item() if len(self.end) else 0
        if longest <= block:
            raise SystemExit(f"{folder}: the longest text of the target's own has {longest} tokens: a block of {block} needs more")
        held = self.end - self.first > block
        self.tokens, self.first, self.end = self.tokens[held], self.first[held], self.end[held]
        self.seed, self.chunk, self.drawn = seed, None, None

    def generator(self, *key):
        seed = np.random.SeedSequence(key).generate_state(1)[0]
        return torch.Generator(self.tokens.device).manual_seed(int(seed))

    def order(self, first, count):
        """Rows first .. first + count - 1 of the order."""
        size, device = len(self.end), self.tokens.device
        epochs = [torch.randperm(size, generator=self.generator(self.seed, epoch), device=device)
                  for epoch in range(first // size, (first + count - 1) // size + 1)]
        return torch.cat(epochs)[first % size:][:count]

    def draw(self, chunk, key):
        """rows [AHEAD, sequences] and anchors [AHEAD, sequences, blocks] of a chunk of steps."""
        count, blocks, block, least = key
        rows = self.order(chunk * self.AHEAD * count, self.AHEAD * count)
        low = self.first[rows].clamp(min=1) if least < 0 else self.first[rows].clamp(max=least).clamp(min=1)
        high = torch.maximum(torch.minimum(self.end[rows], torch.full_like(low, self.tokens.shape[1])) - block, low)
        share = torch.rand(len(rows), blocks, generator=self.generator(11, chunk), device=rows.device)
        anchors = low[:, None] + (share * (high - low + 1)[:, None]).long()
        anchors = torch.minimum(anchors, high[:, None]).clamp(max=self.tokens.shape[1] - block)
        return rows.view(self.AHEAD, count), anchors.view(self.AHEAD, count, blocks)

    def batch(self, step, count, blocks, block, least):
        """rows [count] and anchors [count, blocks], this process's share; a pure function of the step. Anchors lie from `first` on, or
        from `least` on where that is earlier and not negative."""
        chunk, at = divmod(step, self.AHEAD)
        key = count, blocks, block, least
        if self.chunk != (chunk, key):
            self.chunk, self.drawn = (chunk, key), self.draw(chunk, key)
        share = count // parallel.WORLD
        return [t[at, parallel.RANK * share:][:share] for t in self.drawn]


class States:
    """What the target makes of the rows: taps and final states. A drafter's steps see a row many times, so they are computed once and kept
    where device memory has room for them, else in every step."""
    ROOM, CPU_ROOM = 0.75, 1 << 30  # share of the device's free memory; bytes without one
    ROWS = 64                      # at a time

    def __init__(self, target, rows):
        self.target, self.rows, self.tokens, self.kept, self.key = target, rows, rows.tokens, None, None

    def prepare(self, taps, final):
        """Computes them for these taps, with the final states where they are wanted."""
        rows, time = self.tokens.shape
        width = self.target.hidden * (len(taps) + bool(final))
        if self.key and self.key[0] == taps and (self.key[1] or not final):
            return
        self.kept, self.key = None, (taps, final)
        if self.tokens.is_cuda:
            torch.cuda.empty_cache()
        room = self.ROOM * torch.cuda.mem_get_info()[0] if self.tokens.is_cuda else self.CPU_ROOM
        if rows * time * width * 2 > room:
            return
        self.kept = torch.empty(rows, time, width, dtype=torch.bfloat16, device=self.tokens.device)
        for a in range(0, rows, self.ROWS):
            self.kept[a:a + self.ROWS] = self.compute(self.tokens[a:a + self.ROWS].long())

    @torch.no_grad()
    def compute(self, tokens):
        states, taps = self.target.states(tokens, self.key[0])
        return torch.cat([taps, states], -1) if self.key[1] else taps

    def of(self, rows, tokens):
        """taps [rows, time, taps * hidden] and final states [rows, time, hidden] or None."""
        found = self.kept[rows] if self.kept is not None else self.compute(tokens)
        taps = self.target.hidden * len(self.key[0])
        return found[..., :taps], found[..., taps:] if self.key[1] else None


class Trainer:
    def __init__(self, run, states=None):
        """states: those of another drafter's training, to share them."""
        self.s, self.device = run.settings.drafter, run.device
        s, folder, branch = self.s, run.folder / "run", run.args.branch
        torch.manual_seed(s.seed)
        self.target = states.target if states else open_target(run)
        self.c = config_for(self.target, s)
        if s.loss not in WEIGH or s.optimizer not in ("muon", "adamw"):
            raise SystemExit(f"drafter: loss {s.loss!r} or optimizer {s.optimizer!r}: no such choice; see train.toml")
        if not 2 <= s.block <= LONGEST_BLOCK:
            raise SystemExit(f"drafter.block: {s.block}: should be 2 to {LONGEST_BLOCK}")
        if not s.taps or sorted({*s.taps}) != s.taps or not all(type(t) is int and 0 <= t < self.target.layers for t in s.taps):
            raise SystemExit(f"drafter.taps: {s.taps}: should be layers of the target, 0 to {self.target.layers - 1}, ascending")
        if s.markov % 8 or not 0 <= s.markov <= 1024:
            raise SystemExit(f"drafter: markov {s.markov}: should be a multiple of 8, at most 1024, which is what the engine takes")
        self.rows = states.rows if states else Rows(folder / "teach", self.device, LONGEST_BLOCK)
        self.states = states or States(self.target, self.rows)
        self.model, self.slices = Drafter(self.c, self.target.embedding).to(self.device), slice_tokens(self.c.vocab, self.device)
        if s.compile:
            for layer in self.model.layers:
                layer.compile(dynamic=False)
        self.optimizers = build(self.model, s.optimizer, s.muon_lr, s.adam_lr,
                                [("previous", s.adam_lr), ("following", s.adam_lr)])
        self.launcher = Launcher(s.launch, self.device, self.loss, self.update, self.model.parameters(), self.changed)
        self.step, self.warm, self.spent = 0, 0, 0.0       # spent: seconds
        name = f"drafter-{branch}" if branch else "drafter"
        self.path, self.out = folder / f"{name}.pt", run.folder / (f"dflash-{branch}" if branch else "export/dflash")
        if run.args.target and not branch:
            self.out = run.folder / "dflash"
        self.journal = Journal(folder / "train.jsonl", name, parallel.RANK)
        self.launcher.report = self.journal.write
        self.resume(run.args.start)

    def resume(self, start):
        """From this drafter's checkpoint; where it has none yet, from the exported drafter `start`."""
        self.started = start
        if start and not self.path.exists():
            self.model.load_state_dict(read_weights(start, self.model))
        if self.path.exists():
            saved = torch.load(self.path, map_location=self.device, weights_only=True)
            for name, is_now in self.kind().items():
                if saved.get("kind", {}).get(name, is_now) != is_now:
                    raise SystemExit(f"{self.path}: drafter.{name}: {saved['kind'][name]}, and the settings say {is_now}; "
                                     "other settings want another --branch")
            fill(self.model, saved["model"], self.path)
            self.step, self.spent = saved["step"], saved.get("spent", 0.0)
            if "optimizers" in saved:
                restore(self.optimizers, saved["optimizers"])
                self.warm = self.step

    def kind(self):
        """What weights do not show, and a drafter that goes on cannot change: its seed has been used, and its optimizers have states."""
        return {"block": self.c.block, "taps": list(self.c.taps), "window": self.c.window, "seed": self.s.seed, "optimizer": self.s.optimizer}

    def checkpoint(self):
        if parallel.RANK == 0:
            save(self.path, {"model": self.model.state_dict(), "optimizers": [o.state_dict() for o in self.optimizers],
                             "step": self.step, "spent": self.spent, "kind": self.kind()})
            export_drafter(self.model, self.out)

    def changed(self):
        return list(tensors(self.optimizers))

    def update(self):
        for optimizer in self.optimizers:
            optimizer.step()

    def loss(self, rows, anchors):
        block, slots = self.c.block, self.c.block - 1
        tokens = self.rows.tokens[rows].long()
        taps, final = self.states.of(rows, tokens)
        labels = torch.stack([tokens.gather(1, anchors + j) for j in range(block)], -1)
        states = self.model(taps, anchors, labels[..., 0])[:, :, 1:]
        states, head = self.model.with_previous(states, labels[..., :-1], self.target.head)
        teacher = None
        if self.s.loss == "distill":
            before = (anchors[..., None] + torch.arange(slots, device=tokens.device)).flatten(1)
            teacher = final.gather(1, before[..., None].expand(-1, -1, self.c.hidden)).flatten(0, 1).to(states.dtype)
        beside = None
        if self.c.markov and self.s.slices:
            beside = partial(within_slices, head=head[:, :self.c.hidden], slices=self.slices, strength=self.s.slices)
        weigh = WEIGH[self.s.loss] and partial(self.weigh, slots)
        chunk = slots * (1024 if tokens.is_cuda else 128)
        return HeadLoss.apply(states.flatten(0, 2), head, labels[..., 1:].flatten(), weigh, chunk, teacher, beside)

    def weigh(self, slots, entropy, first):
        return WEIGH[self.s.loss](entropy, slots)

    def one_step(self, progress):
        s = self.s
        schedule(self.optimizers, rate(progress, self.warm, s))
        batch = self.rows.batch(self.step, s.sequences, s.blocks, self.c.block, -1 if s.own_text else s.first_anchor)
        loss = self.launcher.step("drafter", batch)
        self.step, self.warm = self.step + 1, self.warm + 1
        return loss

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def now(self):
        """The time, once the device has done what it was given, which it is asked now and then."""
        if self.step % SYNC_EVERY == 0:
            self.synchronize()
        return parallel.agree(time.time(), self.device) if parallel.WORLD > 1 else time.time()

    def run(self, minutes, steps, fit=False):
        """Until all is done, or for so many minutes or steps; fit: the training is as long as the minutes, earlier runs' included, whatever
        the number of steps, and its rate follows the time; it begins when the first step has ended."""
        if steps:
            self.states.prepare(self.c.taps, self.s.loss == "distill")
        began = written = logged = time.time()
        before, total, count, left, last, first = self.spent, torch.zeros((), device=self.device), 0, steps, {}, True
        done = lambda: self.spent >= minutes * 60 if fit else self.step >= self.s.steps  # noqa: E731
        while not done() and left:
            progress = min(1.0, self.spent / (minutes * 60)) if fit else self.step / self.s.steps
            total, count, left = total + self.one_step(progress), count + 1, left - 1
            if fit and first:                                # the first step's captures and compilations are no training
                self.synchronize()
                began, logged, first = time.time(), time.time(), False
            now = self.now()
            self.spent = before + now - began
            if now - logged > LOG_EVERY or done() or not left:
                nats, now = (total / count).item(), time.time()
                last = {"step": self.step, "nats": round(nats, 4), "way": self.launcher.way,
                        "steps_per_second": round(count / (now - logged), 2), "progress": round(progress, 3)}
                self.journal.write(**last)
                total, count, logged = torch.zeros_like(total), 0, now
            if now - written > SAVE_EVERY:
                self.checkpoint()
                written = now
            if now - began > minutes * 60:
                break
        self.checkpoint()
        self.last = last
        return done()


def main(run):
    trainer = Trainer(run)
    trainer.journal.write(parameters=sum(p.numel() for p in trainer.model.parameters()), rows=len(trainer.rows.end),
                          loss=trainer.s.loss, optimizer=trainer.s.optimizer, block=trainer.c.block, layers=trainer.c.layers,
                          taps=list(trainer.c.taps), seed=trainer.s.seed, markov=trainer.c.markov)
    finished = trainer.run(run.args.minutes, run.args.steps, run.args.fit)
    parallel.finish()
    return finished
