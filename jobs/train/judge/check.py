"""Checks of the training code on small random inputs, on this machine's CPU: what is said to be equal is compared.

Run by hand (train.py check --dir DIR): PyTorch is not needed anywhere else in this repository, so its tests cannot be either.
"""
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

from judge.check_refusals import refusals, refuse_others
from judge.check_walk import walking
from learn import loops, settings, state
from learn.optimizer import Muon, orthogonalize
from nets import quantize
from nets.decode import Decoder
from nets.experts import dense, grouped, loop
from nets.export import export_target
from nets.loss import HeadLoss, decay, survival, unlikelihood
from nets.target import Config, Target

TINY = dict(vocab=96, hidden=64, layers=3, globals=(0, 2), window=32, heads=2, head_dim=48, v_head_dim=32, rotary=16, dense=64,
            experts=4, top_k=2, expert_width=32)


def close(a, b, tolerance, what):
    worst = (a.float() - b.float()).abs().max().item() / max(1e-9, b.float().abs().max().item())
    if not worst <= tolerance:
        raise SystemExit(f"check: {what}: relative difference {worst:.2e}, at most {tolerance:.0e} wanted")
    return worst


def experts():
    """The ways to compute experts against a product an expert: values and all gradients, an expert without rows included."""
    torch.manual_seed(1)
    results = []
    for mix in (loop, grouped, dense, partial(grouped, e4m3=True), partial(dense, e4m3=True)):
        generator = torch.Generator().manual_seed(2)
        make = lambda *shape: torch.randn(*shape, generator=generator).bfloat16().requires_grad_()  # noqa: E731
        x, gate_up, down = make(40, 64), make(5, 64, 64), make(5, 64, 32)
        chosen = torch.stack([torch.randperm(4, generator=generator)[:2] for _ in range(40)])
        weights = torch.rand(40, 2, generator=generator).requires_grad_()
        y = mix(x, gate_up, down, chosen, weights)
        (y * torch.randn(y.shape, generator=generator)).sum().backward()
        results.append([y.detach(), x.grad, gate_up.grad, down.grad, weights.grad])
    names = ("values", "gradient of x", "of gate_up", "of down", "of weights")
    pairs = [(0, 1, "grouped"), (0, 2, "dense"), (3, 4, "grouped and dense in E4M3")]
    return max(close(results[b][i], results[a][i], 2e-2, f"experts, {what}, {name}")
               for a, b, what in pairs for i, name in enumerate(names))


def engine_mxfp4(w):
    """w [rows, columns] as the engine's own code rounds it: ranks/model/mxfp4.c, compiled here."""
    root = Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/mxfp4.so"
        subprocess.run(["cc", "-std=c11", "-shared", "-fPIC", f"-I{root}", "-o", library, root / "ranks/model/mxfp4.c", "-lm"],
                       check=True)
        round_row = ctypes.CDLL(library).slip_mxfp4_round_row
    rows, columns = w.shape
    values, codes, scales = w.contiguous().numpy(), np.zeros((rows, columns // 2), np.uint8), np.zeros((rows, columns // 32), np.uint8)
    for r in range(rows):
        round_row(values[r].ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(columns),
                  codes[r].ctypes.data_as(ctypes.c_void_p), scales[r].ctypes.data_as(ctypes.c_void_p))
    nibbles = np.stack([codes & 15, codes >> 4], -1).reshape(rows, columns)
    magnitude = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])[nibbles & 7] * np.where(nibbles & 8, -1, 1)
    return torch.from_numpy(magnitude * 2.0 ** (scales.repeat(32, 1).astype(int) - 127)).float()


def roundings():
    """MXFP4 against the engine's own code, and idempotent; E4M3 against its definition."""
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(64, 96, generator=generator) * torch.exp(2 * torch.randn(64, 96, generator=generator))
    w[0], w[1, :32] = 0, 1.75 * 2.0 ** torch.arange(-16, 16)
    q = quantize.mxfp4(w)
    close(q, engine_mxfp4(w), 0, "MXFP4 against the engine's")
    close(quantize.mxfp4(q), q, 0, "MXFP4 twice")
    x = torch.randn(16, 192, generator=generator)
    y = quantize.e4m3(x)
    for a, b in ((0, 128), (128, 192)):
        scale = x[:, a:b].abs().amax(1, keepdim=True) / 448
        close(y[:, a:b], (x[:, a:b] / scale).to(torch.float8_e4m3fn).float() * scale, 1e-6, "E4M3")
    w.requires_grad_()
    quantize.weights(w).sum().backward()
    close(w.grad, torch.ones_like(w), 0, "straight-through gradient")


def losses():
    """HeadLoss against autograd over all logits: plain, weighted, towards a teacher, away from labels."""
    generator = torch.Generator().manual_seed(4)
    x0, head0 = torch.randn(28, 16, generator=generator), torch.randn(50, 16, generator=generator)
    labels, teacher = torch.randint(0, 50, (28,), generator=generator), torch.randn(28, 16, generator=generator)
    kind = torch.randint(-1, 2, (28,), generator=generator).float()

    def plain(x, head):
        entropy = F.cross_entropy(x @ head.t(), labels, reduction="none")
        probability = torch.exp(-entropy)
        soft = -(torch.softmax(teacher @ head.detach().t(), -1) * torch.log_softmax(x @ head.t(), -1)).sum(-1)
        pace = survival(entropy.detach(), 7)
        away = torch.where(kind < 0, -torch.log(1 - probability), kind * entropy)
        return {"mean": entropy.mean(), "pace": (entropy * pace).sum() / pace.sum(), "soft": (soft * pace).sum() / pace.sum(),
                "decay": (entropy * decay(entropy, 7)).sum() / decay(entropy, 7).sum(), "away": away.sum() / (kind > 0).sum()}

    ours = {"mean": {}, "pace": {"weigh": lambda e, a: survival(e, 7)}, "decay": {"weigh": lambda e, a: decay(e, 7)},
            "soft": {"weigh": lambda e, a: survival(e, 7), "teacher": teacher},
            "away": {"weigh": unlikelihood(kind, 1.0)}}
    for name, extra in ours.items():
        gradients = []
        for which in (0, 1):
            x, head = x0.clone().requires_grad_(), head0.clone().requires_grad_()
            if which:
                HeadLoss.apply(x, head, labels, extra.get("weigh"), 14, extra.get("teacher")).backward()
            else:
                plain(x, head)[name].backward()
            gradients.append((x.grad, head.grad))
        close(gradients[1][0], gradients[0][0], 1e-4, f"loss {name}, gradient of x")
        if name != "soft":
            close(gradients[1][1], gradients[0][1], 1e-4, f"loss {name}, gradient of the head")


def forward():
    """The training forward pass, in BF16, against the decoder's in float32: as near as BF16 is, but where it flips an expert."""
    torch.manual_seed(5)
    target = Target(Config(**TINY))
    for p in target.parameters():
        if p.dim() >= 2:
            torch.nn.init.normal_(p, std=p.shape[-1] ** -0.5)
    tokens = torch.randint(0, 96, (2, 96))
    with torch.no_grad():
        ours, _ = target.eval().hidden(tokens)
        theirs = Decoder(target, 2, 96).step(tokens)[0]
    worst = ((ours.float() - theirs).norm(dim=-1) / theirs.norm(dim=-1)).median().item()
    if worst > 0.02:
        raise SystemExit(f"check: training forward pass against the decoder's: median relative difference {worst:.2e}")
    return worst


def travelling():
    """A checkpoint cut for travel comes back whole, its weights to 2^-16."""
    with tempfile.TemporaryDirectory() as folder:
        path, weights = Path(folder) / "target.pt", torch.randn(1000, 7)
        state.PIECE, old = 9000, state.PIECE
        state.save(path, {"model": {"w": weights}, "optimizers": [1], "done": {"step": 3}})
        state.travel(path, Path(folder) / "away")
        path.unlink()
        state.arrive(Path(folder) / "away", path)
        state.PIECE = old
        back = torch.load(path, weights_only=True)
        if back["done"] != {"step": 3} or "optimizers" in back or not (Path(folder) / "away" / "target.002").exists():
            raise SystemExit("check: a checkpoint that travelled came back changed")
        worst = ((back["model"]["w"] - weights).abs() / weights.abs()).max().item()
        if worst > 2 ** -16:
            raise SystemExit(f"check: weights that travelled differ by {worst:.2e}")


def repeating():
    text = torch.arange(200)[None].repeat(3, 1)
    text[1, 100:] = torch.tensor([7, 8, 9, 10]).repeat(25)
    text[2, 60:80] = text[2, 40:60]
    if loops.repeats(text).tolist() != [False, True, False]:
        raise SystemExit("check: repeats")
    found = loops.repeated(text)
    if found[0].any() or found[1].nonzero().min() != 119 or found[2].nonzero().flatten().tolist() != [75, 76, 77, 78, 79]:
        raise SystemExit("check: repeated")
    places, drafts = torch.tensor([[103, 104, 107, 108, 108, 199]] * 3), torch.tensor([[10, 7, 10, 7, 8, 10]] * 3)
    if loops.copies(text, places, drafts).tolist() != [[False] * 6, [False, False, False, True, False, True], [False] * 6]:
        raise SystemExit("check: copies")


def tiny_run(folder):
    """A run with a random target, a byte-level tokenizer, rows of random text and two prompts: all that a plan needs, in small."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_end|>", "<|mask|>"])
    for name in ("data", "run/teach"):
        (folder / name).mkdir(parents=True)
    tokenizer.save(str(folder / "data" / "tokenizer.json"))
    text = "x = 1\n" * 40
    (folder / "data" / "heldout.jsonl").write_text(json.dumps({"text": text}) + "\n")
    torch.manual_seed(6)
    target = Target(Config(**{**TINY, "vocab": 288, "layers": 6}))
    for p in target.parameters():
        if p.dim() >= 2:
            torch.nn.init.normal_(p, std=p.shape[-1] ** -0.5)
    export_target(target, folder / "data" / "tokenizer.json", folder / "export")
    rows = {"tokens": torch.randint(0, 256, (6, 96), dtype=torch.int32), "first": torch.full((6,), 31), "end": torch.tensor([96, 96, 96, 96, 60, 40])}
    state.save(folder / "run" / "teach" / "000.pt", rows)


def variants():
    """Every experiment of plan.toml trains some steps and is judged, on a random target; a second call finds nothing left to do."""
    import plan
    path = Path(plan.__file__).with_name("plan.toml")
    experiments = list(plan.read(path))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tiny_run(folder)
        sets = ["drafter.sequences=2", "evaluate.prompts=2", "evaluate.prompt=8", "evaluate.count=8", "drafter.compile=false"]
        args = SimpleNamespace(plan=path, share="0/1", until=1e18, seconds=1e9, out=folder / "out", config=None, set=[], target=None, note="")
        run = SimpleNamespace(args=args, settings=settings.load(None, sets), folder=folder, device=torch.device("cpu"))
        args.out.mkdir()
        worker = plan.Worker(run)
        for e in experiments:
            worker.do({**e, "seconds": 0.01, "start": "", "set": [*e["set"], *sets, "drafter.blocks=3"]})
        made = plan.results(folder)
        wanted = sum(1 + (t > 0) for e in experiments for t in e["temperatures"])
        if len(made) != wanted or any(r["steps"] < 1 or not 1 <= r["code"]["mean_acceptance_length"] <= r["block"] for r in made):
            raise SystemExit(f"check: {len(made)} results of {wanted}, or one that is none")
        if plan.pending(run) or not (args.out / "results.jsonl").exists() or not list(args.out.glob("dflash-*.tar")):
            raise SystemExit("check: a plan that has ended has something left to do, or did not leave its results")


def agree_run(folder):
    """tiny_run with a random drafter, a corpus and settings as small."""
    from nets.drafter import Drafter, config_for, export_drafter
    from nets.hub import open_target
    tiny_run(folder)
    text = np.random.default_rng(9).integers(0, 256, 6000).astype(np.uint16)
    text.tofile(folder / "data" / "train.u16")
    text[:600].tofile(folder / "data" / "heldout.u16")
    sets = ["agree.prompt=32", "agree.count=33", "agree.sequences=4", "agree.batches=2", "agree.real=2", "agree.own=2", "agree.blocks=3",
            "agree.held=4", "agree.least=0.000001", "drafter.layers=1", "drafter.taps=[0, 5]", "target.long=96", "evaluate.prompts=2", "evaluate.prompt=8",
            "evaluate.count=8", "evaluate.tokens=200"]
    args = SimpleNamespace(config=None, set=sets, target=None, branch="a", note="", start=None, minutes=1e9, steps=1 << 60)
    run = SimpleNamespace(args=args, settings=settings.load(None, sets), folder=folder, device=torch.device("cpu"))
    target = open_target(run)
    torch.manual_seed(10)
    drafter = Drafter(config_for(target, run.settings.drafter), target.embedding)
    for p in drafter.parameters():
        if p.dim() == 2:
            torch.nn.init.normal_(p, std=p.shape[-1] ** -0.5)      # where outputs begin at zero, nothing reaches the taps
    export_drafter(drafter, folder / "export" / "dflash")
    return run


def agreeing():
    """What pulls whom: the drafter's loss reaches the target through the taps alone, the pull reaches the target alone, and makes it likelier to
    say what is drafted. A run goes on where it stopped; what it exports is what it trained."""
    from learn.agree import Trainer, strength
    from nets.export import load_target
    if [strength(2, rise, 0.5) for rise in (-1, 0.25, 0.375, 0.5, 9)] != [2, 2, 1, 0, 0]:
        raise SystemExit("check: strength of the pull")
    with tempfile.TemporaryDirectory() as folder:
        run = agree_run(Path(folder))
        trainer = Trainer(run)
        trainer.renew()
        batch, found = trainer.batch(), []
        for pull, through in ((0, 0), (1, 0), (0, 1)):
            trainer.pull.fill_(pull)
            trainer.through.fill_(through)
            trainer.launcher.gradients(batch)
            found.append([torch.cat([p.grad.flatten() for p in m.parameters()]).clone() for m in (trainer.model, trainer.drafter)])
            found[-1].append(trainer.parts[2].item())
        if not all(torch.equal(found[0][1], f[1]) for f in found) or any(torch.equal(found[0][0], f[0]) for f in found[1:]):
            raise SystemExit("check: agree: a part's gradient went where it should not, or did not go where it should")
        gate = trainer.gate(-torch.log(torch.tensor([0.5, 1e-9, 0.7])), torch.ones(3))
        if gate[0] < 1 or gate[1:].max() > 1e-5:
            raise SystemExit("check: agree: a token that the target hardly gives, or gives anyway, is pulled")
        trainer.pull.fill_(20.0)
        trainer.launcher.gradients(batch)
        size = sum(p.grad.square().sum() for p in trainer.model.parameters()).sqrt()
        for p in trainer.model.parameters():
            p.data -= 0.01 * p.grad / size
        trainer.loss(*batch)
        if trainer.parts[2].item() >= found[0][2]:
            raise SystemExit("check: agree: the pull makes drafts less likely")
        trainer.s.quiet_from = 0.0
        trainer.strengthen()
        if trainer.pull.item() or trainer.through.item():
            raise SystemExit("check: agree: it pulls where it should be quiet")
        trainer.train(1e9, 2)
        again = Trainer(run)
        run.args.branch, run.args.start = "b", trainer.path
        other = Trainer(run)
        if (other.step, other.spent, other.before) != (0, 0.0, trainer.before) or not torch.equal(other.drafter.fc.weight, trainer.drafter.fc.weight):
            raise SystemExit("check: agree: a run that starts from another does not have its weights, or not a schedule of its own")
        back, c = load_target(trainer.out), trainer.drafter.c
        if again.step != 2 or again.spent != trainer.spent or again.drafter.c != c or not torch.equal(again.model.lm_head, trainer.model.lm_head):
            raise SystemExit("check: agree: a run that goes on is not where it stopped")
        refuse_others(Trainer, run, trainer.path)
        return close(back.lm_head, trainer.model.lm_head.detach(), 2 ** -8, "agree: what was exported")


def recovering():
    """The shipped model as a folder: what training reads of it and exports again is the same in every bit; and so is what the engine's converter makes
    of it, where SLIPSTREAM names the program."""
    import h5py
    from safetensors.torch import load_file
    from nets.drafter import export_drafter, load_drafter
    from nets.hub import OwnTarget
    from nets.recover import recover
    model = Path(__file__).resolve().parents[2] / "demo" / "model.h5"
    with tempfile.TemporaryDirectory() as folder:
        made, again = Path(folder) / "export", Path(folder) / "again"
        recover(model, made)
        target = OwnTarget(made, torch.device("cpu"))
        export_target(target.model, made / "tokenizer.json", again)
        export_drafter(load_drafter(made / "dflash", target), again / "dflash")
        for name in ("model.safetensors", "dflash/model.safetensors"):
            old, new = load_file(made / name), load_file(again / name)
            if old.keys() != new.keys() or not all(torch.equal(old[n].float(), new[n].float()) for n in old):
                raise SystemExit(f"check: recover: {name}: exported again, it is another")
        if "SLIPSTREAM" in os.environ:
            subprocess.run([os.environ["SLIPSTREAM"], "convert", made, again / "model.h5", "--draft", made / "dflash", "--experts", "mxfp4"],
                           capture_output=True, check=True)
            found = []
            for path in (model, again / "model.h5"):
                with h5py.File(path) as file:
                    found.append({"": {n: file.attrs[n] for n in file.attrs}})
                    file.visititems(lambda name, item: found[-1].update({name: (item.dtype, item[...].tobytes())} if hasattr(item, "dtype") else {}))
            if found[0] != found[1]:
                raise SystemExit("check: recover: converted again, the model is another")


def searching():
    """codesign: a variant that fails is left out, the winner's settings are the final run's, and all that comes back is there."""
    import codesign
    plan = {"bits": 0.1, "loops": 0.5, "parse": 0.02, "variant": [{"name": n} for n in "abcde"]}
    line = lambda bits, loops, length, parse=0.9: {"bits_per_byte": bits, "parse_rate": parse, "T0": {"loops": loops, "without_loops": length}}  # noqa: E731
    found = {"": line(1, 0, 1), "a": line(1.05, 0.1, 3, 0.89), "b": line(1.2, 0, 9), "c": line(1, 0.9, 9), "e": line(1, 0, 9, 0.87)}
    if codesign.winner(plan, found)["name"] != "a" or codesign.winner(plan, {"": found[""], "b": found["b"]})["name"] != "b" or codesign.winner(plan, {}):
        raise SystemExit("check: codesign's choice")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run = agree_run(folder)
        variants = 'variant = [{name = "bad", set = ["agree.sequences=0"]}, {name = "good", set = ["agree.pull=0.5"]}]'
        (folder / "plan.toml").write_text(f"seconds = 1\nfinal = 2\ngrace = 3000\nbits = 9.0\nloops = 1.0\nparse = 1.0\neach = false\nset = {json.dumps(run.args.set)}\n{variants}\n")
        program = Path(__file__).resolve().parents[1] / "train.py"
        subprocess.run([sys.executable, program, "codesign", "--dir", folder, "--plan", folder / "plan.toml", "--seconds", "99999", "--out", folder / "out",
                        "--set", "agree.renew=1.0"], capture_output=True, check=True)
        made = codesign.trades(folder / "out")
        if sorted(made) != ["", "final", "good"] or made["final"]["pull"] != 0.5 or len(list((folder / "out").glob("agree-*.tar.xz.*"))) != 2:
            raise SystemExit(f"check: codesign made {made}")


SMALL = """
seconds = 1
temperatures = [0.0]
kinds = ["code"]
set = ["drafter.sequences=2", "drafter.blocks=3", "drafter.taps=[0, 5]", "drafter.layers=2"]
experiment = [{name = "a", group = "first", set = ["drafter.layers=1"], keep = true}, {name = "bad", set = ["drafter.taps=[0, 9]"]},
              {name = "b", best = ["first"], start = "dflash-a"}, {name = "long", seconds = 5000}]
"""


def planning():
    """The stage plan by itself: an experiment that fails is left out, the others end, what does not fit into the time is not begun."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tiny_run(folder)
        (folder / "plan.toml").write_text(SMALL)
        program = Path(__file__).resolve().parents[1] / "train.py"
        command = [sys.executable, program, "plan", "--dir", folder, "--plan", folder / "plan.toml", "--seconds", "900", "--out", folder / "out",
                   "--set", "evaluate.prompts=2", "--set", "evaluate.prompt=8", "--set", "evaluate.count=8"]
        said = [subprocess.run(command, capture_output=True, text=True).stdout.splitlines()[-1] for _ in range(2)]
        made = {r["drafter"]: r for r in map(json.loads, (folder / "out" / "results.jsonl").read_text().splitlines())}
        if sorted(made) != ["a", "b", "bad"] or "failed" not in made["bad"] or made["a"]["started"] or not made["b"]["started"]:
            raise SystemExit(f"check: a plan's results are {made}")
        if made["b"]["layers"] != 1 or not all("not done: long" in line for line in said) or not (folder / "out" / "dflash-a.tar").exists():
            raise SystemExit(f"check: a plan that was to end said {said}")


def muon():
    """Muon against its definition, matrix by matrix."""
    generator = torch.Generator().manual_seed(8)
    make = lambda *shape: torch.nn.Parameter(torch.randn(*shape, generator=generator))  # noqa: E731
    params = [make(32, 64), make(64, 32), make(32, 32), make(32, 64)]
    olds = [p.detach().clone() for p in params]
    optimizer = Muon([{"params": params}], lr=torch.tensor(0.1))
    for p in params:
        optimizer.state[p]["momentum"] = torch.zeros_like(p)
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step()
    worst = 0
    for p, old in zip(params, olds):
        g = p.grad * (1 - 0.95) * 0.95 + p.grad * 0.05
        tall = g.shape[0] > g.shape[1]
        o = orthogonalize((g.t() if tall else g)[None])[0] * (max(1, g.shape[0] / g.shape[1]) ** 0.5 if tall else 1)
        worst = max(worst, close(old - p.detach(), 0.1 * (o.t() if tall else o), 1e-3, "Muon"))
    return worst


def main(run):
    for part in (roundings, losses, walking, repeating, travelling, experts, forward, muon, recovering, agreeing, variants, planning, searching, refusals):
        result = part()
        print(f"check: {part.__name__}: equal" + (f" to {result:.1e}" if result else ""), flush=True)
    return True
