"""Trains a finished target and its drafter together: the target learns to say what the drafter foresees, the drafter follows it.

Goes on from DIR/export and DIR/export/dflash. A step sees rows of the corpus and of the target's own text, and adds up
  text      cross entropy on the corpus; unlikelihood where own text repeats itself (see unloop.py)
  drafter   the drafter's own loss on the target's own text; it goes through the taps into the target too, scaled by `through`: the
            target's states then tell more of what comes
  pull      cross entropy of the target with the drafter's arg max, weighted as the drafter's slots are, where the target gives that token
            `least` to `most` of its probability: where several tokens are nearly as good, the one that the drafter foresees wins; beyond
            `most` it has won already, and more would only cost likelihood. Drafts that go on copying what stood a few places before are left
            out: drafters copy where nothing better is in sight, and a target pulled that way writes loops
Drafter and pull leave out what repeats itself: it is easy, and makes repetition more certain.
Own text is written anew, a batch every `renew` seconds, as the target moves. What the target does for the drafter costs likelihood of real
text, and `limit` says how much may be lost: as the loss on rows kept apart rises towards it, the pull and the gradient through the taps
weaken (strength()); from `quiet_from` on both rest. Loops and likelihood come back then, but the agreement goes (docs/training.md).
Experts stay quantised as at the end of the target's training. Writes DIR/run/agree.pt and the folder DIR/agree with its drafter in DIR/agree/dflash;
--branch NAME: agree-NAME. --start goes on from the checkpoint of another branch, with a schedule of its own.
"""
import math
import time

import torch

from judge.trade import Trade
from learn import parallel
from learn.corpus import Corpus
from learn.launch import Launcher
from learn.loops import copies, repeated, repeats
from learn.optimizer import build, rate, restore, schedule, tensors
from learn.state import Journal, fill, save
from nets.decode import generate
from nets.drafter import export_drafter, load_drafter
from nets.export import export_target
from nets.hub import open_target
from nets.loss import HeadLoss, survival, unlikelihood

SAVE_EVERY, LOG_EVERY = 90, 5  # seconds
SYNC_EVERY = 16                # steps
PARTS = ("text", "drafter", "pull", "accepted")


class Through(torch.autograd.Function):
    """The identity; of its gradient, a share."""

    @staticmethod
    def forward(ctx, x, share):
        ctx.save_for_backward(share)
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None


def strength(whole, rise, limit):
    """What is left of a pull where the loss has risen by the share `rise`: the whole up to half the limit, none from the limit on."""
    return whole * min(1.0, max(0.0, 2 * (1 - rise / limit)))


class OwnText:
    """Batches of the target's own text on the device, each at its temperature; the oldest makes room for the next."""

    def __init__(self, settings, corpus, device):
        self.s, self.corpus, self.number = settings, corpus, 0
        size = settings.batches * settings.sequences, settings.prompt + settings.count
        self.tokens = torch.zeros(size, dtype=torch.int16, device=device)
        self.looped = torch.zeros(size[0], size[1] - 1, dtype=torch.bool, device=device)

    def renew(self, model, until, generator):
        """One batch; returns the share of it that ends in a loop, a tensor."""
        s, at = self.s, self.number % self.s.batches * self.s.sequences
        model.eval()
        prompts = self.corpus.rows(torch.randint(until, (s.sequences,), generator=generator).numpy(), s.prompt)
        seed = 1 + self.number * parallel.WORLD + parallel.RANK
        with torch.no_grad():
            own, _ = generate(model, prompts, s.count, torch.bfloat16 if prompts.is_cuda else torch.float32, (),
                              s.temperatures[self.number % len(s.temperatures)], seed)
        model.train()
        looped = repeated(own)[:, 1:]
        looped[:, :s.prompt] = False
        self.tokens[at:at + s.sequences], self.looped[at:at + s.sequences] = own.to(torch.int16), looped
        self.number += 1
        return repeats(own[:, :s.prompt + 128]).float().mean()


class Trainer:
    def __init__(self, run):
        self.run, self.s, self.device, branch = run, run.settings.agree, run.device, run.args.branch
        s, t, d = self.s, run.settings.target, run.settings.drafter
        torch.manual_seed(s.seed)
        self.target = open_target(run)
        self.model = self.target.model.requires_grad_(True).train()
        self.model.quantize(t.quantize, t.quantize != "none" and t.activations == "e4m3")
        self.drafter = load_drafter(run.folder / "export/dflash", self.target).requires_grad_(True).train()
        if self.drafter.c.markov or self.drafter.c.block > s.count:
            raise SystemExit("agree: the drafter of DIR/export/dflash has an in-block head, or agree.count is shorter than its block")
        matrices = [t.muon_lr * s.target_rate, t.adam_lr * s.target_rate]
        self.optimizers = [*build(self.model, "muon", *matrices, [("embed_tokens", t.embedding_lr * s.target_rate),
                                                                  ("lm_head", t.head_lr * s.target_rate), ("router", matrices[1])]),
                           *build(self.drafter, d.optimizer, d.muon_lr * s.drafter_rate, d.adam_lr * s.drafter_rate)]
        self.pull, self.through = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        self.parts = torch.zeros(len(PARTS), device=self.device)
        self.time = s.prompt + s.count - 1
        self.corpus = Corpus(run.folder / "data" / "train.u16", self.time, self.time, self.device)
        self.kept_apart = self.corpus.rows(len(self.corpus.tokens) - (1 + torch.arange(s.held).numpy()) * (self.time + 1), self.time + 1)
        self.until = len(self.corpus.tokens) - (s.held + 1) * (self.time + 1)      # where rows may begin
        if self.until < 1:
            raise SystemExit(f"{run.folder}/data/train.u16: too few tokens for agree.held = {s.held} rows beside those to train on")
        self.text = OwnText(s, self.corpus, self.device)
        self.launcher = Launcher(s.launch, self.device, self.loss, self.update, [*self.model.parameters(), *self.drafter.parameters()],
                                 lambda: [*tensors(self.optimizers), self.drafter.embedding, *(m.load for m in self.model.mixtures())])
        self.step, self.warm, self.spent, self.before, self.rise = 0, 0, 0.0, None, 0.0
        name = f"agree-{branch}" if branch else "agree"
        self.path, self.out = run.folder / "run" / f"{name}.pt", run.folder / name
        self.journal = Journal(run.folder / "run" / "train.jsonl", name, parallel.RANK)
        self.launcher.report = self.journal.write
        self.resume()

    def resume(self):
        self.draws = torch.Generator(self.device)
        goes_on = self.path.exists()
        if goes_on or self.run.args.start:
            path = self.path if goes_on else self.run.args.start
            try:
                saved = torch.load(path, map_location=self.device, weights_only=True)
            except OSError as fault:
                raise SystemExit(f"{path}: {fault.strerror}") from None
            if "drafter" not in saved:
                raise SystemExit(f"{path}: no checkpoint of the stage agree: it has no drafter")
            fill(self.model, saved["model"], path)
            fill(self.drafter, saved["drafter"], path)
            self.drafter.embedding.copy_(self.model.embed_tokens.detach())
            restore(self.optimizers, saved["optimizers"])
            self.before, self.text.number = saved["before"], saved["number"]
            if goes_on:
                self.step, self.warm, self.spent = saved["step"], saved["step"], saved["spent"]
        self.draws.manual_seed((self.s.seed * 1_000_003 + self.step) * parallel.WORLD + parallel.RANK)

    def checkpoint(self):
        if parallel.RANK == 0:
            save(self.path, {"model": self.model.state_dict(), "drafter": self.drafter.state_dict(), "step": self.step, "spent": self.spent,
                             "optimizers": [o.state_dict() for o in self.optimizers], "before": self.before, "number": self.text.number})
            export_target(self.model, self.target.folder / "tokenizer.json", self.out)
            export_drafter(self.drafter, self.out / "dflash")

    def update(self):
        for optimizer in self.optimizers:
            optimizer.step()
        self.drafter.embedding.copy_(self.model.embed_tokens.detach())
        for mixture in self.model.mixtures():
            mixture.load.zero_()                       # biases that only choose experts stay as training left them

    def loss(self, real, own, looped, anchors):
        """real, own [rows, time + 1], looped [rows of own, time], anchors [rows of own, blocks]."""
        c, slots, first = self.drafter.c, self.drafter.c.block - 1, len(real)
        tokens = torch.cat([real, own])
        hidden, taps = self.model.hidden(tokens[:, :-1], c.taps)
        head, chunk = self.model.head(), 8192 if real.is_cuda else 1024
        kind = torch.cat([torch.ones_like(real[:, 1:], dtype=torch.float32), -looped.float()])
        text = HeadLoss.apply(hidden.flatten(0, 1), head, tokens[:, 1:].flatten(), unlikelihood(kind.flatten(), self.s.unlike), chunk)
        labels = torch.stack([own.gather(1, anchors + j) for j in range(c.block)], -1)
        seen = Through.apply(torch.cat(taps, -1)[first:], self.through)
        states, constant = self.drafter(seen, anchors, labels[..., 0])[:, :, 1:].flatten(0, 2), head.detach()
        chunk = slots * (1024 if real.is_cuda else 128)
        labels, constant = labels[..., 1:].flatten(), constant.to(states.dtype)
        before = (anchors[..., None] + torch.arange(slots, device=anchors.device)).flatten(1)
        clear = ~looped.gather(1, before)
        flat = clear.flatten() + 1e-6                      # a bit of each keeps the mean defined where all repeat
        drafter = HeadLoss.apply(states, constant, labels, lambda entropy, a: survival(entropy, slots) * flat[a:a + len(entropy)], chunk)
        drafts, weights = self.drafts(states.detach(), constant, labels, slots, chunk)
        weights = weights * (clear & ~copies(own, before + 1, drafts.view_as(before))).flatten()
        found = hidden[first:].gather(1, before[..., None].expand(-1, -1, hidden.shape[-1])).flatten(0, 1)
        pull = HeadLoss.apply(found, head, drafts, lambda entropy, a: self.gate(entropy, weights[a:a + len(entropy)]), chunk)
        whole = clear.view(-1, slots).all(1)
        accepted = 1 + ((drafts == labels).view(-1, slots).long().cumprod(1).sum(1) * whole).sum() / whole.sum().clamp(min=1)
        self.parts.copy_(torch.stack([text.detach(), drafter.detach(), pull.detach(), accepted]))
        return text + drafter + self.pull * pull

    def gate(self, entropy, weights):
        """Tokens that the target gives less than `least` or more than `most` are left alone; a bit of each keeps the mean defined where all are."""
        return weights * ((entropy < -math.log(self.s.least)) & (entropy > -math.log(self.s.most))) + 1e-6

    @torch.no_grad()
    def drafts(self, states, head, labels, slots, chunk):
        """The drafter's arg max of every slot, and the slots' weights."""
        found, weights = [], []
        for a in range(0, len(states), chunk):
            logits = (states[a:a + chunk] @ head.t()).float()
            entropy = torch.logsumexp(logits, -1) - logits.gather(1, labels[a:a + chunk, None])[:, 0]
            found.append(logits.argmax(-1))
            weights.append(survival(entropy, slots))
        return torch.cat(found), torch.cat(weights)

    def batch(self):
        """What a step sees, drawn on the device: copies from the host would make it wait for the device in every step."""
        s, draw = self.s, lambda most, *size: torch.randint(most, size, generator=self.draws, device=self.device)  # noqa: E731
        begin = draw(self.until, s.real, 1)
        real = self.corpus.tokens[begin + torch.arange(self.time + 1, device=self.device)].long()
        rows = draw(len(self.text.tokens), s.own)
        anchors = s.prompt - 1 + draw(s.count + 1 - self.drafter.c.block, s.own, s.blocks)
        return real, self.text.tokens[rows].long(), self.text.looped[rows], anchors

    @torch.no_grad()
    def held_loss(self):
        self.model.eval()
        nats = sum(self.model.loss(self.kept_apart[i:i + 16]).item() * len(self.kept_apart[i:i + 16]) for i in range(0, self.s.held, 16))
        self.model.train()
        return nats / self.s.held

    def renew(self):
        """A new batch of own text, and how strong the drafter's parts are by what the rows kept apart say."""
        prompts = torch.Generator().manual_seed(self.s.seed + 1000 * (1 + self.text.number * parallel.WORLD + parallel.RANK))
        loops = self.text.renew(self.model, self.until, prompts)
        nats = self.held_loss()
        self.before = self.before or nats
        self.rise = nats / self.before - 1
        self.strengthen()
        return loops.item()

    def strengthen(self):
        loud = self.spent < self.s.quiet_from * self.s.minutes * 60
        self.pull.fill_(loud * strength(self.s.pull, self.rise, self.s.limit))
        self.through.fill_(loud * strength(self.s.through, self.rise, self.s.limit))

    def now(self):
        """The time, once the device has done what it was given, which it is asked now and then."""
        if self.device.type == "cuda" and self.step % SYNC_EVERY == 0:
            torch.cuda.synchronize()
        return parallel.agree(time.time(), self.device) if parallel.WORLD > 1 else time.time()

    def train(self, minutes, steps):
        """Until `agree.minutes` are spent, earlier runs' included, or for so many minutes or steps now. Returns whether all is done."""
        s, whole, left = self.s, self.s.minutes * 60, steps
        for _ in range(s.batches if left else 0):
            loops = self.renew()
        last, count, total = None, 0, torch.zeros_like(self.parts)
        began = written = logged = renewed = time.time()
        before = self.spent
        while self.spent < whole and left and self.spent - before < minutes * 60:
            schedule(self.optimizers, rate(self.spent / whole, self.warm, s))
            self.launcher.step("agree", self.batch())
            total += self.parts
            self.step, self.warm, count, left = self.step + 1, self.warm + 1, count + 1, left - 1
            if last is None:                           # captures are no training
                began, logged, renewed, last = time.time(), time.time(), time.time(), {}
            now = self.now()
            self.spent = before + now - began
            if self.step % SYNC_EVERY == 0:
                self.strengthen()
            if now - logged > LOG_EVERY or self.spent >= whole or not left:
                means = dict(zip(PARTS, (round(v, 4) for v in (total / count).tolist())))
                last = {"step": self.step, **means, "rise": round(self.rise, 4), "pulling": round(self.pull.item(), 3), "loops": round(loops, 3),
                        "way": self.launcher.way, "steps_per_second": round(count / (now - logged), 2), "progress": round(self.spent / whole, 3)}
                self.journal.write(**last)
                total, count, logged = torch.zeros_like(total), 0, now
            if now - renewed > s.renew and self.spent < whole:
                loops, renewed = self.renew(), time.time()
            if now - written > SAVE_EVERY:
                self.checkpoint()
                written = now
        self.checkpoint()
        self.last = last
        return self.spent >= whole


def main(run):
    trainer = Trainer(run)
    finished = trainer.train(run.args.minutes, run.args.steps)
    parallel.finish()
    if finished and parallel.RANK == 0:
        s = trainer.s
        about = {"agree": run.args.branch or "agree", "pull": s.pull, "least": s.least, "most": s.most, "limit": s.limit, "through": s.through,
                 "quiet_from": s.quiet_from, "minutes": s.minutes, "seed": s.seed, **{n: (trainer.last or {}).get(n) for n in ("step", "rise", "steps_per_second")}}
        del trainer
        Trade(run).judge(run.folder / (f"agree-{run.args.branch}" if run.args.branch else "agree"), about)
    return finished
